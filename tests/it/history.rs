use std::fs;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use rl_tests::{Bug, History, Redis, RedisServer, Setup, artifacts, eventually, wait_for_calls};

use crate::persistence::{incremental_aof, rewrite_aof};
use crate::replication::{drop_links, wait_for_link};

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

/// Records calls before, between and after `troubles` calls of `trouble`.
fn record_with(server: &RedisServer, troubles: usize, mut trouble: impl FnMut()) -> History {
    let wait = || wait_for_calls(&KEYS, 50, |_| Some(server.connect()));
    History::of(server, &KEYS, || {
        for _ in 0..troubles {
            wait();
            trouble();
        }
        wait();
    })
}

fn record_with_kills(server: &RedisServer) -> History {
    record_with(server, 4, || {
        server.kill();
        server.restart();
    })
}

#[test]
fn a_history_with_kills_and_restarts_keeps_the_promises() {
    let history = record_with_kills(&RedisServer::start_with(&AOF));
    history.check();
    assert!(history.calls() > 1500, "{}", history.calls());
}

/// Removes the last bytes of the AOF.
fn truncate_aof(server: &RedisServer) {
    let path = incremental_aof(server);
    let aof = fs::read(&path).expect("a file");
    fs::write(&path, &aof[..aof.len() - 20]).expect("written");
}

#[test]
fn a_history_with_truncated_aofs_keeps_the_promises() {
    for preamble in ["yes", "no"] {
        let args = [&AOF[..], &["--aof-use-rdb-preamble", preamble]].concat();
        let server = RedisServer::start_with(&args);
        let history = record_with(&server, 3, || {
            rewrite_aof(&mut server.connect());
            wait_for_calls(&KEYS, 30, |_| Some(server.connect()));
            server.kill();
            truncate_aof(&server);
            server.restart();
        });
        history.check();
        assert!(history.calls() > 1500, "{}", history.calls());
    }
}

#[test]
fn a_history_with_the_module_unloaded_keeps_the_promises() {
    let server = RedisServer::start();
    let load = format!("MODULE LOAD {}", artifacts().module.display());
    let history = record_with(&server, 3, || {
        for line in ["MODULE UNLOAD rl", "DEBUG RELOAD", &load] {
            server.connect().value(line);
        }
    });
    history.check();
    assert!(history.calls() > 1000, "{}", history.calls());
}

#[test]
fn a_history_with_no_memory_left_keeps_the_promises() {
    let server = RedisServer::start();
    let history = record_with(&server, 3, || {
        let mut redis = server.connect();
        redis.value("CONFIG RESETSTAT");
        redis.value("CONFIG SET maxmemory 1");
        eventually("calls to be refused", || {
            let count = redis.info("errorstats", "errorstat_OOM")?;
            let count = count.strip_prefix("count=")?.parse::<u64>().ok()?;
            (count > 100).then_some(())
        });
        redis.value("CONFIG SET maxmemory 0");
    });
    history.check();
    assert!(history.calls() > 1000, "{}", history.calls());
}

/// Two servers, and the index of the primary.
struct Pair([RedisServer; 2], AtomicUsize);

impl Pair {
    fn primary(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    fn connect(&self) -> Option<Redis> {
        self.0[self.primary()].try_connect()
    }

    /// Promotes the replica, and makes the old primary follow it. Calls that the old primary answers in between are
    /// lost.
    fn swap_roles(&self) {
        let before = self.primary();
        let [old, new] = [&self.0[before], &self.0[1 - before]];
        new.connect().value("REPLICAOF NO ONE");
        self.1.store(1 - before, Ordering::Relaxed);
        follow(old, new);
    }
}

fn follow(replica: &RedisServer, primary: &RedisServer) {
    let line = format!("REPLICAOF 127.0.0.1 {}", primary.port());
    replica.connect().value(&line);
}

#[test]
fn a_history_with_resyncs_and_promotions_keeps_the_promises() {
    let start = |()| RedisServer::start_on_tcp(&["--repl-diskless-sync-delay", "0"]);
    let pair = Pair([(), ()].map(start), AtomicUsize::new(0));
    let connect = |_| pair.connect();
    let history = History::record(&KEYS, connect, || {
        wait_for_calls(&KEYS, 30, connect);
        follow(&pair.0[1], &pair.0[0]);
        for _ in 0..4 {
            let [primary, replica] = [pair.primary(), 1 - pair.primary()].map(|n| &pair.0[n]);
            wait_for_link(&mut replica.connect());
            drop_links(primary);
            wait_for_calls(&KEYS, 30, connect);
            wait_for_link(&mut replica.connect());
            pair.swap_roles();
            wait_for_calls(&KEYS, 30, connect);
        }
    });
    history.check();
    assert!(history.calls() > 1500, "{}", history.calls());
}

const BUGS: [Bug; 3] = [
    Bug {
        name: "refill-rounded-up",
        file: "bucket/src/bucket.rs",
        change: [
            "old.units_refilled(now.us_since(stored.updated))",
            "old.units_refilled(now.us_since(stored.updated).next_multiple_of(1000))",
        ],
    },
    Bug {
        name: "lost-write",
        file: "src/redis/key.rs",
        change: [
            "ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN)",
            "if !deadline_ms.is_multiple_of(64) {
                ptr::copy_nonoverlapping(bytes.as_ptr(), stored, State::LEN);
            }",
        ],
    },
    // The AOF contains the call itself, which reads the clock when the AOF is loaded.
    Bug {
        name: "replayed-clock",
        file: "src/redis/propagation.rs",
        change: ["let status = if is_enabled() {", "let status = if false {"],
    },
];

#[test]
#[ignore = "make test-full"]
fn a_history_detects_each_bug_planted_in_the_module() {
    for bug in BUGS {
        let dir = tempfile::tempdir().expect("a directory for the module");
        let mut setup = Setup::with_module(&AOF);
        setup.module = Some(bug.build(dir.path()));
        let history = record_with_kills(&RedisServer::start_as(setup));
        let broken = catch_unwind(|| history.check()).expect_err(bug.name);
        let message = broken.downcast_ref::<String>().expect("a message");
        println!(
            "{}: {}",
            bug.name,
            &message[..message.find(':').unwrap_or(0)]
        );
        assert!(message.starts_with('P'), "{message}");
    }
}
