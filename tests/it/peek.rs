use redis::Value;
use rl_tests::{RedisServer, assert_about};

#[test]
fn peeking_at_a_missing_key_replies_nil() {
    let server = RedisServer::start();
    assert_eq!(server.connect().value("RL.PEEK k"), Value::Nil);
}

/// The reply without its times, except whether retry_after is never, and with its length.
fn without_times(reply: &[i64]) -> Vec<i64> {
    let never = reply[3].min(0);
    [
        &reply[..3],
        &[never, reply.len().try_into().expect("small")],
    ]
    .concat()
}

#[test]
fn a_peek_replies_as_the_command_that_created_the_bucket() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for command in ["RL.TOKEN", "RL.LEAKY"] {
        for cost in [0, 1, 2, 3, 6] {
            redis.value("FLUSHALL");
            redis.limit(&format!("{command} k 1/1000d 5 COST 3"));
            let peeked = redis.limit(&format!("RL.PEEK k COST {cost}"));
            let reply = redis.limit(&format!("{command} k 1/1000d 5 COST {cost}"));
            assert_eq!(
                without_times(&peeked),
                without_times(&reply),
                "{command} COST {cost}"
            );
        }
    }
}

#[test]
fn a_peek_reports_the_waits() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.LEAKY k 1/1000000s 5 COST 3");
    let reply = redis.limit("RL.PEEK k");
    assert_eq!(reply[..4], [1, 5, 1, 0]);
    assert_about(reply[5], 3_000_000_000);
    let reply = redis.limit("RL.PEEK k COST 4");
    assert_eq!(reply[..3], [0, 5, 2]);
    assert_about(reply[3], 2_000_000_000);
    assert_eq!(reply[4] - reply[3], 1_000_000_000);
}

#[test]
fn a_peek_changes_nothing() {
    let server = RedisServer::start_with(&["--repl-backlog-size", "1mb"]);
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 5");
    let before = redis.stored("k");
    let changes = redis.info("persistence", "rdb_changes_since_last_save");
    for line in [
        "RL.PEEK k",
        "RL.PEEK k COST 0",
        "RL.PEEK k COST 99",
        "RL.PEEK nothing",
    ] {
        redis.value(line);
    }
    assert_eq!(redis.stored("k"), before);
    assert_eq!(
        redis.info("persistence", "rdb_changes_since_last_save"),
        changes
    );
}
