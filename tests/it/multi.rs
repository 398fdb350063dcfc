use redis::{FromRedisValue, Value};
use rl_tests::{Redis, RedisServer};

use crate::errors::RATE;

/// The reply to RL.MULTI: allowed, the position of the first denial, and the reply of each bucket.
fn multi(redis: &mut Redis, line: &str) -> (i64, i64, Vec<Vec<i64>>) {
    let Value::Array(items) = redis.value(line) else {
        panic!("an array")
    };
    let integer = |i: usize| i64::from_redis_value(items[i].clone()).expect("an integer");
    let each = |value: &Value| Vec::<i64>::from_redis_value(value.clone()).expect("integers");
    (
        integer(0),
        integer(1),
        items[2..].iter().map(each).collect(),
    )
}

#[test]
fn one_call_charges_every_bucket() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let line = "RL.MULTI {u1}:s TOKEN 10/s 20 1 {u1}:h TOKEN 1/h 1000 1 {u1}:tokens LEAKY 40000/m 8000 350";
    let (allowed, denied_at, each) = multi(&mut redis, line);
    assert_eq!((allowed, denied_at), (1, 0));
    assert_eq!(each[0], [1, 20, 19, 0, 100]);
    assert_eq!(each[1], [1, 1000, 999, 0, 3_600_000]);
    assert_eq!(each[2], [1, 8000, 7650, 0, 525, 0]);
    assert_eq!(redis.limit("RL.PEEK {u1}:h COST 0")[..3], [1, 1000, 999]);
}

#[test]
fn a_denial_by_one_bucket_changes_no_byte_of_the_others() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN a 1/1000d 5 COST 2");
    redis.limit("RL.LEAKY b 1/1000d 5 COST 5");
    let before = (redis.stored("a"), redis.stored("b"));
    let changes = redis.info("persistence", "rdb_changes_since_last_save");
    let (allowed, denied_at, each) = multi(
        &mut redis,
        "RL.MULTI a TOKEN 1/1000d 5 3 new TOKEN 1/1000d 5 1 b LEAKY 1/1000d 5 1 b LEAKY 1/1000d 5 9",
    );
    assert_eq!((allowed, denied_at), (0, 3));
    assert_eq!(each[0][..4], [1, 5, 3, 0], "as with cost 0");
    assert_eq!(each[1], [1, 5, 5, 0, 0]);
    assert_eq!((each[2][0], each[2][2], each[2].len()), (0, 0, 6));
    assert!(each[2][3] > 0);
    assert_eq!(each[3][3], -1, "1 and 9 are more than 5");
    assert_eq!((redis.stored("a"), redis.stored("b")), before);
    // The new rate of a bucket that did not deny is not stored either.
    let (allowed, denied_at, _) = multi(
        &mut redis,
        "RL.MULTI a TOKEN 1/2000d 5 3 b LEAKY 1/1000d 5 1",
    );
    assert_eq!((allowed, denied_at), (0, 2));
    assert_eq!((redis.stored("a"), redis.stored("b")), before);
    assert_eq!(redis.line::<i64>("DBSIZE"), 2);
    assert_eq!(
        redis.info("persistence", "rdb_changes_since_last_save"),
        changes
    );
}

#[test]
fn two_costs_on_one_key_add_up() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let line = "RL.MULTI k TOKEN 1/1000d 5 3 other TOKEN 1/1000d 9 1 k TOKEN 1/1000d 5 2";
    let (allowed, _, each) = multi(&mut redis, line);
    assert_eq!((allowed, each[0][2], each[2][2]), (1, 2, 0));
    let (allowed, denied_at, each) = multi(&mut redis, line);
    assert_eq!((allowed, denied_at), (0, 1));
    assert_eq!(each[1][..3], [1, 9, 8]);
}

#[test]
fn one_key_under_two_policies_is_an_error() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for other in ["TOKEN 1/s 6 1", "TOKEN 2/s 5 1", "LEAKY 1/s 5 1"] {
        let line = format!("RL.MULTI k TOKEN 1/s 5 1 a TOKEN 1/s 5 1 k {other}");
        let error = redis.try_line::<Value>(&line).expect_err("two policies");
        assert_eq!(error, "ERR one key under two policies");
    }
    assert_eq!(redis.line::<i64>("DBSIZE"), 0);
}

#[test]
fn a_call_takes_at_most_a_thousand_buckets() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let line = |n: usize| {
        let charges: String = (0..n).map(|i| format!(" k{i} TOKEN 1/1000d 5 1")).collect();
        format!("RL.MULTI{charges}")
    };
    let (allowed, _, each) = multi(&mut redis, &line(1000));
    assert_eq!((allowed, each.len()), (1, 1000));
    assert!(each.iter().all(|reply| reply[..3] == [1, 5, 4]));
    assert_eq!(redis.line::<i64>("DBSIZE"), 1000);
    assert_eq!(
        redis.try_line::<Value>(&line(1001)),
        Err("ERR too many buckets".to_owned())
    );
}

#[test]
fn an_error_in_one_charge_changes_no_bucket() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.value("RPUSH list a");
    redis.limit("RL.LEAKY queue 1/1000d 5");
    for (charge, error) in [
        (
            "list TOKEN 1/s 5 1",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "queue TOKEN 1/s 5 1",
            "WRONGTYPE Key holds a leaky bucket, not a token bucket",
        ),
        ("b BUCKET 1/s 5 1", "ERR syntax error"),
        ("b TOKEN x 5 1", RATE),
        (
            "b TOKEN 1/s 0 1",
            "ERR invalid capacity in 'rl.multi' command",
        ),
        (
            "b TOKEN 1/s 5 -1",
            "ERR value is not an integer or out of range",
        ),
        (
            "b TOKEN 1/s 5",
            "ERR wrong number of arguments for 'rl.multi' command",
        ),
    ] {
        // Redis 6.2 repeats the name of the command as the client wrote it.
        let line = format!("rl.multi a TOKEN 1/s 5 1 {charge}");
        assert_eq!(
            redis.try_line::<Value>(&line),
            Err(error.to_owned()),
            "{charge}"
        );
    }
    assert_eq!(redis.line::<i64>("DBSIZE"), 2);
}

#[test]
fn the_changes_of_one_call_are_replicated_as_one_transaction() {
    let server = RedisServer::start_with(&[
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--aof-use-rdb-preamble",
        "no",
    ]);
    let mut redis = server.connect();
    multi(
        &mut redis,
        "RL.MULTI a TOKEN 1/1000d 5 1 b TOKEN 1/1000d 5 1 a TOKEN 1/1000d 5 1",
    );
    let mut written = String::new();
    let mut dirs = vec![server.dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            if entry.path().is_dir() {
                dirs.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains("aof") {
                written += &String::from_utf8_lossy(&std::fs::read(entry.path()).expect("a file"));
            }
        }
    }
    let words: Vec<&str> = written
        .split("\r\n")
        .filter(|word| ["MULTI", "SET", "EXEC"].contains(word))
        .collect();
    assert_eq!(words, ["MULTI", "SET", "SET", "EXEC"]);
}

#[test]
fn in_a_cluster_the_keys_must_share_a_slot() {
    let server = RedisServer::start_cluster_node(&[]);
    let mut redis = server.connect();
    redis.add_slots();
    rl_tests::eventually("the cluster to be up", || {
        redis
            .line::<String>("CLUSTER INFO")
            .contains("cluster_state:ok")
            .then_some(())
    });
    assert_eq!(
        multi(&mut redis, "RL.MULTI {u}a TOKEN 1/s 5 1 {u}b TOKEN 1/s 5 1").0,
        1
    );
    let error = redis
        .try_line::<Value>("RL.MULTI a TOKEN 1/s 5 1 b TOKEN 1/s 5 1")
        .expect_err("two slots");
    assert!(error.starts_with("CROSSSLOT "), "{error}");
}
