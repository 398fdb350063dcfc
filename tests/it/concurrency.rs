use std::thread;

use rl_tests::{Redis, RedisServer, Stored};

const CONNECTIONS: usize = 64;

/// Sends calls from 64 connections at once, and returns how many tokens were admitted in total.
fn hammer(server: &RedisServer, line: &str, calls: usize) -> i64 {
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut redis = server.connect();
                    (0..calls).map(|_| redis.limit(line)[0]).sum::<i64>()
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller"))
            .sum()
    })
}

fn stored(redis: &mut Redis) -> Stored {
    Stored::read(&redis.stored("k").0.expect("a key"))
}

#[test]
fn sixty_four_connections_admit_a_burst_and_not_one_more() {
    let server = RedisServer::start();
    assert_eq!(hammer(&server, "RL.TOKEN k 1/1000d 1000", 50), 1000);
}

/// The units used at the end are those used before and admitted, less those refilled, exactly.
#[test]
fn sixty_four_connections_admit_the_rate_to_the_last_fraction() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 300/7s 20000 FORCE 20000");
    let before = stored(&mut redis);
    let admitted =
        u128::try_from(hammer(&server, "RL.TOKEN k 300/7s 20000", 400)).expect("a count");
    let after = stored(&mut redis);
    let refilled = u128::from(after.updated_us - before.updated_us) * u128::from(after.count);
    assert_eq!(
        after.used,
        before.used + admitted * u128::from(after.period_us) - refilled
    );
    assert!(admitted > 0);
}
