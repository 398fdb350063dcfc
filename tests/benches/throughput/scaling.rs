//! Measures how calls per second grow with the number of primaries of a cluster.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use redis::Value;
use rl_tests::{Call, Cluster, Pipelines, RedisServer, Run};

use crate::{ROUNDS, Rounds};

/// Long compared to the differences between the threads' start and end times.
const TIME: Duration = Duration::from_secs(1);

const PRIMARIES: [usize; 3] = [1, 2, 3];

/// The numbers below 3000 whose keys this node serves.
fn numbers_on(node: &RedisServer, call: &Call) -> Vec<usize> {
    let all = 0..3000;
    let replies = node
        .connect()
        .run_all(all.clone().flat_map(|n| call.commands(n)));
    let served = all.zip(&replies);
    served
        .filter(|(_, reply)| matches!(reply, Value::Array(_)))
        .map(|(n, _)| n)
        .collect()
}

/// Runs calls on all nodes at the same time, each from a separate thread.
fn run(cluster: &Cluster, call: &Call) -> Run {
    let together = &Barrier::new(cluster.nodes().len());
    let runs: Vec<Run> = thread::scope(|scope| {
        let load = |node| {
            scope.spawn(move || {
                let (numbers, mut load) = (numbers_on(node, call), Pipelines::on(node));
                together.wait();
                load.run_for(TIME, call, &numbers, 64)
            })
        };
        let threads: Vec<_> = cluster.nodes().iter().map(load).collect();
        let runs = threads.into_iter().map(thread::ScopedJoinHandle::join);
        runs.map(|run| run.expect("calls")).collect()
    });
    Run {
        calls_per_second: runs.iter().map(|run| run.calls_per_second).sum(),
        busy: runs.iter().map(|run| run.busy).sum(),
    }
}

/// Calls per second of RL.TOKEN, with 64 calls in flight, by number of primaries.
pub(crate) fn table() -> String {
    let calls = Call::all();
    let call = calls.iter().find(|call| call.name == "token");
    let call = call.expect("RL.TOKEN is a call");
    let clusters = PRIMARIES.map(Cluster::of_primaries);
    let mut figures = PRIMARIES.map(|_| Rounds::default());
    for _ in 0..ROUNDS {
        for (cluster, rounds) in clusters.iter().zip(&mut figures) {
            rounds.0.push(run(cluster, call));
        }
    }
    let row = |(primaries, rounds): (&usize, &Rounds)| {
        let busy = format!("{:.2}", rounds.busy());
        vec![primaries.to_string(), rounds.shown(), busy]
    };
    let rows: Vec<_> = PRIMARIES.iter().zip(&figures).map(row).collect();
    let head = ["primaries", "thousand calls a second", "cores used"];
    rl_tests::table(&head, &rows)
}
