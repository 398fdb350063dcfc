use rl_tests::{RedisServer, assert_about};

/// The time that one token takes to leak at the rate of these tests. The time that the tests take is negligible.
const TOKEN_MS: i64 = 86_400_000_000;

#[test]
fn concurrent_callers_get_consecutive_delays() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for place in 0..5 {
        let reply = redis.limit("RL.LEAKY job:7 1/1000d 5");
        assert_eq!(reply[..4], [1, 5, 4 - place, 0]);
        assert_about(reply[5], place * TOKEN_MS);
        assert_eq!(
            reply[4] - reply[5],
            TOKEN_MS,
            "it leaks out after its delay"
        );
    }
    let reply = redis.limit("RL.LEAKY job:7 1/1000d 5");
    assert_eq!(reply[..3], [0, 5, 0]);
    assert_eq!(reply[5], 0, "a denied request has no delay");
    assert_about(reply[3], TOKEN_MS);
}

#[test]
fn the_delay_is_the_time_to_empty_the_bucket_before_the_call() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(
        redis.limit("RL.LEAKY k 1/1000d 5 COST 2"),
        [1, 5, 3, 0, 2 * TOKEN_MS, 0]
    );
    let reply = redis.limit("RL.LEAKY k 1/1000d 5 COST 5 PARTIAL");
    assert_eq!(reply[..4], [3, 5, 0, 0]);
    assert_about(reply[5], 2 * TOKEN_MS);
    let reply = redis.limit("RL.LEAKY k 1/1000d 5 FORCE 1");
    assert_about(reply[5], 5 * TOKEN_MS);
    let reply = redis.limit("RL.LEAKY k 1/1000d 5 REFUND 2");
    assert_eq!((reply[0], reply[2], reply[5]), (1, 1, 0));
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
