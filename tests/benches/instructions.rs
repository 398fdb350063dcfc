//! Counts the server's instructions per call with callgrind, and checks them against bounds: `make bench-instructions`.
//!
//! The count of a call is the difference between a long and a short run, with 64 calls in flight on one connection.
//! Other work of the server can only add instructions, so the minimum of several rounds is used. The bounds are in
//! `instructions.txt`. Arguments are calls of its first column: only their lines are measured. `RL_MODULE` names
//! another librl.so, `OTHER` another module and `OTHER_CMD` a command line of it, with `{key}` for the key.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use redis::Value;
use rl_tests::{
    Bound, Call, Redis, RedisServer, Setup, artifacts, eventually, named, other, report, table,
    version,
};
use tempfile::TempDir;

/// The number of calls in flight.
const AT_ONCE: usize = 64;

/// The two run lengths, in batches of [`AT_ONCE`].
const SHORT: usize = 8;
const LONG: usize = 40;

const ROUNDS: usize = 7;

/// The tolerance of a bound: other builds of the server and other processors differ a little.
const MARGIN: f64 = 1.02;

const BOUNDS: &str = include_str!("instructions.txt");

/// A line of `instructions.txt`: a call, the other call, bound and goal.
struct Ratio<'a>(Bound<'a, 2>);

impl Ratio<'static> {
    /// The lines of these calls, or all lines if `names` is empty.
    fn of_calls(names: &[String]) -> Vec<Self> {
        Bound::read_all(BOUNDS)
            .filter(|bound: &Bound<2>| {
                let [call, of] = bound.names;
                let is_named = names.is_empty() || names.iter().any(|name| name == call);
                is_named && (of != "other" || other().is_some())
            })
            .map(Self)
            .collect()
    }

    fn row(&self, figures: &BTreeMap<&str, u64>) -> Vec<String> {
        let [call, of] = self.0.names;
        let relation = self.relation(figures);
        let mut row = vec![
            call.to_owned(),
            figures[call].to_string(),
            of.to_owned(),
            figures[of].to_string(),
            format!("{relation:.3}"),
        ];
        row.extend(self.0.cells(3, |goal| relation <= goal));
        row
    }

    fn relation(&self, figures: &BTreeMap<&str, u64>) -> f64 {
        let [call, of] = self.0.names;
        figures[call] as f64 / figures[of] as f64
    }

    fn is_kept(&self, figures: &BTreeMap<&str, u64>) -> bool {
        let relation = self.relation(figures);
        self.0.bound.is_none_or(|bound| relation <= bound * MARGIN)
    }
}

/// A redis-server under callgrind.
struct Counted {
    server: RedisServer,
    redis: Redis,
    /// The path of callgrind's output files, without the number.
    dumps: String,
    dumped: usize,
    /// Whether each call has a new key.
    is_new: bool,
    _replica: Option<RedisServer>,
    _dir: TempDir,
}

impl Counted {
    /// Starts a server in a setting: plain, with an AOF, with a replica, or with new keys.
    fn start(setting: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory for callgrind");
        let server = RedisServer::start_on_tcp_as(Self::setup(setting, &dir));
        let replica = (setting == "replica").then(RedisServer::start);
        replica.iter().for_each(|replica| replica.follow(&server));
        let mut redis = server.connect();
        if matches!(setting, "" | "new") {
            eventually("propagation to be off", || {
                (redis.info("rl", "rl_propagating")? == "0").then_some(())
            });
        }
        // A reply buffer that Redis shrinks in its cron costs one more piece for each batch of replies.
        let _ = redis.try_line::<Value>("DEBUG REPLYBUFFER RESIZING 0");
        let id = redis.info("server", "process_id").expect("a number");
        Self {
            dumps: format!("{}/out.{id}", dir.path().display()),
            server,
            redis,
            dumped: 0,
            is_new: setting == "new",
            _replica: replica,
            _dir: dir,
        }
    }

    /// Callgrind starts a new count at each ECHO and does not count serverCron, whose number of calls depends on the
    /// speed of this machine.
    fn setup(setting: &str, dir: &TempDir) -> Setup {
        let mut args = vec!["--hz", "1", "--dynamic-hz", "no"];
        args.extend(["--repl-diskless-sync-delay", "0"]);
        let other = other();
        if let Some((module, _)) = &other {
            args.extend(["--loadmodule", module]);
        }
        if setting == "aof" {
            args.extend(["--appendonly", "yes"]);
        }
        let mut setup = Setup::without_module(&args);
        let given = std::env::var_os("RL_MODULE").map(PathBuf::from);
        setup.module = Some(given.unwrap_or_else(|| artifacts().module.clone()));
        let out = format!("--callgrind-out-file={}/out.%p", dir.path().display());
        setup.runner = [
            "valgrind",
            "--tool=callgrind",
            "--dump-before=echoCommand",
            "--toggle-collect=serverCron",
            "--collect-atstart=yes",
            &out,
        ]
        .map(str::to_owned)
        .to_vec();
        setup
    }

    /// The number of instructions per call.
    fn count(&mut self, call: Call) -> u64 {
        let call = call.on(&mut self.redis);
        let number = self.number_without_collision(&call);
        self.run(&call, number, SHORT);
        let mut min = |batches| {
            let rounds = (0..ROUNDS).map(|_| self.run(&call, number, batches));
            rounds.min().expect("some rounds")
        };
        let (short, long) = (min(SHORT), min(LONG));
        (long - short) / ((LONG - SHORT) * AT_ONCE) as u64
    }

    /// Finds a number whose keys are each in a separate bucket of the server's hash table, and creates these keys.
    /// Collisions depend on the table's seed and not on the call.
    fn number_without_collision(&mut self, call: &Call) -> usize {
        let has_no_collision = |number: &usize| {
            self.redis.value("FLUSHALL");
            call.preparation().run(&mut self.redis, *number..number + 1);
            let table: String = self.redis.line("DEBUG HTSTATS 0");
            table
                .lines()
                .filter_map(|line| line.trim().strip_prefix("max chain length: "))
                .all(|longest| longest == "1")
        };
        (0..100)
            .find(has_no_collision)
            .expect("keys without a collision")
    }

    /// The number of instructions of a run and of one mark.
    fn run(&mut self, call: &Call, number: usize, batches: usize) -> u64 {
        if self.is_new {
            self.redis.value("FLUSHALL");
        }
        let before = call.counted_by(&mut self.redis);
        self.mark();
        for batch in 0..batches {
            let keys = batch * AT_ONCE..(batch + 1) * AT_ONCE;
            call.run(
                &mut self.redis,
                keys.map(|n| if self.is_new { n } else { number }),
            );
        }
        let instructions = self.mark();
        let counted = call.counted_by(&mut self.redis);
        let calls = (batches * AT_ONCE) as u64;
        assert_eq!(counted, before.map(|before| before + calls), "{call:?}");
        instructions
    }

    /// Sends a mark, and returns the number of instructions since the last one.
    fn mark(&mut self) -> u64 {
        self.redis.value("ECHO mark");
        self.dumped += 1;
        let path = format!("{}.{}", self.dumps, self.dumped);
        let dump = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.server.log()));
        let total = dump
            .lines()
            .find_map(|line| line.strip_prefix("totals: ")?.parse().ok());
        total.expect("callgrind's total")
    }
}

/// The figures by name: the call, and the setting after a `+`.
fn measure<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
    let mut calls = Call::all();
    calls.extend(other().map(|(_, call)| call));
    let mut servers: BTreeMap<&str, Counted> = BTreeMap::new();
    let mut figures = BTreeMap::new();
    for name in names {
        if figures.contains_key(name) {
            continue;
        }
        let (kind, setting) = name.split_once('+').unwrap_or((name, ""));
        let call = calls.iter().find(|call| call.name == kind);
        let server = servers
            .entry(setting)
            .or_insert_with(|| Counted::start(setting));
        figures.insert(name, server.count(call.expect("a call's name").clone()));
    }
    figures
}

fn main() -> ExitCode {
    let names = named();
    let ratios = Ratio::of_calls(&names);
    let figures = measure(ratios.iter().flat_map(|ratio| ratio.0.names));
    let head = [
        "call",
        "instructions",
        "of",
        "instructions",
        "relation",
        "bound",
        "goal",
        "met",
    ];
    let rows: Vec<_> = ratios.iter().map(|ratio| ratio.row(&figures)).collect();
    report("instructions.md", &table(&head, &rows));
    if version() != [7, 0] || !cfg!(target_arch = "x86_64") {
        println!("skipped: the bounds are those of Redis 7.0 on x86-64");
        return ExitCode::SUCCESS;
    }
    let broken = ratios.iter().filter(|ratio| !ratio.is_kept(&figures));
    let broken: Vec<&str> = broken.map(|ratio| ratio.0.names[0]).collect();
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("more than 2 % over the bound: {}", broken.join(", "));
    ExitCode::FAILURE
}
