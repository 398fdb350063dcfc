use std::collections::HashMap;
use std::path::PathBuf;
use std::thread;

use rl_tests::{Redis, RedisServer, Stop, Stored, artifacts, eventually};

use crate::replication::under_load;

const KEYS: [&str; 4] = ["t", "l", "debt", "ages"];

fn fill(redis: &mut Redis) -> Vec<(Option<Vec<u8>>, i64)> {
    redis.limit("RL.TOKEN t 1/1000s 20 COST 5");
    redis.limit("RL.TOKEN t 1/1000s 20");
    redis.limit("RL.LEAKY l 3/1000s 20 COST 7");
    redis.limit("RL.TOKEN debt 7/1d 5 FORCE 90");
    redis.limit("RL.TOKEN ages 1/3257d 281474976710655 COST 281474976710655");
    redis.limit("RL.TOKEN gone 1/1000s 20");
    redis.limit("RL.TOKEN gone 1/1000s 20 REFUND 1");
    stored(redis)
}

fn stored(redis: &mut Redis) -> Vec<(Option<Vec<u8>>, i64)> {
    assert_eq!(redis.line::<i64>("DBSIZE"), 4);
    let stored: Vec<_> = KEYS.iter().map(|key| redis.stored(key)).collect();
    assert!(
        stored
            .iter()
            .all(|(bytes, deadline_ms)| bytes.is_some() && *deadline_ms > 0),
        "{stored:?}"
    );
    stored
}

/// Restarts with `args`, first without the module and then with it, and checks that bytes and TTLs are unchanged.
fn assert_survives(server: &mut RedisServer, args: &[&str], before: &[(Option<Vec<u8>>, i64)]) {
    let module = artifacts().module.to_str().expect("UTF-8").to_owned();
    server.restart_with(args);
    assert_eq!(stored(&mut server.connect()), before, "without the module");
    server.restart_with(&[&["--loadmodule", &module], args].concat());
    let mut redis = server.connect();
    assert_eq!(stored(&mut redis), before, "with the module");
    assert_eq!(redis.limit("RL.PEEK t COST 0")[..3], [1, 20, 14]);
}

#[test]
fn an_rdb_gives_the_same_bytes_with_and_without_the_module() {
    let mut server = RedisServer::start();
    let before = fill(&mut server.connect());
    server.connect().value("SAVE");
    assert_survives(&mut server, &[], &before);
}

/// Rewrites the AOF, and waits until that is done.
pub(crate) fn rewrite_aof(redis: &mut Redis) {
    redis.value("BGREWRITEAOF");
    eventually("the rewrite to end", || {
        // In this order, since a scheduled rewrite is in progress before it ends.
        let started = redis.info("persistence", "aof_rewrite_scheduled")? == "0";
        (started && redis.info("persistence", "aof_rewrite_in_progress")? == "0").then_some(())
    });
    let status = redis.info("persistence", "aof_last_bgrewrite_status");
    assert_eq!(status.as_deref(), Some("ok"));
}

/// Checks the AOF, with or without a rewrite and an RDB preamble.
fn aof(preamble: &str, rewrite: bool) {
    let args = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--aof-use-rdb-preamble",
        preamble,
    ];
    let mut server = RedisServer::start_with(&args);
    let mut redis = server.connect();
    let before = fill(&mut redis);
    if rewrite {
        rewrite_aof(&mut redis);
    }
    assert_survives(&mut server, &args, &before);
}

#[test]
fn an_aof_gives_the_same_bytes_with_and_without_the_module() {
    aof("yes", false);
}

#[test]
fn an_aof_rewritten_with_an_rdb_preamble_gives_the_same_bytes() {
    aof("yes", true);
}

#[test]
fn an_aof_rewritten_without_a_preamble_gives_the_same_bytes() {
    aof("no", true);
}

/// Nothing that is written before, during or after the rewrites is lost.
#[test]
fn an_aof_that_is_rewritten_under_load_gives_the_same_bytes() {
    for preamble in ["yes", "no"] {
        // With "everysec" Redis may delay a write to the file until a sync ends; with "no" each reply follows its
        // write.
        let args = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "no",
            "--aof-use-rdb-preamble",
            preamble,
        ];
        let server = RedisServer::start_with(&args);
        under_load(&server, || {
            for _ in 0..3 {
                rewrite_aof(&mut server.connect());
            }
        });
        let mut redis = server.connect();
        let all_buckets = |redis: &mut Redis| {
            let mut keys: Vec<String> = redis.line("KEYS [^f]*");
            keys.sort();
            let stored = |key: String| (redis.stored(&key), key);
            keys.into_iter().map(stored).collect::<Vec<_>>()
        };
        let before = all_buckets(&mut redis);
        assert!(before.len() > 300, "{}", before.len());
        server.kill();
        server.restart();
        let after = all_buckets(&mut server.connect());
        for (bucket, expected) in after.iter().zip(&before) {
            assert_eq!(bucket, expected, "preamble {preamble}");
        }
        assert_eq!(after.len(), before.len());
    }
}

#[test]
fn a_call_that_cannot_be_replicated_fails_and_changes_nothing() {
    let server = RedisServer::start_with(&["--rename-command", "SET", "", "--appendonly", "yes"]);
    let mut redis = server.connect();
    let error = redis
        .try_line::<redis::Value>("RL.TOKEN k 10 20")
        .expect_err("no SET");
    assert_eq!(
        error,
        "ERR cannot replicate: the server's SET or DEL is renamed"
    );
    assert_eq!(redis.line::<i64>("DBSIZE"), 0);
}

#[test]
fn a_change_counts_for_save_points_and_a_denial_does_not() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let mut changes = || {
        let count = redis
            .info("persistence", "rdb_changes_since_last_save")
            .expect("a count");
        (count, redis.limit("RL.TOKEN k 1/1000d 2")[0])
    };
    let counted: Vec<_> = (0..4).map(|_| changes()).collect();
    let expected = [("0", 1), ("1", 1), ("2", 0), ("2", 0)]
        .map(|(count, allowed)| (count.to_owned(), allowed));
    assert_eq!(counted, expected);
}

/// Takes tokens until the server is killed. Returns how many were allowed, by key.
fn take_until_killed(mut redis: Redis, caller: usize, stop: &Stop) -> HashMap<String, u128> {
    let mut allowed = HashMap::new();
    for i in (caller..).take_while(|_| !stop.is_set()) {
        let key = format!("k{}", i % 7);
        match redis.try_line::<Vec<i64>>(&format!("RL.TOKEN {key} 1/1000d 281474976710655")) {
            Ok(reply) => {
                *allowed.entry(key).or_default() += u128::try_from(reply[0]).expect("0 or 1");
            }
            Err(_) => break,
        }
    }
    allowed
}

#[test]
fn allowed_calls_are_still_counted_after_kill_9() {
    const CALLERS: usize = 8;
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = RedisServer::start_with(&args);
    let stop = Stop::default();
    let allowed: Vec<HashMap<String, u128>> = thread::scope(|scope| {
        let stop = &stop;
        // All connect before the load starts: after the kill, connecting would wait for the restart, which waits for
        // them.
        let connections: Vec<Redis> = (0..CALLERS).map(|_| server.connect()).collect();
        let callers: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(caller, redis)| scope.spawn(move || take_until_killed(redis, caller, stop)))
            .collect();
        let mut redis = server.connect();
        stop.after(|| {
            eventually("some load", || {
                let left = redis.limit("RL.PEEK k0 COST 0").get(2).copied();
                left.filter(|left| *left < 281_474_976_710_600).map(|_| ())
            });
            server.signal(nix::sys::signal::Signal::SIGKILL);
        });
        callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller"))
            .collect()
    });
    server.restart();
    let mut redis = server.connect();
    for key in (0..7).map(|key| format!("k{key}")) {
        let allowed: u128 = allowed.iter().filter_map(|by_key| by_key.get(&key)).sum();
        let stored = Stored::read(&redis.stored(&key).0.expect("a key"));
        let used = stored.used.div_ceil(stored.period_us.into());
        assert!(used >= allowed, "{key}: {allowed} allowed, {used} stored");
        assert!(
            used <= allowed + CALLERS as u128,
            "{key}: {allowed} allowed, {used} stored"
        );
    }
}

/// The file that Redis appends to. Since Redis 7.0 it is in a directory of its own.
pub(crate) fn incremental_aof(server: &RedisServer) -> PathBuf {
    let mut files = Vec::new();
    let mut dirs = vec![server.dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                dirs.push(entry.path());
            } else if name.ends_with(".incr.aof") || name == "appendonly.aof" {
                files.push(entry.path());
            }
        }
    }
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn a_truncated_aof_loses_only_the_last_change() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut redis = server.connect();
    redis.limit("RL.TOKEN first 1/1000d 20 COST 5");
    redis.limit("RL.TOKEN last 1/1000d 20 COST 5");
    let before = redis.stored("last");
    redis.limit("RL.TOKEN last 1/1000d 20 COST 5");
    let first = redis.stored("first");
    server.kill();
    let path = incremental_aof(&server);
    let aof = std::fs::read(&path).expect("a file");
    std::fs::write(&path, &aof[..aof.len() - 20]).expect("written");
    server.restart();
    let mut redis = server.connect();
    assert_eq!(redis.stored("first"), first);
    assert_eq!(redis.stored("last"), before);
    assert_eq!(redis.limit("RL.TOKEN last 1/1000d 20")[..3], [1, 20, 14]);
}

/// As after an hour of downtime, the stored time is an hour in the past.
#[test]
fn an_hour_of_downtime_refills_by_exactly_an_hour() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 7/h 50 COST 50");
    let mut bytes = redis.stored("k").0.expect("a key");
    let updated_us = Stored::read(&bytes).updated_us - 3_600_000_000;
    bytes[18..26].copy_from_slice(&updated_us.to_le_bytes());
    redis
        .try_run::<redis::Value>(&[b"SET".as_slice(), b"k", &bytes])
        .expect("set");
    assert_eq!(redis.limit("RL.TOKEN k 7/h 50 COST 0")[..3], [1, 50, 7]);
    redis.limit("RL.TOKEN k 7/h 50 COST 7");
    let stored = Stored::read(&redis.stored("k").0.expect("a key"));
    let refilled = u128::from(stored.updated_us - updated_us) * u128::from(stored.count);
    assert_eq!(stored.used, 57 * u128::from(stored.period_us) - refilled);
}
