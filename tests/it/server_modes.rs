use std::thread;

use redis::Value;
use rl_tests::{History, RedisServer, Stored, eventually, wait_for_calls};

use crate::replication::{assert_equal, under_load, wait_for_link};

/// A load straight from the socket, over data of another history. A peek meanwhile finds the one or the other.
#[test]
fn a_diskless_load_under_load_ends_in_the_same_bytes() {
    for mode in ["on-empty-db", "swapdb"] {
        let primary = RedisServer::start_on_tcp(&[
            "--repl-diskless-sync",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        let replica = RedisServer::start_with(&["--repl-diskless-load", mode]);
        let (mut here, mut there) = (primary.connect(), replica.connect());
        here.limit("RL.TOKEN k 1/1000d 5 COST 3");
        there.limit("RL.TOKEN k 1/1000d 5 COST 4");
        let mut remaining = Vec::new();
        under_load(&primary, || {
            there.value(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
            eventually("the link to the primary", || {
                match there.try_line::<Vec<i64>>("RL.PEEK k COST 0") {
                    Ok(reply) => remaining.push(reply[2]),
                    Err(error) => assert!(error.starts_with("LOADING "), "{error}"),
                }
                let link = there.info("replication", "master_link_status")?;
                (link == "up").then_some(())
            });
        });
        wait_for_link(&mut there);
        assert_equal(&mut here, &mut there);
        remaining.push(there.limit("RL.PEEK k COST 0")[2]);
        remaining.dedup();
        assert!(matches!(remaining[..], [1, 2] | [2]), "{remaining:?}");
    }
}

const BURST: i64 = 8;

/// A bucket of either kind, and how many calls were made on it.
struct Called {
    line: String,
    calls: i64,
}

impl Called {
    fn new(n: usize) -> Self {
        let command = if n.is_multiple_of(3) {
            "RL.LEAKY"
        } else {
            "RL.TOKEN"
        };
        let line = format!("{command} b{n} 1/1000d {BURST}");
        Self { line, calls: 0 }
    }

    fn check(&mut self, reply: &Value) {
        self.calls += 1;
        let Value::Array(reply) = reply else {
            panic!("{}: {reply:?}", self.line);
        };
        let expected = if self.calls <= BURST {
            [1, BURST, BURST - self.calls]
        } else {
            [0, BURST, 0]
        };
        assert_eq!(reply[..3], expected.map(Value::Int), "{}", self.line);
    }
}

#[test]
fn active_defragmentation_moves_buckets_and_changes_none() {
    const KEYS: usize = 40_000;
    let server = RedisServer::start();
    let mut redis = server.connect();
    if let Err(error) = redis.try_line::<Value>("CONFIG SET activedefrag yes") {
        assert!(error.contains("Jemalloc"), "{error}");
        println!("skipped: this server has no active defragmentation");
        return;
    }
    redis.value("CONFIG SET activedefrag no");
    for setting in [
        "active-defrag-ignore-bytes 1",
        "active-defrag-threshold-lower 0",
        "active-defrag-threshold-upper 1",
        "active-defrag-cycle-max 25",
        "active-defrag-cycle-min 25",
        "hz 500",
    ] {
        redis.value(&format!("CONFIG SET {setting}"));
    }
    let mut all: Vec<Called> = (0..KEYS).map(Called::new).collect();
    let replies = redis.run_all(all.iter().map(|called| called.line.clone()));
    for (called, reply) in all.iter_mut().zip(&replies) {
        called.check(reply);
    }
    // A page of memory holds one in four of those that were in it.
    redis.run_all((0..KEYS).filter(|n| n % 4 > 0).map(|n| format!("DEL b{n}")));
    let mut left: Vec<Called> = all.into_iter().step_by(4).collect();
    redis.value("CONFIG SET activedefrag yes");
    let mut rounds = 0;
    eventually("a thousand values to be moved", || {
        for called in left.chunks_mut(500) {
            let replies = redis.run_all(called.iter().map(|called| called.line.clone()));
            for (called, reply) in called.iter_mut().zip(&replies) {
                called.check(reply);
            }
        }
        let moved: i64 = redis
            .info("stats", "active_defrag_key_hits")?
            .parse()
            .ok()?;
        rounds += 1;
        (moved > 1000 && rounds >= 2 * BURST).then_some(())
    });
    for called in &left {
        let key = called.line.split(' ').nth(1).expect("a key");
        let (bytes, deadline_ms) = redis.stored(key);
        let bytes = bytes.expect(key);
        assert!(Stored::is_valid(&bytes), "{key}");
        let stored = Stored::read(&bytes);
        let taken = stored.used.div_ceil(stored.period_us.into());
        assert_eq!(taken.cast_signed(), called.calls.min(BURST).into(), "{key}");
        assert!(stored.may_live_until(deadline_ms), "{key}");
    }
}

/// Enough that a server has something to share among its threads.
const CONNECTIONS: i64 = 32;
const ROUNDS: i64 = 10;
const BATCH: i64 = 100;

/// Batches of calls on a key of the connection's own and on one of all, with a text after each: `remaining` of the latter.
fn pipeline(server: &RedisServer, name: &str) -> Vec<i64> {
    let mut redis = server.connect();
    let mut of_all = Vec::new();
    for round in 0..ROUNDS {
        let lines = (0..BATCH).flat_map(|n| {
            [
                format!("RL.TOKEN own-{name} 1/1000d 1000000"),
                format!("ECHO {name}-{round}-{n}"),
                "RL.LEAKY all 1/1000d 1000000000".to_owned(),
            ]
        });
        let replies = redis.run_all(lines);
        assert_eq!(replies.len(), 3 * usize::try_from(BATCH).expect("few"));
        for (n, replies) in (0..BATCH).zip(replies.chunks(3)) {
            let [
                Value::Array(own),
                Value::BulkString(text),
                Value::Array(all),
            ] = replies
            else {
                panic!("{replies:?}");
            };
            let remaining = 999_999 - round * BATCH - n;
            assert_eq!(own[..3], [1, 1_000_000, remaining].map(Value::Int));
            assert_eq!(text, format!("{name}-{round}-{n}").as_bytes());
            let [
                Value::Int(1),
                Value::Int(1_000_000_000),
                Value::Int(remaining),
            ] = all[..3]
            else {
                panic!("{all:?}");
            };
            of_all.push(remaining);
        }
    }
    assert!(of_all.is_sorted_by(|one, next| one > next), "{name}");
    of_all
}

/// Commands that the threads have read or replies that they have written.
fn threaded(server: &RedisServer) -> i64 {
    let mut redis = server.connect();
    let counts = [
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
    ]
    .map(|field| {
        let count = redis.info("stats", field)?;
        count.parse::<i64>().ok()
    });
    counts.into_iter().flatten().sum()
}

fn with_threads() -> RedisServer {
    let server = RedisServer::start_with(&["--io-threads", "4"]);
    // Since Redis 8 and in Valkey this is no longer an option that does anything.
    let _ = server
        .connect()
        .try_line::<Value>("CONFIG SET io-threads-do-reads yes");
    server
}

#[test]
fn io_threads_keep_every_reply_in_its_place_and_the_sum_exact() {
    let server = with_threads();
    let mut of_all = Vec::new();
    let mut batches = 0;
    eventually("the threads to work", || {
        let more: Vec<i64> = thread::scope(|scope| {
            let name = |n: i64| format!("{batches}-{n}");
            let callers: Vec<_> = (0..CONNECTIONS)
                .map(|n| {
                    let (server, name) = (&server, name(n));
                    scope.spawn(move || pipeline(server, &name))
                })
                .collect();
            let each = callers
                .into_iter()
                .map(|caller| caller.join().expect("a caller"));
            each.flatten().collect()
        });
        of_all.extend(more);
        batches += 1;
        (threaded(&server) > 0).then_some(())
    });
    of_all.sort_unstable_by(|one, next| next.cmp(one));
    let calls = batches * CONNECTIONS * ROUNDS * BATCH;
    let expected = (1..=calls).map(|n| 1_000_000_000 - n);
    assert!(of_all.iter().copied().eq(expected), "{calls} calls");
    println!(
        "{calls} calls on one key, {} reads and writes by threads",
        threaded(&server)
    );
}

#[test]
fn a_history_with_io_threads_keeps_the_promises() {
    const KEYS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    let server = with_threads();
    let history = History::of(&server, &KEYS, || {
        wait_for_calls(&KEYS, 300, |_| Some(server.connect()));
    });
    history.check();
    assert!(history.calls() > 2000, "{}", history.calls());
}
