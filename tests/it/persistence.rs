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

/// Restarts with `args`, and without the module with the same ones, and finds the same bytes and deadlines.
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
        // In this order: one that was scheduled is in progress before it is done.
        let begun = redis.info("persistence", "aof_rewrite_scheduled")? == "0";
        (begun && redis.info("persistence", "aof_rewrite_in_progress")? == "0").then_some(())
    });
    let status = redis.info("persistence", "aof_last_bgrewrite_status");
    assert_eq!(status.as_deref(), Some("ok"));
}

/// The AOF as it grows, and as it is after a rewrite, with an RDB at its head and without.
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

/// What was written before, while and after the AOF was rewritten, is all there.
#[test]
fn an_aof_that_is_rewritten_under_load_gives_the_same_bytes() {
    for preamble in ["yes", "no"] {
        // A write is not put off until the one before is on disk: what was answered is in the file.
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
        let held = |redis: &mut Redis| {
            let mut keys: Vec<String> = redis.line("KEYS [^f]*");
            keys.sort();
            let stored = |key: String| (redis.stored(&key), key);
            keys.into_iter().map(stored).collect::<Vec<_>>()
        };
        let before = held(&mut redis);
        assert!(before.len() > 300, "{}", before.len());
        server.kill();
        server.restart();
        let after = held(&mut server.connect());
        for (found, expected) in after.iter().zip(&before) {
            assert_eq!(found, expected, "preamble {preamble}");
        }
        assert_eq!(after.len(), before.len());
    }
}

#[test]
fn a_server_that_cannot_replicate_is_told_so_and_nothing_changes() {
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

/// Takes tokens until the server is gone, and gives what was answered as allowed, by key.
fn take_until_the_end(mut redis: Redis, caller: usize, stop: &Stop) -> HashMap<String, u128> {
    let mut allowed = HashMap::new();
    for i in (caller..).take_while(|_| !stop.is_set()) {
        let key = format!("k{}", i % 7);
        match redis.try_line::<Vec<i64>>(&format!("RL.TOKEN {key} 1/1000d 281474976710655")) {
            Ok(told) => {
                *allowed.entry(key).or_default() += u128::try_from(told[0]).expect("0 or 1");
            }
            Err(_) => break,
        }
    }
    allowed
}

#[test]
fn what_was_answered_as_allowed_is_there_after_kill_9() {
    const CALLERS: usize = 8;
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = RedisServer::start_with(&args);
    let stop = Stop::default();
    let answered: Vec<HashMap<String, u128>> = thread::scope(|scope| {
        let stop = &stop;
        // Connected before the first begins: one that came after the kill would wait for the restart, and the restart for it.
        let connections: Vec<Redis> = (0..CALLERS).map(|_| server.connect()).collect();
        let callers: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(caller, redis)| scope.spawn(move || take_until_the_end(redis, caller, stop)))
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
        let answered: u128 = answered
            .iter()
            .filter_map(|allowed| allowed.get(&key))
            .sum();
        let stored = Stored::read(&redis.stored(&key).0.expect("a key"));
        let used = stored.used.div_ceil(stored.period_us.into());
        assert!(used >= answered, "{key}: {answered} answered, {used} there");
        assert!(
            used <= answered + CALLERS as u128,
            "{key}: {answered} answered, {used} there"
        );
    }
}

/// The files of the AOF that grow: in a directory of their own from Redis 7.0 on.
pub(crate) fn growing_aof(server: &RedisServer) -> PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![server.dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                dirs.push(entry.path());
            } else if name.ends_with(".incr.aof") || name == "appendonly.aof" {
                found.push(entry.path());
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_truncated_tail_of_the_aof_loses_the_last_change_and_nothing_else() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut redis = server.connect();
    redis.limit("RL.TOKEN first 1/1000d 20 COST 5");
    redis.limit("RL.TOKEN last 1/1000d 20 COST 5");
    let before = redis.stored("last");
    redis.limit("RL.TOKEN last 1/1000d 20 COST 5");
    let first = redis.stored("first");
    server.kill();
    let path = growing_aof(&server);
    let aof = std::fs::read(&path).expect("a file");
    std::fs::write(&path, &aof[..aof.len() - 20]).expect("written");
    server.restart();
    let mut redis = server.connect();
    assert_eq!(redis.stored("first"), first);
    assert_eq!(redis.stored("last"), before);
    assert_eq!(redis.limit("RL.TOKEN last 1/1000d 20")[..3], [1, 20, 14]);
}

/// What a server finds that was down for an hour: the bytes as they were then.
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
    let given_back = u128::from(stored.updated_us - updated_us) * u128::from(stored.count);
    assert_eq!(stored.used, 57 * u128::from(stored.period_us) - given_back);
}
