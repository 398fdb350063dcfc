use redis::Value;
use rl_tests::{RedisServer, assert_about};

#[test]
fn there_is_nothing_to_see_of_an_untouched_bucket() {
    let server = RedisServer::start();
    assert_eq!(server.connect().value("RL.PEEK k"), Value::Nil);
}

/// All but the times, which pass.
fn timeless(told: &[i64]) -> Vec<i64> {
    let never = told[3].min(0);
    [&told[..3], &[never, told.len().try_into().expect("small")]].concat()
}

#[test]
fn a_peek_answers_as_the_command_that_made_the_bucket() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for command in ["RL.TOKEN", "RL.LEAKY"] {
        for cost in [0, 1, 2, 3, 6] {
            redis.value("FLUSHALL");
            redis.limit(&format!("{command} k 1/1000d 5 COST 3"));
            let peeked = redis.limit(&format!("RL.PEEK k COST {cost}"));
            let told = redis.limit(&format!("{command} k 1/1000d 5 COST {cost}"));
            assert_eq!(timeless(&peeked), timeless(&told), "{command} COST {cost}");
        }
    }
}

#[test]
fn a_peek_tells_the_waits() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.LEAKY k 1/1000000s 5 COST 3");
    let told = redis.limit("RL.PEEK k");
    assert_eq!(told[..4], [1, 5, 1, 0]);
    assert_about(told[5], 3_000_000_000);
    let told = redis.limit("RL.PEEK k COST 4");
    assert_eq!(told[..3], [0, 5, 2]);
    assert_about(told[3], 2_000_000_000);
    assert_eq!(told[4] - told[3], 1_000_000_000);
}

#[test]
fn a_peek_changes_nothing_at_all() {
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
