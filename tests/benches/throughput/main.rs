//! Calls a second, everything side by side: `make bench`.
//!
//! Each figure is the median of rounds in which all calls take turns, so that what else the machine does hits all alike. The
//! server has one core and what loads it another. Arguments are names of calls: only they are measured then.

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

/// How many times as many calls a second RL.TOKEN is to make.
const GOALS: [(&str, f64); 2] = [("lua-bucket", 8.0), ("other", 2.4)];

/// What is counted only: instructions tell it better.
const LEFT_OUT: [&str; 2] = ["ping", "token-moves"];

const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// What each round gave.
#[derive(Clone, Debug, Default)]
struct Rounds(Vec<Run>);

impl Rounds {
    /// The least, the median and the most of calls a second.
    fn spread(&self) -> [f64; 3] {
        let mut calls: Vec<f64> = self.0.iter().map(|run| run.calls_per_second).collect();
        calls.sort_by(f64::total_cmp);
        [calls[0], calls[calls.len() / 2], calls[calls.len() - 1]]
    }

    fn median(&self) -> f64 {
        self.spread()[1]
    }

    /// The mean of the server's processor time in a second.
    fn busy(&self) -> f64 {
        self.0.iter().map(|run| run.busy).sum::<f64>() / self.0.len() as f64
    }

    /// In thousands: the median, and from where to where the rounds went.
    fn shown(&self) -> String {
        let [least, median, most] = self.spread().map(|calls| calls / 1000.0);
        format!("{median:.0} ({least:.0} to {most:.0})")
    }
}

/// By call, keys it is spread over, and calls at once.
type Figures = BTreeMap<(&'static str, usize, usize), Rounds>;

/// A server on its core, with the module and the other one if it is given.
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

/// From now on this thread, and those it starts, run on these cores.
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
                load.run_through(&call.first(), &numbers);
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

/// A table for each number of calls at once, and how much of its core the server had.
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
            "{at_once} at once; the server's core is {:.0} % busy at the least:\n\n{}\n",
            100.0 * busy.fold(1.0, f64::min),
            table(&HEAD, &rows)
        )
    };
    AT_ONCE.map(of_pipeline).concat()
}

/// How many times as many calls a second RL.TOKEN makes as others, on one key, 64 at once, and how many it should.
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
