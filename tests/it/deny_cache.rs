use std::time::{Duration, Instant};

use rl_tests::{Answer, HttpServer, RedisServer, connect_from, eventually, get};

const KEY: &str = "rl:token:127.0.0.1";

/// Starts with one request allowed; no token is refilled while a test runs.
fn start(denials: &str) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let address = redis.url();
    let policy = ["-rate", "1/1000d", "-burst", "1", "-deny-cache", denials];
    let http = HttpServer::start(&[&["-redis", &address], &policy[..]].concat());
    assert_eq!(http.get("/token").status, 200);
    (redis, http)
}

/// The number of calls of RL.TOKEN in Redis.
fn calls(redis: &RedisServer) -> u64 {
    redis.connect().calls_of("rl.token")
}

fn wait_ms(denied: &Answer) -> i64 {
    let wait = denied
        .field("retry_after_ms")
        .and_then(|ms| ms.parse().ok());
    wait.unwrap_or_else(|| panic!("{denied:?}"))
}

#[test]
fn a_flood_of_denials_reaches_redis_once_a_second() {
    let (redis, http) = start("100");
    let (before, start) = (calls(&redis), Instant::now());
    let mut stream = http.connect();
    let mut last_ms = i64::MAX;
    for _ in 0..2000 {
        let denied = get(&mut stream, "/token");
        assert_eq!(denied.status, 429);
        assert_eq!(denied.field("degraded"), None);
        assert!(wait_ms(&denied) <= last_ms, "the wait counts down");
        last_ms = wait_ms(&denied);
    }
    let max = start.elapsed().as_secs() + 1;
    let reached = calls(&redis) - before;
    assert!(
        (1..=max).contains(&reached),
        "{reached} calls in {:?}",
        start.elapsed()
    );
}

#[test]
fn without_the_cache_every_call_reaches_redis() {
    let (redis, http) = start("0");
    let before = calls(&redis);
    let mut stream = http.connect();
    (0..50).for_each(|_| assert_eq!(get(&mut stream, "/token").status, 429));
    assert_eq!(calls(&redis) - before, 50);
}

#[test]
fn a_change_in_redis_itself_is_seen_after_a_second() {
    for change in [
        format!("DEL {KEY}"),
        format!("RL.TOKEN {KEY} 1/1000d 1 REFUND 1"),
    ] {
        let (redis, http) = start("100");
        assert_eq!(http.get("/token").status, 429);
        redis.connect().value(&change);
        let changed = Instant::now();
        eventually("the change to be seen", || {
            (http.get("/token").status == 200).then_some(())
        });
        let seen = changed.elapsed();
        assert!(seen < Duration::from_secs(10), "{change}: {seen:?}");
    }
}

/// A caller's leaky bucket is separate from its token bucket.
#[test]
fn a_denial_applies_to_one_caller_and_one_algorithm() {
    let (_redis, http) = start("100");
    assert_eq!(http.get("/token").status, 429);
    assert_eq!(http.get("/leaky").status, 200);
    let mut other = connect_from("127.0.0.2", http.port());
    assert_eq!(get(&mut other, "/token").status, 200);
    assert_eq!(http.get("/token").status, 429);
}

/// The wait is shorter than a second, so a denial in the cache must not outlast it.
#[test]
fn a_caller_that_waits_retry_after_passes() {
    let redis = RedisServer::start();
    let policy = ["-rate", "5", "-burst", "1", "-deny-cache", "100"];
    let http = HttpServer::start(&[&["-redis", &redis.url()], &policy[..]].concat());
    for _ in 0..10 {
        let denied = eventually("a denial", || {
            Some(http.get("/token")).filter(|answer| answer.status == 429)
        });
        let wait_ms = u64::try_from(wait_ms(&denied)).expect("a wait");
        std::thread::sleep(Duration::from_millis(wait_ms));
        assert_eq!(http.get("/token").status, 200, "after {wait_ms} ms");
    }
}

/// With -trust-caller a key may be used at several costs and under several policies.
#[test]
fn a_denial_applies_to_one_cost_and_one_policy() {
    let redis = RedisServer::start();
    let policy = [
        "-rate",
        "1/1000d",
        "-burst",
        "3",
        "-deny-cache",
        "100",
        "-trust-caller",
    ];
    let http = HttpServer::start(&[&["-redis", &redis.url()], &policy[..]].concat());
    for (key, other) in ["cost=1", "cost=0", "cost=2&burst=9"]
        .into_iter()
        .enumerate()
    {
        let status = |query| http.get(&format!("/token?key={key}&{query}")).status;
        let statuses = ["cost=2", "cost=2", "cost=2", other].map(status);
        assert_eq!(statuses, [200, 429, 429, 200], "{other}");
    }
}
