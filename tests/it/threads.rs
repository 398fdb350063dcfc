//! The threads of rl-server: their number, and how connections are spread over them.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use nix::sys::signal::Signal;
use rl_tests::{HttpServer, artifacts, eventually, get};

use crate::serving::start;

/// Requests that each connection sends.
const REQUESTS: u64 = 50;

/// The name of each thread that serves requests, and how often it has waited for something so far.
fn waits(http: &HttpServer) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", http.id())).expect("its threads");
    let mut waits: Vec<_> = tasks
        .filter_map(|task| {
            let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
            let name = field("Name:\t").filter(|name| name.starts_with("http-"))?;
            let waits = field("voluntary_ctxt_switches:\t")?.parse().ok()?;
            Some((name.to_owned(), waits))
        })
        .collect();
    waits.sort();
    waits
}

fn names(http: &HttpServer) -> Vec<String> {
    waits(http).into_iter().map(|(name, _waits)| name).collect()
}

#[test]
fn each_core_has_a_thread_unless_a_flag_sets_their_number() {
    let expected = |count| Vec::from_iter((0..count).map(|index| format!("http-{index}")));
    let cores = available_parallelism().expect("known").get();
    assert_eq!(names(&start(&[]).1), expected(cores));
    assert_eq!(names(&start(&["-threads", "3"]).1), expected(3));
}

#[test]
fn a_number_of_threads_is_from_1_to_1024() {
    for number in ["0", "1025", "-1", "two", ""] {
        let mut command = Command::new(&artifacts().server);
        let output = command.args(["-threads", number]).output().expect("built");
        assert_eq!(output.status.code(), Some(2), "{number}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("a whole number from 1 to 1024"), "{error}");
    }
}

/// A thread usually waits twice for each request: for the request, and for Redis. On a busy machine it finds some of them
/// there when it looks, so that half a wait for each is enough.
#[test]
fn connections_are_spread_evenly_over_the_threads() {
    let (_redis, http) = start(&["-threads", "2"]);
    for count in [2, 3, 64] {
        let mut connections: Vec<_> = (0..count).map(|_| http.connect()).collect();
        let before = waits(&http);
        for _ in 0..REQUESTS {
            for stream in &mut connections {
                assert_eq!(get(stream, "/token").status, 200);
            }
        }
        let fewest = count / 2 * REQUESTS / 2;
        for ((name, before), (_, after)) in before.into_iter().zip(waits(&http)) {
            assert!(
                after - before >= fewest,
                "{count}: {name} waited {} times",
                after - before
            );
        }
        drop(connections);
    }
}

#[test]
fn a_connection_goes_to_the_thread_with_the_fewest() {
    let (_redis, http) = start(&["-threads", "2"]);
    // Those of even index are on one thread, the others on the other.
    let mut all: Vec<_> = (0..8).map(|_| http.connect()).collect();
    for stream in &mut all {
        assert_eq!(get(stream, "/token").status, 200);
    }
    let mut index = 0;
    all.retain(|_| {
        index += 1;
        index % 2 == 0
    });
    // Its answer comes after the server has noticed the closed ones.
    eventually("the others to be closed", || {
        let metrics = get(&mut all[0], "/metrics").body;
        metrics.contains("\nrl_connections 4\n").then_some(())
    });
    let mut new: Vec<_> = (0..4).map(|_| http.connect()).collect();
    let before = waits(&http);
    for _ in 0..REQUESTS {
        for stream in &mut new {
            assert_eq!(get(stream, "/token").status, 200);
        }
    }
    let waited = before.into_iter().zip(waits(&http));
    let waited: Vec<_> = waited
        .map(|((_, before), (_, after))| after - before)
        .collect();
    // All four are on the thread that had lost its connections.
    let (fewest, most) = (waited.iter().min(), waited.iter().max());
    let is_one = fewest < Some(&REQUESTS) && most >= Some(&(2 * REQUESTS));
    assert!(is_one, "{waited:?}");
}

#[test]
fn an_outage_is_logged_once_and_not_by_each_thread() {
    let (redis, mut http) = start(&["-threads", "4"]);
    for _ in 0..8 {
        assert_eq!(http.get("/token").status, 200);
    }
    drop(redis);
    http.wait_for_log("no connection to Redis");
    http.signal(Signal::SIGTERM);
    assert_eq!(http.exit_code(), Some(0));
    let log = http.rest_of_log();
    let lost = log
        .iter()
        .filter(|line| line.contains("the connection was closed"));
    let gone = log
        .iter()
        .filter(|line| line.contains("no connection to Redis"));
    assert!(lost.count() <= 1 && gone.count() == 0, "{log:#?}");
}
