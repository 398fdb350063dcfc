use std::panic::catch_unwind;

use rl_tests::{Bug, History, RedisServer, Setup, wait_for_calls};

const KEYS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

#[test]
fn a_history_of_many_callers_keeps_the_promises() {
    let server = RedisServer::start();
    let history = History::of(&server, &KEYS, || {
        wait_for_calls(&KEYS, 400, |_| Some(server.connect()));
    });
    history.check();
    assert!(history.calls() > 3000, "{}", history.calls());
}

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn through_kills(server: &RedisServer) -> History {
    History::of(server, &KEYS, || {
        for _ in 0..4 {
            wait_for_calls(&KEYS, 50, |_| Some(server.connect()));
            server.kill();
            server.restart();
        }
        wait_for_calls(&KEYS, 50, |_| Some(server.connect()));
    })
}

#[test]
fn a_history_with_kills_and_restarts_keeps_the_promises() {
    let history = through_kills(&RedisServer::start_with(&AOF));
    history.check();
    assert!(history.calls() > 1500, "{}", history.calls());
}

const BUGS: [Bug; 3] = [
    Bug {
        name: "refill-rounded-up",
        file: "bucket/src/bucket.rs",
        change: [
            "old.units_given_back(now.us_since(stored.updated))",
            "old.units_given_back(now.us_since(stored.updated).next_multiple_of(1000))",
        ],
    },
    Bug {
        name: "lost-write",
        file: "src/redis.rs",
        change: [
            "ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN);",
            "if self.found.is_none() || !deadline_ms.is_multiple_of(64) {
                ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN);
            }",
        ],
    },
    // The AOF has the call, which reads the clock when it is loaded.
    Bug {
        name: "replayed-clock",
        file: "src/redis.rs",
        change: ["_ if !listeners::are_there() =>", "_ if true =>"],
    },
];

#[test]
#[ignore = "make test-full"]
fn a_history_finds_each_bug_that_is_planted_in_the_module() {
    for bug in BUGS {
        let mut setup = Setup::with_module(&AOF);
        setup.module = Some(bug.build());
        let history = through_kills(&RedisServer::start_as(setup));
        let broken = catch_unwind(|| history.check()).expect_err(bug.name);
        let told = broken.downcast_ref::<String>().expect("which promise");
        println!("{}: {}", bug.name, &told[..told.find(':').unwrap_or(0)]);
        assert!(told.starts_with('P'), "{told}");
    }
}
