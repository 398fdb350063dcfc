//! Measures calls per second of all kinds of calls: `make bench`.
//!
//! Each figure is the median of several rounds. In each round all calls are measured in turn, so that other load of the
//! machine affects all alike. The server runs on one core and the client on another. Arguments are names of calls: only
//! they are measured then.

mod plot;
mod scaling;
mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rl_tests::{Call, Pipelines, RedisServer, Run, Setup, named, other, report, table};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_millis(300);
const KEYS: [usize; 3] = [1, 10_000, 1_000_000];
const AT_ONCE: [usize; 3] = [1, 16, 64];
const HEAD: [&str; 4] = [
    "thousand calls a second",
    "1 key",
    "10,000 keys",
    "1,000,000 keys",
];

/// The goals for the ratio of calls per second of RL.TOKEN to those of another call.
const GOALS: [(&str, f64); 2] = [("lua-bucket", 8.0), ("other", 2.4)];

/// Calls that are not measured here, because their instruction counts are more exact.
const LEFT_OUT: [&str; 2] = ["ping", "token-moves"];

const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// The results of all rounds.
#[derive(Clone, Debug, Default)]
struct Rounds(Vec<Run>);

impl Rounds {
    /// The minimum, the median and the maximum of calls per second.
    fn spread(&self) -> [f64; 3] {
        let mut calls: Vec<f64> = self.0.iter().map(|run| run.calls_per_second).collect();
        calls.sort_by(f64::total_cmp);
        [calls[0], calls[calls.len() / 2], calls[calls.len() - 1]]
    }

    fn median(&self) -> f64 {
        self.spread()[1]
    }

    /// The mean of the server's processor time per second.
    fn busy(&self) -> f64 {
        self.0.iter().map(|run| run.busy).sum::<f64>() / self.0.len() as f64
    }

    /// In thousands: the median, and the range of the rounds.
    fn shown(&self) -> String {
        let [min, median, max] = self.spread().map(|calls| calls / 1000.0);
        format!("{median:.0} ({min:.0} to {max:.0})")
    }
}

/// The results by call, number of keys, and calls in flight.
type Figures = BTreeMap<(&'static str, usize, usize), Rounds>;

/// Starts a server on its core, with the module, and the other module if `OTHER` is set.
fn start(args: &[&str]) -> RedisServer {
    let mut setup = Setup::with_module(args);
    if let Some((module, _)) = other() {
        setup.args.extend(["--loadmodule".to_owned(), module]);
    }
    setup.runner = ["taskset", "-c", &SERVER_CORE.to_string()]
        .map(str::to_owned)
        .to_vec();
    RedisServer::start_on_tcp_as(setup)
}

/// Pins this thread, and those that it starts, to these cores.
fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).expect("a core's number");
    }
    sched_setaffinity(Pid::from_raw(0), &set).expect("the bench needs two cores");
}

fn measure(calls: &[Call]) -> Figures {
    let server = start(&[]);
    let (mut redis, mut load) = (server.connect(), Pipelines::on(&server));
    let calls: Vec<Call> = calls
        .iter()
        .map(|call| call.clone().on(&mut redis))
        .collect();
    let errors = redis.info("stats", "total_error_replies");
    let mut figures = Figures::new();
    for _ in 0..ROUNDS {
        for keys in KEYS {
            let numbers: Vec<usize> = (0..keys).collect();
            for call in &calls {
                redis.value("FLUSHALL");
                load.run_through(&call.preparation(), &numbers);
                for at_once in AT_ONCE {
                    let figure = load.run_for(TIME, call, &numbers, at_once);
                    let rounds = figures.entry((call.name, keys, at_once)).or_default();
                    rounds.0.push(figure);
                }
            }
        }
    }
    assert_eq!(redis.info("stats", "total_error_replies"), errors);
    figures
}

/// A table for each number of calls in flight, with the utilisation of the server's core.
fn tables(calls: &[Call], figures: &Figures) -> String {
    let of_pipeline = |at_once: usize| {
        let rounds = |call: &Call| KEYS.map(|keys| &figures[&(call.name, keys, at_once)]);
        let row = |call: &Call| {
            let cells = rounds(call).map(Rounds::shown);
            [vec![call.title.to_owned()], cells.to_vec()].concat()
        };
        let rows: Vec<_> = calls.iter().map(row).collect();
        let busy = calls.iter().flat_map(|call| rounds(call).map(Rounds::busy));
        format!(
            "{at_once} at once; the server's core is {:.0} % busy at the min:\n\n{}\n",
            100.0 * busy.fold(1.0, f64::min),
            table(&HEAD, &rows)
        )
    };
    AT_ONCE.map(of_pipeline).concat()
}

/// The ratios of RL.TOKEN's calls per second to those of other calls, on one key with 64 calls in flight, and the
/// goals.
fn goals(figures: &Figures) -> String {
    let median = |name| Some(figures.get(&(name, 1, 64))?.median());
    let row = |(name, goal): (&'static str, f64)| {
        let times = median("token")? / median(name)?;
        let met = if times >= goal { "yes" } else { "no" };
        let numbers = [times, goal].map(|number| format!("{number:.1}"));
        Some([&[name.to_owned()], &numbers[..], &[met.to_owned()]].concat())
    };
    let rows: Vec<_> = GOALS.into_iter().filter_map(row).collect();
    table(&["RL.TOKEN against", "times", "goal", "met"], &rows)
}

fn main() {
    let names = named();
    let mut calls = Call::all();
    calls.extend(other().map(|(_, call)| call));
    calls.retain(|call| !LEFT_OUT.contains(&call.name));
    calls.retain(|call| names.is_empty() || names.iter().any(|name| name == call.name));
    pin(&[LOAD_CORE]);
    let figures = measure(&calls);
    let text = tables(&calls, &figures) + &goals(&figures);
    report("throughput.md", &text);
    report("throughput.svg", &plot::plot(&calls, &figures));
    if names.is_empty() {
        report("settings.md", &settings::table());
        pin(&[SERVER_CORE, LOAD_CORE]);
        report("scaling.md", &scaling::table());
    }
}
