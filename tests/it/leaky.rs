use rl_tests::RedisServer;

#[test]
fn callers_at_once_are_told_to_leave_one_by_one() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for turn in 0..5 {
        let told = redis.limit("RL.LEAKY job:7 1/100s 5");
        assert_eq!(told[..4], [1, 5, 4 - turn, 0]);
        let (exact, slack) = (turn * 100_000, 10_000);
        assert!(
            told[5] <= exact && told[5] + slack >= exact,
            "turn {turn}: {told:?}"
        );
    }
    let told = redis.limit("RL.LEAKY job:7 1/100s 5");
    assert_eq!(told[..3], [0, 5, 0]);
    assert_eq!(told[5], 0, "a denied request has no turn");
    assert!((90_000..=100_000).contains(&told[3]), "{told:?}");
}

#[test]
fn the_delay_is_the_time_of_what_was_in_the_bucket_before() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(
        redis.limit("RL.LEAKY k 1/1000s 5 COST 2"),
        [1, 5, 3, 0, 2_000_000, 0]
    );
    let told = redis.limit("RL.LEAKY k 1/1000s 5 COST 5 PARTIAL");
    assert_eq!(told[..4], [3, 5, 0, 0]);
    assert!((1_990_000..=2_000_000).contains(&told[5]), "{told:?}");
    let told = redis.limit("RL.LEAKY k 1/1000s 5 FORCE 1");
    assert!((4_990_000..=5_000_000).contains(&told[5]), "{told:?}");
    let told = redis.limit("RL.LEAKY k 1/1000s 5 REFUND 2");
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
