use rl_tests::{RedisServer, Stored, assert_about, eventually};

/// So slow that no token is refilled during a test.
const SLOW: &str = "1/1000d";

/// The time in which one token is refilled at that rate.
const TOKEN_MS: i64 = 86_400_000_000;

#[test]
fn a_new_bucket_gives_a_burst_and_then_denies() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("RL.TOKEN user:42 10 20"), [1, 20, 19, 0, 100]);
    let line = format!("RL.TOKEN user:43 {SLOW} 20");
    for remaining in (0..20).rev() {
        assert_eq!(redis.limit(&line)[..4], [1, 20, remaining, 0]);
    }
    let reply = redis.limit(&line);
    assert_eq!(reply[..3], [0, 20, 0]);
    assert_about(reply[3], TOKEN_MS);
    assert_eq!(reply[4] - reply[3], 19 * TOKEN_MS);
}

#[test]
fn the_reply_has_limit_remaining_retry_after_and_reset_after() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("RL.TOKEN k 1/1000d 5"), [1, 5, 4, 0, TOKEN_MS]);
    let reply = redis.limit("RL.TOKEN k 1/1000d 5 COST 4");
    assert_eq!(reply[..4], [1, 5, 0, 0]);
    assert_about(reply[4], 5 * TOKEN_MS);
    let reply = redis.limit("RL.TOKEN k 1/1000d 5 COST 2");
    assert_eq!(reply[..3], [0, 5, 0]);
    assert_about(reply[3], 2 * TOKEN_MS);
    assert_eq!(reply[4] - reply[3], 3 * TOKEN_MS);
}

#[test]
fn a_cost_above_the_burst_never_passes_and_creates_no_key() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("RL.TOKEN k 10 20 COST 21"), [0, 20, 20, -1, 0]);
    assert_eq!(redis.line::<i64>("EXISTS k"), 0);
}

#[test]
fn cost_0_takes_nothing_but_is_denied_in_debt() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("RL.TOKEN k 10 20 COST 0"), [1, 20, 20, 0, 0]);
    assert_eq!(redis.line::<i64>("EXISTS k"), 0);
    redis.limit(&format!("RL.TOKEN k {SLOW} 5 FORCE 6"));
    let reply = redis.limit(&format!("RL.TOKEN k {SLOW} 5 COST 0"));
    assert_eq!(reply[..3], [0, 5, 0]);
    assert!(reply[3] > 0);
}

#[test]
fn partial_grants_the_whole_tokens_that_remain() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(
        redis.limit(&format!("RL.TOKEN k {SLOW} 5 COST 3 PARTIAL"))[..4],
        [3, 5, 2, 0]
    );
    assert_eq!(
        redis.limit(&format!("RL.TOKEN k {SLOW} 5 cost 9 partial"))[..4],
        [2, 5, 0, 0]
    );
    let reply = redis.limit("RL.TOKEN k 1/1000d 5 COST 9 PARTIAL");
    assert_eq!(reply[..3], [0, 5, 0]);
    assert_about(reply[3], TOKEN_MS);
}

#[test]
fn force_goes_into_debt_and_refund_gives_back() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(
        redis.limit(&format!("RL.TOKEN k {SLOW} 5 FORCE 8"))[..4],
        [1, 5, 0, 0]
    );
    assert_eq!(redis.limit(&format!("RL.TOKEN k {SLOW} 5"))[0], 0);
    assert_eq!(
        redis.limit(&format!("RL.TOKEN k {SLOW} 5 REFUND 5"))[..4],
        [1, 5, 2, 0]
    );
    assert_eq!(
        redis.limit(&format!("RL.TOKEN k {SLOW} 5 REFUND 99")),
        [1, 5, 5, 0, 0]
    );
    assert_eq!(redis.line::<i64>("EXISTS k"), 0, "a full bucket has no key");
    assert_eq!(
        redis.limit(&format!("RL.TOKEN k {SLOW} 5 REFUND 1")),
        [1, 5, 5, 0, 0]
    );
    assert_eq!(redis.line::<i64>("EXISTS k"), 0, "a refund creates no key");
}

#[test]
fn the_stored_state_is_the_documented_one() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let before_us = now_us(&mut redis);
    redis.limit("RL.TOKEN k 5/30000s 7 COST 2");
    let after_us = now_us(&mut redis);
    let stored = Stored::read(&redis.stored("k").0.expect("a key"));
    assert_eq!(
        (
            stored.algorithm,
            stored.count,
            stored.period_us,
            stored.capacity
        ),
        ('T', 1, 6_000_000_000, 7)
    );
    assert_eq!(stored.used, 12_000_000_000);
    // A second on either side, in case the clock is set during the test.
    assert!(
        (before_us - 1_000_000..=after_us + 1_000_000).contains(&stored.updated_us),
        "{before_us} {stored:?} {after_us}"
    );
}

fn now_us(redis: &mut rl_tests::Redis) -> u64 {
    let (seconds, micros): (u64, u64) = redis.line("TIME");
    seconds * 1_000_000 + micros
}

#[test]
fn rates_far_apart_limit_exactly() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    // So many tokens that the duration of the test is negligible beside their refill.
    for (line, limit, wait_ms) in [
        ("RL.TOKEN user:1 5/30s 10000 COST 10000", 10_000, 60_000_000),
        ("RL.TOKEN user:2 0.1 10000 COST 10000", 10_000, 100_000_000),
        (
            "RL.TOKEN user:3 1000000000 100000000000000 COST 100000000000000",
            100_000_000_000_000,
            100_000_000,
        ),
    ] {
        assert_eq!(redis.limit(line), [1, limit, 0, 0, wait_ms], "{line}");
        let reply = redis.limit(line);
        assert_eq!(reply[..2], [0, limit], "{line}");
        assert_about(reply[3], wait_ms);
        assert_eq!(reply[3], reply[4], "{line}");
    }
    let stored = Stored::read(&redis.stored("user:3").0.expect("a key"));
    assert_eq!(
        (stored.count, stored.period_us, stored.used),
        (1000, 1, 100_000_000_000_000)
    );
}

#[test]
fn a_changed_rate_applies_from_the_next_call_on() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 10 COST 10");
    let reply = redis.limit("RL.TOKEN k 1/2000d 10");
    assert_eq!(reply[..3], [0, 10, 0]);
    assert_about(reply[3], 2 * TOKEN_MS);
    let stored = Stored::read(&redis.stored("k").0.expect("a key"));
    assert_eq!(
        (stored.count, stored.period_us),
        (1, 2000 * 86_400_000_000),
        "the denial stored the new rate"
    );
}

#[test]
fn a_unit_of_time_may_be_spelled_out() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for (rate, seconds) in [
        ("1/1000sec", 1000),
        ("1/30min", 1800),
        ("1/7hour", 25_200),
        ("1/day", 86_400),
    ] {
        redis.limit(&format!("RL.TOKEN {rate} {rate} 5"));
        let stored = Stored::read(&redis.stored(rate).0.expect("a key"));
        assert_eq!(
            (stored.count, stored.period_us),
            (1, seconds * 1_000_000),
            "{rate}"
        );
    }
}

#[test]
fn after_waiting_retry_after_a_call_is_allowed() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let mut debt = 1;
    let reply = eventually("a denial", || {
        // More each time, since a pause between the two calls may refill it.
        debt *= 2;
        redis.limit(&format!("RL.TOKEN k 20 1 FORCE {debt}"));
        Some(redis.limit("RL.TOKEN k 20 1")).filter(|reply| reply[0] == 0)
    });
    let wait_us = u64::try_from(reply[3]).expect("a wait") * 1000;
    let passed_us = now_us(&mut redis) + wait_us;
    eventually("the wait to pass by the server's clock", || {
        (now_us(&mut redis) >= passed_us).then_some(())
    });
    assert_eq!(redis.limit("RL.TOKEN k 20 1")[0], 1);
}
