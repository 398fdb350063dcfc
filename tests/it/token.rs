use std::ops::RangeInclusive;

use rl_tests::{RedisServer, Stored, eventually};

/// So slow that nothing comes back while a test runs.
const SLOW: &str = "1/1000d";

fn assert_within(value: i64, range: RangeInclusive<i64>) {
    assert!(range.contains(&value), "{value} is not in {range:?}");
}

#[test]
fn a_new_bucket_gives_a_burst_and_then_denies() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("RL.TOKEN user:42 10 20"), [1, 20, 19, 0, 100]);
    let told = eventually("a denial", || {
        Some(redis.limit("RL.TOKEN user:42 10 20")).filter(|told| told[0] == 0)
    });
    assert_eq!(told[..3], [0, 20, 0]);
    assert_within(told[3], 1..=100);
    assert_within(told[4], 1901..=2000);
}

#[test]
fn each_field_of_the_reply_is_told() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("RL.TOKEN k 1/1000s 5"), [1, 5, 4, 0, 1_000_000]);
    let told = redis.limit("RL.TOKEN k 1/1000s 5 COST 4");
    assert_eq!(told[..4], [1, 5, 0, 0]);
    assert_within(told[4], 4_990_000..=5_000_000);
    let told = redis.limit("RL.TOKEN k 1/1000s 5 COST 2");
    assert_eq!(told[..3], [0, 5, 0]);
    assert_within(told[3], 1_990_000..=2_000_000);
    assert_within(told[4], 4_990_000..=5_000_000);
}

#[test]
fn a_cost_above_the_burst_can_never_pass_and_makes_no_key() {
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
    let told = redis.limit(&format!("RL.TOKEN k {SLOW} 5 COST 0"));
    assert_eq!(told[..3], [0, 5, 0]);
    assert!(told[3] > 0);
}

#[test]
fn partial_grants_what_whole_tokens_there_are() {
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
    let told = redis.limit("RL.TOKEN k 1/1000d 5 COST 9 PARTIAL");
    assert_eq!(told[..3], [0, 5, 0]);
    assert_within(told[3], 86_399_000_000..=86_400_000_000);
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
    assert_eq!(
        redis.line::<i64>("EXISTS k"),
        0,
        "a bucket that is as new has no key"
    );
    assert_eq!(
        redis.limit(&format!("RL.TOKEN k {SLOW} 5 REFUND 1")),
        [1, 5, 5, 0, 0]
    );
    assert_eq!(redis.line::<i64>("EXISTS k"), 0, "a refund makes no key");
}

#[test]
fn the_state_is_the_documented_one() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let before_us = now_us(&mut redis);
    redis.limit("RL.TOKEN k 5/30s 7 COST 2");
    let after_us = now_us(&mut redis);
    let stored = Stored::read(&redis.stored("k").0.expect("a key"));
    assert_eq!(
        (
            stored.algorithm,
            stored.count,
            stored.period_us,
            stored.capacity
        ),
        ('T', 1, 6_000_000, 7)
    );
    assert_eq!(stored.used, 12_000_000);
    assert!(
        (before_us..=after_us).contains(&stored.updated_us),
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
    for _ in 0..5 {
        assert_eq!(redis.limit("RL.TOKEN user:1 5/30s 5")[0], 1);
    }
    let told = redis.limit("RL.TOKEN user:1 5/30s 5");
    assert_eq!(told[..3], [0, 5, 0]);
    assert_within(told[3], 5_000..=6_000);

    assert_eq!(redis.limit("RL.TOKEN user:2 0.1 1"), [1, 1, 0, 0, 10_000]);
    let told = redis.limit("RL.TOKEN user:2 0.1 1");
    assert_eq!(told[..3], [0, 1, 0]);
    assert_within(told[3], 9_000..=10_000);

    let told = redis.limit("RL.TOKEN user:3 1000000000 1000000000 COST 1000000000");
    assert_eq!(told, [1, 1_000_000_000, 0, 0, 1000]);
    let stored = Stored::read(&redis.stored("user:3").0.expect("a key"));
    assert_eq!(
        (stored.count, stored.period_us, stored.used),
        (1000, 1, 1_000_000_000)
    );
}

#[test]
fn a_changed_rate_counts_from_now_on() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000s 10 COST 10");
    let told = redis.limit("RL.TOKEN k 1/2000s 10");
    assert_eq!(told[..3], [0, 10, 0]);
    assert_within(told[3], 1_990_000..=2_000_000);
    let stored = Stored::read(&redis.stored("k").0.expect("a key"));
    assert_eq!(
        (stored.count, stored.period_us),
        (1, 2_000_000_000),
        "the denial recorded the new rate"
    );
}

#[test]
fn waiting_retry_after_passes() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 20 1");
    let told = redis.limit("RL.TOKEN k 20 1");
    assert_eq!(told[0], 0);
    // The wait itself is what is tested here, so this is the one place that sleeps.
    std::thread::sleep(std::time::Duration::from_millis(
        u64::try_from(told[3]).expect("a wait"),
    ));
    assert_eq!(redis.limit("RL.TOKEN k 20 1")[0], 1);
}
