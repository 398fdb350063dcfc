use rl_tests::{RedisServer, assert_about};

/// What one token takes to leak out at the rate of these tests, beside which they take no time.
const TOKEN_MS: i64 = 86_400_000_000;

#[test]
fn callers_at_once_are_told_to_leave_one_by_one() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for turn in 0..5 {
        let told = redis.limit("RL.LEAKY job:7 1/1000d 5");
        assert_eq!(told[..4], [1, 5, 4 - turn, 0]);
        assert_about(told[5], turn * TOKEN_MS);
        assert_eq!(told[4] - told[5], TOKEN_MS, "it leaks out in its turn");
    }
    let told = redis.limit("RL.LEAKY job:7 1/1000d 5");
    assert_eq!(told[..3], [0, 5, 0]);
    assert_eq!(told[5], 0, "a denied request has no turn");
    assert_about(told[3], TOKEN_MS);
}

#[test]
fn the_delay_is_the_time_of_what_was_in_the_bucket_before() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(
        redis.limit("RL.LEAKY k 1/1000d 5 COST 2"),
        [1, 5, 3, 0, 2 * TOKEN_MS, 0]
    );
    let told = redis.limit("RL.LEAKY k 1/1000d 5 COST 5 PARTIAL");
    assert_eq!(told[..4], [3, 5, 0, 0]);
    assert_about(told[5], 2 * TOKEN_MS);
    let told = redis.limit("RL.LEAKY k 1/1000d 5 FORCE 1");
    assert_about(told[5], 5 * TOKEN_MS);
    let told = redis.limit("RL.LEAKY k 1/1000d 5 REFUND 2");
    assert_eq!((told[0], told[2], told[5]), (1, 1, 0));
}

#[test]
fn both_algorithms_allow_the_same_requests() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for cost in [3, 0, 4, 2, 9, 1, 11] {
        let token = redis.limit(&format!("RL.TOKEN t 1/1000d 10 COST {cost}"));
        let leaky = redis.limit(&format!("RL.LEAKY l 1/1000d 10 COST {cost}"));
        assert_eq!(token[..3], leaky[..3], "cost {cost}");
    }
}
