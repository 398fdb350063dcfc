//! rl-server's wall clock is set while it serves. Its deadlines and waits use the monotonic clock.

use std::thread;

use rl_tests::{FakedClock, HttpServer, Port, RedisServer, eventually, get};

const YEAR_US: i64 = 366 * 24 * 3600 * 1_000_000;

/// Years ahead of the machine's clock, or behind it.
const STEPS: [i64; 4] = [2, -3, 5, -7];

/// Allows one call. No token is refilled during a test.
const POLICY: [&str; 6] = ["-rate", "1/1000d", "-burst", "1", "-log-level", "debug"];

/// Sets the clock, and sends requests until the log shows the new year.
fn set(clock: &mut FakedClock, years: i64, http: &HttpServer, request: impl Fn()) {
    clock.set(years * YEAR_US);
    let year = clock.year();
    eventually("the server to show the clock as it was set", || {
        request();
        let line = http.wait_for_log("outcome");
        line.contains(&format!("{year}-")).then_some(())
    });
}

fn wait_ms(http: &HttpServer, path: &str) -> i64 {
    let denied = http.get(path);
    assert_eq!(denied.status, 429, "{denied:?}");
    let wait = denied.field("retry_after_ms");
    wait.and_then(|ms| ms.parse().ok()).expect("a wait")
}

#[test]
fn local_buckets_ignore_changes_of_the_wall_clock() {
    let mut clock = FakedClock::of_rl_server(0);
    let closed_port = format!("127.0.0.1:{}", Port::free().number());
    let flags = [
        &["-redis", &closed_port, "-on-outage", "local"],
        &POLICY[..],
    ]
    .concat();
    let http = HttpServer::start_by(&clock, &flags);
    assert_eq!(http.get("/token").status, 200);
    http.wait_for_log("outcome");
    let mut last_ms = wait_ms(&http, "/token");
    http.wait_for_log("outcome");
    for years in STEPS {
        set(&mut clock, years, &http, || _ = wait_ms(&http, "/token"));
        let now_ms = wait_ms(&http, "/token");
        http.wait_for_log("outcome");
        assert!((1..=last_ms).contains(&now_ms), "{now_ms} after {last_ms}");
        rl_tests::assert_about(now_ms, last_ms);
        last_ms = now_ms;
    }
}

/// A denial expires from the cache after a second, whatever the wall clock shows.
#[test]
fn the_deny_cache_ignores_changes_of_the_wall_clock() {
    let mut clock = FakedClock::of_rl_server(0);
    let redis = RedisServer::start();
    let (address, mut redis) = (redis.url(), redis.connect());
    let flags = [&["-redis", &address, "-deny-cache", "9"], &POLICY[..]].concat();
    let http = HttpServer::start_by(&clock, &flags);
    eventually("the connection to Redis", || {
        (http.get("/token").status == 200).then_some(())
    });
    http.wait_for_log("Allowed");
    for years in STEPS {
        let before = redis.calls_of("rl.token");
        set(&mut clock, years, &http, || _ = wait_ms(&http, "/token"));
        eventually("another call of Redis", || {
            wait_ms(&http, "/token");
            http.wait_for_log("outcome");
            (redis.calls_of("rl.token") > before).then_some(())
        });
    }
}

#[test]
fn requests_in_flight_ignore_changes_of_the_wall_clock() {
    let mut clock = FakedClock::of_rl_server(0);
    let redis = RedisServer::start();
    let (address, mut redis) = (redis.url(), redis.connect());
    let http = HttpServer::start_by(&clock, &["-redis", &address, "-log-level", "debug"]);
    http.wait_for_log("connected to Redis");
    let mut idle = http.connect();
    assert_eq!(get(&mut idle, "/livez").status, 200);
    redis.value("CLIENT PAUSE 600000 WRITE");
    thread::scope(|scope| {
        let in_flight = scope.spawn(|| http.get("/token"));
        eventually("its call to wait in Redis", || {
            let clients: String = redis.line("CLIENT LIST");
            let mut clients = clients.lines();
            let is_waiting =
                |client: &str| client.contains("flags=b") && client.contains("cmd=rl.token");
            clients.any(is_waiting).then_some(())
        });
        for years in STEPS {
            clock.set(years * YEAR_US);
            // Idle connections stay open too.
            assert_eq!(get(&mut idle, "/livez").status, 200);
        }
        assert!(!in_flight.is_finished());
        redis.value("CLIENT UNPAUSE");
        let answer = in_flight.join().expect("an answer");
        assert_eq!((answer.status, answer.field("degraded")), (200, None));
        let line = http.wait_for_log("Allowed");
        assert!(line.contains(&format!("{}-", clock.year())), "{line}");
    });
}
