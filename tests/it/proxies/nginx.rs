use std::thread;
use std::time::Instant;

use rl_tests::Program::Nginx;
use rl_tests::{Answer, HttpServer, Port, Proxy, RedisServer, connect_from, get_with};

use super::{API, Site, assert_denied};

fn start() -> Site {
    Site::start(Nginx).expect("tests/packages.sh installs nginx")
}

#[test]
fn nginx_limits_each_route_by_its_policy() {
    start().limits_each_route_by_its_policy(true);
}

#[test]
fn nginx_limits_the_address_of_the_connection() {
    start().limits_the_address_of_the_connection();
}

#[test]
fn nginx_gives_a_key_its_own_bucket() {
    start().gives_a_key_its_own_bucket();
}

#[test]
fn nginx_limits_an_unknown_key_by_its_address() {
    let site = start();
    for unknown in ["a", "b", "a&key=acme&cost=0"] {
        let key = format!("X-Api-Key: {unknown}");
        assert_eq!(site.get("127.0.0.9", "/", &[&key]).status, 200);
    }
    for unknown in ["acme", "a&key=acme&cost=0", "k-5f3a9c0"] {
        let key = format!("X-Api-Key: {unknown}");
        assert_denied(&site.get("127.0.0.9", "/", &[&key]), API);
    }
    let known = "X-Api-Key: k-5f3a9c";
    assert_eq!(site.get("127.0.0.9", "/", &[known]).status, 200);
}

/// nginx accepts larger heads than rl-server does.
#[test]
fn nginx_limits_requests_with_large_heads_too() {
    let site = start();
    let field = |n: usize| format!("X-Field-{n}: {}", "x".repeat(4500));
    let large: Vec<String> = (0..4).map(field).collect();
    let many: Vec<String> = (0..120).map(|n| format!("X-Field-{n}: x")).collect();
    let statuses = [&large, &many, &vec![], &large, &many].map(|head| {
        let lines: Vec<&str> = head.iter().map(String::as_str).collect();
        site.get("127.0.0.9", "/", &lines).status
    });
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[test]
fn behind_nginx_a_site_stays_up_and_limited_without_redis() {
    start().stays_up_and_limited_without_redis();
}

/// nginx has an answer of its own where rl-server has no decision.
fn assert_undecided(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("ratelimit"), None);
}

#[test]
fn nginx_says_503_where_an_outage_denies() {
    let answer = Site::answers_without_redis_where_an_outage_denies(Nginx);
    assert_undecided(&answer.expect("nginx is installed"));
}

#[test]
fn nginx_says_503_without_rl_server() {
    assert_undecided(&start().answers_without_rl_server());
}

/// The nth answer comes at least n emission intervals after the first request, on a slow machine too.
#[test]
fn behind_nginx_shaped_requests_are_spaced() {
    let limits = [("burst = 20", "burst = 6"), ("1000/h", "1000/s")];
    let leaky = [("limiter/token/", "limiter/leaky/")];
    let site = Site::start_with(Nginx, &limits, &["-shape"], &leaky).expect("it is installed");
    let started = Instant::now();
    let waits_ms: Vec<u128> = thread::scope(|scope| {
        let request = || {
            assert_eq!(site.get("127.0.0.5", "/", &[]).body, "the application");
            started.elapsed().as_millis()
        };
        let requests = [(); 6].map(|()| scope.spawn(request));
        let waits_ms = requests.map(|request| request.join().expect("an answer"));
        waits_ms.into()
    });
    crate::shaping::assert_spaced(waits_ms);
}

/// Each proxy connects from an address of its own, as if it were on its own machine.
#[test]
fn behind_two_proxies_the_client_s_address_counts() {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[
        "-redis",
        &redis.url(),
        "-trusted-proxies",
        "127.0.0.2,127.0.0.3",
    ]);
    let (outer, inner) = (Port::free(), Port::free());
    let proxy = |port: &Port, source: &str, next: u16| {
        let config = format!(
            "server {{ listen 127.0.0.1:{}; location / {{ proxy_bind {source}; proxy_pass http://127.0.0.1:{next};\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}\n",
            port.number()
        );
        Proxy::start(Nginx, &[config], port.number()).expect("nginx is installed")
    };
    let _inner = proxy(&inner, "127.0.0.3", http.port());
    let _outer = proxy(&outer, "127.0.0.2", inner.number());
    let close = "Connection: close";
    for lines in [
        &[close][..],
        &[close, "X-Forwarded-For: 203.0.113.9"],
        &[
            close,
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-For: 127.0.0.2, \"oops",
        ],
    ] {
        let answer = get_with(
            &mut connect_from("127.0.0.9", outer.number()),
            "/token",
            lines,
        );
        assert_eq!(
            answer.field("ip"),
            Some("\"127.0.0.9\""),
            "{lines:?}: {answer:?}"
        );
    }
    let keys: Vec<String> = redis.connect().line("KEYS *");
    assert_eq!(keys, ["rl:token:127.0.0.9"]);
}
