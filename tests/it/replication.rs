use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::Value;
use rl_tests::{Redis, RedisServer, Stop, Stored, eventually};

/// A primary that sends its replicas no pings, so that only changes by clients move its offset.
fn primary() -> RedisServer {
    RedisServer::start_on_tcp(&[
        "--repl-ping-replica-period",
        "3600",
        "--repl-diskless-sync-delay",
        "0",
    ])
}

fn replicaof(primary: &RedisServer) -> [String; 3] {
    ["--replicaof", "127.0.0.1", &primary.port().to_string()].map(str::to_owned)
}

pub(crate) fn wait_for_link(replica: &mut Redis) {
    eventually("the link to the primary", || {
        (replica.info("replication", "master_link_status")? == "up").then_some(())
    });
}

fn wait_for_offset(primary: &mut Redis, replica: &mut Redis) {
    let offset = |redis: &mut Redis, field| redis.info("replication", field)?.parse::<u64>().ok();
    let sent = offset(primary, "master_repl_offset").expect("an offset");
    eventually("the replica to reach the offset", || {
        (offset(replica, "slave_repl_offset")? >= sent).then_some(())
    });
}

fn assert_same(primary: &mut Redis, replica: &mut Redis, keys: &[String]) {
    wait_for_offset(primary, replica);
    for key in keys {
        assert_eq!(primary.stored(key), replica.stored(key), "{key}");
    }
    assert_eq!(primary.line::<i64>("DBSIZE"), replica.line::<i64>("DBSIZE"));
}

/// Sends some calls of every kind, most of them allowed, at rates so slow that no key expires during a test. Returns
/// the keys.
fn load(primary: &mut Redis) -> Vec<String> {
    for i in 0..400 {
        let key = i % 20;
        match i % 7 {
            0 => primary.limit(&format!("RL.LEAKY l{key} {}/100d 50 COST 2", 1 + i % 3)),
            1 => primary.limit(&format!("RL.TOKEN t{key} 1/100d 50 FORCE 3")),
            6 if i % 2 == 0 => primary.limit(&format!("RL.TOKEN t{key} 1/100d 50 REFUND 99")),
            2 => primary.limit(&format!("RL.TOKEN t{key} 1/100d 50 REFUND 2")),
            3 => primary.limit(&format!("RL.TOKEN t{key} 1/100d 9 COST 4 PARTIAL")),
            _ => primary.limit(&format!("RL.TOKEN t{key} 7/3000d 50")),
        };
    }
    (0..20)
        .flat_map(|key| [format!("t{key}"), format!("l{key}")])
        .collect()
}

#[test]
fn a_replica_holds_the_same_bytes_and_deadlines() {
    let primary = primary();
    let mut on_primary = primary.connect();
    let before = load(&mut on_primary);
    let args = replicaof(&primary);
    let replica = RedisServer::start_with(&[&args[0], &args[1], &args[2]]);
    let mut on_replica = replica.connect();
    wait_for_link(&mut on_replica);
    assert_same(&mut on_primary, &mut on_replica, &before);
    let after = load(&mut on_primary);
    assert_same(&mut on_primary, &mut on_replica, &after);
}

#[test]
fn a_replica_without_the_module_holds_the_same_bytes() {
    let primary = primary();
    let mut on_primary = primary.connect();
    let args = replicaof(&primary);
    let replica = RedisServer::start_without_module(&[&args[0], &args[1], &args[2]]);
    let mut on_replica = replica.connect();
    wait_for_link(&mut on_replica);
    let keys = load(&mut on_primary);
    assert_same(&mut on_primary, &mut on_replica, &keys);
}

#[test]
fn a_denied_peeking_or_failed_call_replicates_nothing() {
    let primary = primary();
    let mut on_primary = primary.connect();
    let args = replicaof(&primary);
    let replica = RedisServer::start_with(&[&args[0], &args[1], &args[2]]);
    wait_for_link(&mut replica.connect());
    let offset = |redis: &mut Redis| {
        redis
            .info("replication", "master_repl_offset")
            .expect("an offset")
    };
    on_primary.limit("RL.TOKEN k 1/1000d 5 COST 5");
    on_primary.limit("RL.LEAKY queue 1/1000d 5 COST 5");
    let before = offset(&mut on_primary);
    for line in [
        "RL.TOKEN k 1/1000d 5",
        "RL.TOKEN k 1/1000d 9 COST 9",
        "RL.TOKEN k 1/1000d 5 COST 9 PARTIAL",
        "RL.TOKEN k 1/1000d 5 COST 0",
        "RL.TOKEN new 1 5 COST 6",
        "RL.TOKEN new 1 5 REFUND 2",
        "RL.LEAKY queue 1/1000d 5 COST 2",
        "RL.MULTI other TOKEN 1 5 1 k TOKEN 1/1000d 5 1",
        "RL.THROTTLE k 4 1 86400000",
        "RL.THROTTLE k 4 1 86400000 0",
        "RL.PEEK k",
        "RL.INFO queue",
    ] {
        on_primary.value(line);
        assert_eq!(offset(&mut on_primary), before, "{line}");
    }
    for line in [
        "RL.TOKEN k x 5",
        "RL.LEAKY k 1 5",
        "RL.TOKEN k 1/1000d 5 FORCE 281474976710655",
        "RL.MULTI other TOKEN 1 5 1 k LEAKY 1 5 1",
        "RL.THROTTLE queue 4 1 86400000",
        "RL.INFO k surplus",
    ] {
        assert!(on_primary.try_line::<Value>(line).is_err(), "{line}");
        assert_eq!(offset(&mut on_primary), before, "{line}");
    }
    on_primary.limit("RL.TOKEN k 1/1000d 6");
    assert_ne!(offset(&mut on_primary), before, "an allowed call is sent");
}

#[test]
fn a_replica_only_peeks_and_limits_once_it_is_promoted() {
    let primary = primary();
    let mut on_primary = primary.connect();
    on_primary.limit("RL.TOKEN k 1/1000d 5 COST 3");
    let args = replicaof(&primary);
    let replica = RedisServer::start_with(&[&args[0], &args[1], &args[2]]);
    let mut on_replica = replica.connect();
    wait_for_link(&mut on_replica);
    wait_for_offset(&mut on_primary, &mut on_replica);
    assert_eq!(on_replica.limit("RL.PEEK k COST 0")[..3], [1, 5, 2]);
    let info: HashMap<String, Value> = on_replica.line("RL.INFO k");
    let updated_us = Stored::read(&on_primary.stored("k").0.expect("a key")).updated_us;
    assert_eq!(info["remaining"], Value::Int(2));
    assert_eq!(info["updated_us"], Value::Int(updated_us.cast_signed()));
    for line in [
        "RL.TOKEN k 1/1000d 5",
        "RL.LEAKY new 1/1000d 5",
        "RL.MULTI k TOKEN 1/1000d 5 1",
        "RL.THROTTLE k 4 1 86400000 0",
    ] {
        let error = on_replica.try_line::<Value>(line).expect_err("read-only");
        assert!(error.starts_with("READONLY "), "{line}: {error}");
    }
    on_replica.value("REPLICAOF NO ONE");
    assert_eq!(on_replica.limit("RL.TOKEN k 1/1000d 5")[..3], [1, 5, 1]);
}

/// Runs `action` while callers send calls of every kind, on a few hundred keys, without a pause. All have stopped when
/// it returns.
pub(crate) fn under_load(primary: &RedisServer, action: impl FnOnce()) {
    let stop = Stop::default();
    let calls = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut redis = primary.connect();
                while !stop.is_set() {
                    // All callers share a counter, so that each kind of call is made even if one caller hardly runs.
                    one_call(&mut redis, calls.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        stop.after(|| {
            let wait_for_more = |what| {
                let before = calls.load(Ordering::Relaxed);
                eventually(what, || {
                    (calls.load(Ordering::Relaxed) > before + 4000).then_some(())
                });
            };
            wait_for_more("some load");
            action();
            wait_for_more("more load");
        });
    });
}

fn one_call(redis: &mut Redis, i: u64) {
    let key = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    match i % 8 {
        0 => redis.value(&format!("RL.LEAKY l{key} {}/100d 50 COST 2", 1 + i % 3)),
        1 => redis.value(&format!("RL.TOKEN t{key} 1/100d 50 FORCE 3")),
        2 => redis.value(&format!("RL.TOKEN t{key} 1/100d 50 REFUND {}", i % 90 + 1)),
        3 => redis.value(&format!("RL.TOKEN t{key} 1/100d 9 COST 4 PARTIAL")),
        4 => redis.value(&format!(
            "RL.MULTI a{key} TOKEN 1/90d 40 1 b{key} LEAKY 1/80d 30 2"
        )),
        5 => redis.value(&format!("RL.THROTTLE t{key} 30 7 259200000 2")),
        6 => redis.value(&format!("RL.TOKEN fast{key} 200/s 9")),
        _ => redis.value(&format!("RL.TOKEN t{key} 7/3000d 50")),
    };
}

/// Waits until the fast keys have expired on both, and checks that all other keys have the same bytes and TTLs.
pub(crate) fn assert_equal(one: &mut Redis, other: &mut Redis) {
    eventually("the fast keys to expire", || {
        one.line::<Vec<String>>("KEYS fast*")
            .is_empty()
            .then_some(())
    });
    eventually("the other side to have as many keys", || {
        (one.line::<i64>("DBSIZE") == other.line::<i64>("DBSIZE")).then_some(())
    });
    let keys: Vec<String> = one.line("KEYS *");
    assert!(keys.len() > 300, "{}", keys.len());
    eventually("the last change to arrive", || {
        keys.iter()
            .all(|key| one.stored(key) == other.stored(key))
            .then_some(())
    });
}

#[test]
fn after_a_full_sync_under_load_all_bytes_are_equal() {
    for diskless in ["yes", "no"] {
        let primary = RedisServer::start_on_tcp(&[
            "--repl-diskless-sync",
            diskless,
            "--repl-diskless-sync-delay",
            "0",
        ]);
        let args = replicaof(&primary);
        let mut replica = None;
        under_load(&primary, || {
            let started = RedisServer::start_with(&[&args[0], &args[1], &args[2]]);
            wait_for_link(&mut started.connect());
            replica = Some(started);
        });
        let replica = replica.expect("started");
        assert_equal(&mut primary.connect(), &mut replica.connect());
    }
}

/// Drops the links to the replicas of `from`, and waits until a replica has connected again, according to `from`.
pub(crate) fn drop_links(from: &RedisServer) {
    const KINDS: [&str; 2] = ["sync_partial_ok", "sync_full"];
    let mut redis = from.connect();
    let before = syncs(&mut redis, &KINDS);
    let dropped: i64 = redis.line("CLIENT KILL TYPE replica");
    eventually("the replica to connect again", || {
        (dropped == 0 || syncs(&mut redis, &KINDS) > before).then_some(())
    });
}

fn syncs(redis: &mut Redis, kinds: &[&str]) -> u64 {
    let count = |kind: &&str| redis.info("stats", kind)?.parse::<u64>().ok();
    kinds.iter().filter_map(count).sum()
}

#[test]
fn after_dropped_links_under_load_all_bytes_are_equal() {
    let primary = RedisServer::start_on_tcp(&[
        "--repl-diskless-sync-delay",
        "0",
        "--repl-backlog-size",
        "64mb",
    ]);
    let args = replicaof(&primary);
    let middle = RedisServer::start_on_tcp(&[
        &args[0],
        &args[1],
        &args[2],
        "--repl-backlog-size",
        "64mb",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let args = replicaof(&middle);
    let last = RedisServer::start_with(&[&args[0], &args[1], &args[2]]);
    wait_for_link(&mut last.connect());
    under_load(&primary, || {
        for _ in 0..5 {
            drop_links(&primary);
            drop_links(&middle);
            wait_for_link(&mut middle.connect());
            wait_for_link(&mut last.connect());
        }
    });
    let resumed = syncs(&mut primary.connect(), &["sync_partial_ok"]);
    assert!(resumed > 0, "no link was resumed");
    assert_equal(&mut primary.connect(), &mut middle.connect());
    assert_equal(&mut primary.connect(), &mut last.connect());
}

#[test]
fn a_promoted_replica_replicates_to_the_old_primary() {
    let primary = primary();
    let args = replicaof(&primary);
    let replica = RedisServer::start_on_tcp(&[
        &args[0],
        &args[1],
        &args[2],
        "--repl-diskless-sync-delay",
        "0",
    ]);
    wait_for_link(&mut replica.connect());
    under_load(&primary, || {});
    assert_equal(&mut primary.connect(), &mut replica.connect());
    replica.connect().value("REPLICAOF NO ONE");
    primary
        .connect()
        .value(&format!("REPLICAOF 127.0.0.1 {}", replica.port()));
    wait_for_link(&mut primary.connect());
    under_load(&replica, || {});
    assert_equal(&mut replica.connect(), &mut primary.connect());
}

/// Makes it a replica whose next load is slow enough for the test to send calls meanwhile.
fn follow_and_load_slowly(on_replica: &mut Redis, primary: &RedisServer) {
    on_replica.value(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    wait_for_link(on_replica);
    on_replica.value("CONFIG SET key-load-delay 20000");
    on_replica.value("CONFIG SET loading-process-events-interval-bytes 1024");
}

/// In one transaction, drops the links, makes a call, and writes more than the backlog holds, so that the replica
/// cannot resynchronize partially.
fn force_full_sync(primary: &RedisServer, call: &str) {
    let large = format!("SET large {}", "x".repeat(1_000_000));
    primary
        .connect()
        .try_transaction::<Value>(&["CLIENT KILL TYPE replica", call, &large, "DEL large"])
        .expect("executed");
}

/// REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD: Redis loads asynchronously only if every module has set it.
#[test]
fn a_replica_peeks_at_its_old_data_while_it_loads() {
    let replica = RedisServer::start_with(&["--repl-diskless-load", "swapdb"]);
    let mut on_replica = replica.connect();
    if on_replica.info("persistence", "async_loading").is_none() {
        println!("skipped: this server does not answer while it loads");
        return;
    }
    let primary = RedisServer::start_on_tcp(&[
        "--repl-diskless-sync-delay",
        "0",
        "--repl-backlog-size",
        "16kb",
        "--rdbcompression",
        "no",
    ]);
    let mut on_primary = primary.connect();
    // Loading takes 20 ms a key, 40 s in all, until the test resets the delay. Redis serves clients after each key.
    on_primary.value("DEBUG POPULATE 2000 pad 1024");
    on_primary.limit("RL.TOKEN k 1/1000d 5 COST 3");
    follow_and_load_slowly(&mut on_replica, &primary);
    wait_for_offset(&mut on_primary, &mut on_replica);
    let before = on_primary.stored("k");
    under_load(&primary, || {
        force_full_sync(&primary, "RL.TOKEN k 1/1000d 5");
        eventually("the load to start", || {
            let mut is_on = |field| on_replica.info("persistence", field) == Some("1".to_owned());
            (is_on("loading") || is_on("async_loading")).then_some(())
        });
        assert_eq!(on_replica.stored("k"), before);
        assert_eq!(on_replica.limit("RL.PEEK k COST 0")[..3], [1, 5, 2]);
        let info: HashMap<String, Value> = on_replica.line("RL.INFO k");
        assert_eq!(info["remaining"], Value::Int(2));
        let error = on_replica.try_line::<Value>("RL.TOKEN k 1/1000d 5");
        assert!(error.is_err_and(|error| error.starts_with("READONLY ")));
        assert_eq!(
            on_replica.info("persistence", "async_loading").as_deref(),
            Some("1")
        );
        on_replica.value("CONFIG SET key-load-delay 0");
        wait_for_link(&mut on_replica);
    });
    assert_equal(&mut on_primary, &mut on_replica);
    assert_eq!(on_replica.limit("RL.PEEK k COST 0")[..3], [1, 5, 1]);
}
