use std::thread;

use redis::Value;
use rl_tests::{History, RedisServer, Stored, eventually, wait_for_calls};

use crate::replication::{assert_equal, under_load, wait_for_link};

/// Loads from the socket, onto a replica with other data. A peek during the load replies from either data set.
#[test]
fn after_a_diskless_load_under_load_all_bytes_are_equal() {
    for mode in ["on-empty-db", "swapdb"] {
        let primary = RedisServer::start_on_tcp(&[
            "--repl-diskless-sync",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        let replica = RedisServer::start_with(&["--repl-diskless-load", mode]);
        let (mut on_primary, mut on_replica) = (primary.connect(), replica.connect());
        on_primary.limit("RL.TOKEN k 1/1000d 5 COST 3");
        on_replica.limit("RL.TOKEN k 1/1000d 5 COST 4");
        let mut remaining = Vec::new();
        under_load(&primary, || {
            on_replica.value(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
            eventually("the link to the primary", || {
                match on_replica.try_line::<Vec<i64>>("RL.PEEK k COST 0") {
                    Ok(reply) => remaining.push(reply[2]),
                    Err(error) => assert!(error.starts_with("LOADING "), "{error}"),
                }
                let link = on_replica.info("replication", "master_link_status")?;
                (link == "up").then_some(())
            });
        });
        wait_for_link(&mut on_replica);
        assert_equal(&mut on_primary, &mut on_replica);
        remaining.push(on_replica.limit("RL.PEEK k COST 0")[2]);
        remaining.dedup();
        assert!(matches!(remaining[..], [1, 2] | [2]), "{remaining:?}");
    }
}

const BURST: i64 = 8;

/// A bucket of either kind, and how many calls were made on it.
struct CalledBucket {
    line: String,
    calls: i64,
}

impl CalledBucket {
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
    let mut all: Vec<CalledBucket> = (0..KEYS).map(CalledBucket::new).collect();
    let replies = redis.run_all(all.iter().map(|called| called.line.clone()));
    for (called, reply) in all.iter_mut().zip(&replies) {
        called.check(reply);
    }
    // Leaves one bucket in four, so that every page of memory has gaps.
    redis.run_all((0..KEYS).filter(|n| n % 4 > 0).map(|n| format!("DEL b{n}")));
    let mut buckets: Vec<CalledBucket> = all.into_iter().step_by(4).collect();
    redis.value("CONFIG SET activedefrag yes");
    let mut rounds = 0;
    eventually("a thousand values to move", || {
        for chunk in buckets.chunks_mut(500) {
            let replies = redis.run_all(chunk.iter().map(|called| called.line.clone()));
            for (called, reply) in chunk.iter_mut().zip(&replies) {
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
    for called in &buckets {
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

/// Enough connections that a server uses its I/O threads.
const CONNECTIONS: i64 = 32;
const ROUNDS: i64 = 10;
const BATCH: i64 = 100;

/// Sends batches of calls, each on a key of this connection and on one that all share, with an ECHO between. Returns
/// `remaining` of the shared key, reply by reply.
fn pipeline(server: &RedisServer, name: &str) -> Vec<i64> {
    let mut redis = server.connect();
    let mut shared = Vec::new();
    for round in 0..ROUNDS {
        let lines = (0..BATCH).flat_map(|n| {
            [
                format!("RL.TOKEN own-{name} 1/1000d 1000000"),
                format!("ECHO {name}-{round}-{n}"),
                "RL.LEAKY shared 1/1000d 1000000000".to_owned(),
            ]
        });
        let replies = redis.run_all(lines);
        assert_eq!(replies.len(), 3 * usize::try_from(BATCH).expect("few"));
        for (n, replies) in (0..BATCH).zip(replies.chunks(3)) {
            let [
                Value::Array(own),
                Value::BulkString(text),
                Value::Array(reply),
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
            ] = reply[..3]
            else {
                panic!("{reply:?}");
            };
            shared.push(remaining);
        }
    }
    assert!(shared.is_sorted_by(|one, next| one > next), "{name}");
    shared
}

/// The reads and writes that I/O threads have processed.
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
    // Redis 8 and Valkey ignore this option, or do not have it.
    let _ = server
        .connect()
        .try_line::<Value>("CONFIG SET io-threads-do-reads yes");
    server
}

#[test]
fn with_io_threads_replies_keep_their_order_and_sums_are_exact() {
    let server = with_threads();
    let mut shared = Vec::new();
    let mut batches = 0;
    eventually("the threads to process requests", || {
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
        shared.extend(more);
        batches += 1;
        (threaded(&server) > 0).then_some(())
    });
    shared.sort_unstable_by(|one, next| next.cmp(one));
    let calls = batches * CONNECTIONS * ROUNDS * BATCH;
    let expected = (1..=calls).map(|n| 1_000_000_000 - n);
    assert!(shared.iter().copied().eq(expected), "{calls} calls");
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
