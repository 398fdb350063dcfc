use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rl_tests::{
    Cluster, HttpServer, PoliciesFile, Redis, RedisServer, Stop, Stored, connect_from, eventually,
    get, get_with,
};

const CONNECTIONS: usize = 64;

/// Bursts of one second's and ten seconds' requests. The first limit denies until second 8, then the second one does.
const TWO_LIMITS: &str = r#"
[api]
limits = [
  { name = "second", rate = "100/s", burst = 100 },
  { name = "ten", rate = "500/10s", burst = 500 },
]
"#;

const TAG: &str = "rl:{token:api:127.0.0.1}";

fn stored(redis: &mut Redis, limit: &str) -> Stored {
    let (bytes, _) = redis.stored(&format!("{TAG}:{limit}"));
    Stored::read(&bytes.expect("a bucket"))
}

/// Requests of 64 connections without a pause while `body` runs, then one more until a denial, so that no token is left.
/// Returns how many were allowed.
fn hammer(http: &HttpServer, body: impl FnOnce()) -> u64 {
    let (stop, allowed) = (Stop::default(), AtomicU64::new(0));
    let request = |stream: &mut _| {
        let answer = get(stream, "/token/api");
        assert!([200, 429].contains(&answer.status), "{answer:?}");
        let is_allowed = answer.status == 200;
        allowed.fetch_add(is_allowed.into(), Ordering::Relaxed);
        is_allowed
    };
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = http.connect();
                while !stop.is_set() {
                    request(&mut stream);
                }
            });
        }
        stop.after(body);
    });
    let mut stream = http.connect();
    while request(&mut stream) {}
    allowed.into_inner()
}

/// What a bucket that was never full again has allowed since its first request: all that it held at first and was refilled
/// until its last one. The arithmetic is that of the documentation.
fn oracle(first: &Stored, last: &Stored) -> u64 {
    let refilled = u128::from(last.updated_us - first.updated_us) * u128::from(last.count);
    let units = u128::from(last.capacity) * u128::from(last.period_us) + refilled;
    u64::try_from(units / u128::from(last.period_us)).expect("a count")
}

#[test]
fn two_limits_together_admit_exactly_what_the_arithmetic_says() {
    let (redis, file) = (RedisServer::start(), PoliciesFile::new(TWO_LIMITS));
    let http = HttpServer::start(&["-redis", &redis.url(), "-policies", file.path()]);
    let mut connection = redis.connect();
    assert_eq!(http.get("/token/api").status, 200);
    let first = ["second", "ten"].map(|limit| stored(&mut connection, limit));
    let start_us = first[0].updated_us;
    let until_s = |seconds: i64| {
        let end_us = i64::try_from(start_us).expect("a time") + seconds * 1_000_000;
        eventually("the time to pass", || {
            (redis.connect().time_us() >= end_us).then_some(())
        });
    };

    let early = 1 + hammer(&http, || until_s(4));
    let last = stored(&mut connection, "second");
    assert_eq!(early, oracle(&first[0], &last), "the first limit denies");

    let all = early + hammer(&http, || until_s(10));
    let last = stored(&mut connection, "ten");
    assert_eq!(all, oracle(&first[1], &last), "the second limit denies");
}

/// Callers behind a trusted proxy on 127.0.0.1.
const PROXIED: [&str; 2] = ["-trusted-proxies", "127.0.0.1"];

#[test]
fn all_limits_of_a_caller_are_in_one_slot_of_a_cluster() {
    let cluster = Cluster::of_primaries(3);
    let file = PoliciesFile::new(TWO_LIMITS);
    let address = format!("redis-cluster://127.0.0.1:{}", cluster.nodes()[0].port());
    let flags = ["-redis", &address, "-policies", file.path()];
    let http = HttpServer::start(&[&flags[..], &PROXIED].concat());
    thread::scope(|scope| {
        for connection in 0..4_u32 {
            let http = &http;
            scope.spawn(move || {
                let mut stream = http.connect();
                for request in 0..2500 {
                    let caller = (connection * 2500 + request) % 1000;
                    let line = format!("X-Forwarded-For: 10.0.{}.{}", caller / 250, caller % 250);
                    let answer = get_with(&mut stream, "/token/api", &[&line]);
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
            });
        }
    });
    let mut callers = HashSet::new();
    for node in cluster.nodes() {
        let keys: Vec<String> = node.connect().line("KEYS rl:{token:api:*");
        let here = keys
            .iter()
            .filter_map(|key| key.split_once('}'))
            .map(|(tag, _)| tag.to_owned());
        let here: HashSet<String> = here.collect();
        assert!(!here.is_empty(), "each primary has callers");
        assert!(here.is_disjoint(&callers), "no caller is on two primaries");
        callers.extend(here);
    }
}

const SLOW: &str = r#"
[api]
limits = [
  { name = "a", rate = "1/1000d", burst = 3 },
  { name = "b", rate = "1/1000d", burst = 2 },
]
[shadow]
limits = [{ rate = "1/1000d", burst = 1 }]
dry_run = true
"#;

/// A server whose Redis is gone.
fn without_redis(mode: &str) -> (PoliciesFile, HttpServer) {
    let (redis, file) = (RedisServer::start_on_tcp(&[]), PoliciesFile::new(SLOW));
    let address = format!("127.0.0.1:{}", redis.port());
    let flags = [
        "-redis",
        &address,
        "-policies",
        file.path(),
        "-on-outage",
        mode,
        "-trust-caller",
    ];
    let http = HttpServer::start(&flags);
    drop(redis);
    http.wait_for_log("no connection to Redis");
    (file, http)
}

#[test]
fn local_decisions_charge_all_limits_or_none() {
    let (_file, http) = without_redis("local");
    let get = |query: &str| http.get(&format!("/token/api{query}"));
    let remaining = |query: &str| {
        let answer = get(query);
        assert_eq!(answer.field("degraded"), Some("true"), "{}", answer.body);
        let parts = answer.body.split(r#""remaining":"#).skip(2);
        let numbers = parts.map(|part| part.split(',').next().unwrap_or_default().to_owned());
        (answer.status, numbers.collect::<Vec<_>>().join(","))
    };
    assert_eq!(remaining(""), (200, "2,1".to_owned()));
    assert_eq!(remaining("?cost=2"), (429, "2,1".to_owned()));
    assert_eq!(remaining("/below?cost=2"), (200, "1,0".to_owned()));
    assert_eq!(remaining(""), (429, "1,0".to_owned()));
    assert_eq!(remaining("?refund=1"), (200, "2,1".to_owned()));
    assert_eq!(remaining("?force=2"), (200, "0,0".to_owned()));
    let other = http.get("/leaky/api");
    assert_eq!((other.status, other.field("remaining")), (200, Some("1")));
}

#[test]
fn an_outage_is_503_or_200_as_the_mode_says() {
    let (_file, http) = without_redis("deny");
    assert_eq!(http.get("/token/api").status, 503);
    let shadow = http.get("/token/shadow");
    assert_eq!(
        (shadow.status, shadow.field("degraded")),
        (200, Some("true")),
        "a dry run"
    );
    let (_file, http) = without_redis("allow");
    let answer = http.get("/token/api/orders");
    assert_eq!(
        (answer.status, answer.field("degraded")),
        (200, Some("true"))
    );
    assert_eq!(answer.header("ratelimit"), None);
}

#[test]
fn the_deny_cache_repeats_a_denial_by_several_limits() {
    let (redis, file) = (RedisServer::start(), PoliciesFile::new(SLOW));
    let address = redis.url();
    let flags = [
        "-redis",
        &address,
        "-policies",
        file.path(),
        "-deny-cache",
        "100",
    ];
    let http = HttpServer::start(&flags);
    for _ in 0..2 {
        assert_eq!(http.get("/token/api").status, 200);
    }
    let denied = http.get("/token/api");
    assert_eq!(denied.status, 429);
    let hits = || {
        let metrics = http.get("/metrics").body;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("rl_deny_cache_hits_total "));
        line.and_then(|hits| hits.parse::<u64>().ok())
    };
    let before = hits();
    eventually("a repeated denial", || {
        let repeated = http.get("/token/api");
        assert_eq!(
            (repeated.status, repeated.field("limit")),
            (429, denied.field("limit"))
        );
        assert_eq!(
            repeated.header("ratelimit-policy"),
            denied.header("ratelimit-policy")
        );
        (hits() > before).then_some(())
    });
    assert!(redis.connect().calls_of("rl.multi") >= 3);
    let other = get(&mut connect_from("127.0.0.2", http.port()), "/token/api");
    assert_eq!(other.status, 200, "another caller");
}
