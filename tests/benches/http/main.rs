//! Measures GET /token of rl-server beside bare handlers and other servers: `make bench`, and `make bench-http` for the
//! bound alone.
//!
//! Each server is a process of its own, and wrk keeps 64 connections to it busy. In each round all cases are measured in
//! turn, every other round in reverse, so that other load of the machine affects all alike. CPU per request is the user
//! and system time of the server's process divided by its requests; it depends less on other load than the requests a
//! second. The bounds are in `../http.txt`.
//!
//! Arguments are names of cases: only they are measured then. `OTHER_SERVER` names another build of rl-server, `OTHER_HTTP`
//! the URL of any server that allows every request, and `OTHER_HTTP_PID` its process.

mod bare;
mod bounds;
mod cases;
mod peers;
mod rounds;
mod target;

use std::process::ExitCode;

use rl_tests::{named, report, table};

use cases::Case;
use rounds::Rounds;
use target::Target;

const ROUNDS: usize = 7;

const HEAD: [&str; 9] = [
    "",
    "CPU us",
    "of bare, a runtime per core",
    "Redis CPU us",
    "requests/s",
    "of bare",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
];

/// Starts the cases of these names, or all if there are none.
fn start(names: &[String]) -> Vec<(Case, Target)> {
    for name in names {
        let known = cases::CASES.map(|case| case.name);
        assert!(
            known.contains(&name.as_str()),
            "no case {name}: use some of {known:?}"
        );
    }
    let answer = cases::answer();
    let is_named = |case: &Case| names.is_empty() || names.iter().any(|name| name == case.name);
    let started = cases::CASES.into_iter().filter(is_named);
    started
        .filter_map(|case| Some((case, (case.start)(&answer)?)))
        .collect()
}

fn measure(targets: &[(Case, Target)]) -> Rounds {
    let mut rounds = Rounds::default();
    for round in 0..ROUNDS {
        let mut order: Vec<_> = targets.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (case, target) in order {
            rounds.push(case.name, target.load());
        }
    }
    rounds
}

fn main() -> ExitCode {
    if let Some(words) = bare::asked() {
        bare::serve(&words);
    }
    let targets = start(&named());
    let rounds = measure(&targets);
    let rows: Vec<_> = targets
        .iter()
        .map(|(case, _)| rounds.row(case.name, case.title))
        .collect();
    let (ratios, broken) = bounds::check(&rounds);
    report("http.md", &format!("{}\n{ratios}", table(&HEAD, &rows)));
    if broken.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("more than 5 % over the bound: {}", broken.join(", "));
    ExitCode::FAILURE
}
