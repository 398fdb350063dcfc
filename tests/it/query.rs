//! The parameters of a request: key, cost, rate and burst, which only trusted callers may set.

use rl_tests::{HttpServer, RedisServer, get_with};

fn start(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url(), "-rate", "1/1000d"], flags].concat());
    (redis, http)
}

#[test]
fn a_trusted_caller_chooses_key_cost_rate_and_burst() {
    let (redis, http) = start(&["-trust-caller"]);
    let answer = http.get("/token?key=user:42&cost=3&rate=600/m&burst=30");
    assert_eq!(
        answer.body,
        r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","limit":30,"remaining":27,"retry_after_ms":0,"reset_after_ms":300}"#
    );
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some("\"token\";q=30;w=3")
    );
    assert_eq!(answer.header("ratelimit"), Some("\"token\";r=27;t=3"));
    assert_eq!(http.get("/leaky?key=user:42").field("limit"), Some("20"));
    assert_eq!(http.get("/token?cost=2").field("remaining"), Some("18"));
    let mut keys: Vec<String> = redis.connect().line("KEYS *");
    keys.sort();
    assert_eq!(
        keys,
        [
            "rl:leaky:key:user:42",
            "rl:token:127.0.0.1",
            "rl:token:key:user:42"
        ]
    );
}

#[test]
fn no_key_parameter_names_the_bucket_of_an_address() {
    let (_redis, http) = start(&["-trust-caller", "-trusted-proxies", "127.0.0.1"]);
    let is_full = |answer: rl_tests::Answer| answer.field("remaining") == Some("19");
    assert!(is_full(http.get("/token")));
    for key in [
        "127.0.0.1",
        "key:127.0.0.1",
        "2001:db8::/64",
        "token:127.0.0.1",
        "%00",
        "%2A",
        "a b",
        "{a}",
        "\u{e9}",
    ] {
        let key = key.replace(' ', "%20").replace('\u{e9}', "%C3%A9");
        assert!(is_full(http.get(&format!("/token?key={key}"))), "{key}");
    }
    let line = "X-Forwarded-For: 2001:db8::1";
    assert!(is_full(get_with(&mut http.connect(), "/token", &[line])));
}

#[test]
fn a_cost_of_0_reports_the_bucket_and_spends_nothing() {
    let (redis, http) = start(&["-trust-caller"]);
    let answer = http.get("/token?key=a&cost=0");
    assert_eq!(
        (answer.status, answer.field("remaining")),
        (200, Some("20"))
    );
    assert_eq!(redis.connect().line::<i64>("DBSIZE"), 0);
    assert_eq!(http.get("/token?key=a&cost=20").status, 200);
    let answer = http.get("/token?key=a&cost=0");
    assert_eq!((answer.status, answer.field("remaining")), (200, Some("0")));
    assert_eq!(http.get("/token?key=a").status, 429);
}

#[test]
fn a_cost_above_the_burst_is_denied_without_retry_after() {
    let (redis, http) = start(&["-trust-caller", "-x-ratelimit"]);
    let answer = http.get("/token?key=a&cost=21");
    assert_eq!(answer.status, 429);
    assert_eq!(
        (answer.field("retry_after_ms"), answer.field("remaining")),
        (Some("-1"), Some("20"))
    );
    assert_eq!(
        (
            answer.header("retry-after"),
            answer.header("x-ratelimit-reset")
        ),
        (None, None)
    );
    assert_eq!(answer.header("ratelimit"), Some("\"token\";r=20"));
    assert_eq!(redis.connect().line::<i64>("DBSIZE"), 0);
}

#[test]
fn a_wrong_query_is_refused_before_redis_is_called() {
    let (redis, http) = start(&["-trust-caller"]);
    // At the start rl-server calls it once, to check that the module is loaded.
    let before = redis.connect().calls_of("rl.token");
    for (query, error) in [
        (
            "keys=a",
            "unknown parameter: keys; use key, cost, force, refund, rate or burst",
        ),
        (
            "1",
            "unknown parameter: 1; use key, cost, force, refund, rate or burst",
        ),
        ("key=a&key=b", "duplicate parameter: key; send it once"),
        (
            "key=a&cost=1&cost=0",
            "duplicate parameter: cost; send it once",
        ),
        ("key=", "key: expected 1 to 512 bytes"),
        ("key=%ff", "key: expected UTF-8, percent-encoded"),
        (
            "cost=-1",
            "cost: expected a whole number from 0 to 281474976710655",
        ),
        (
            "cost=1e400",
            "cost: expected a whole number from 0 to 281474976710655",
        ),
        ("force=1&cost=1", "use only one of cost, force and refund"),
        (
            "refund=0",
            "refund: expected a whole number from 1 to 281474976710655",
        ),
        (
            "burst=7",
            "rate and burst need key, such as key=user:42: without it they would change the limit of an address",
        ),
        (
            "burst=0",
            "burst: expected a whole number from 1 to 281474976710655",
        ),
        (
            "rate=NaN",
            "rate: expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
             units are ms, s, sec, m, min, h, hour, d and day",
        ),
        (
            "rate=1/3258d",
            "rate: expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
             units are ms, s, sec, m, min, h, hour, d and day",
        ),
    ] {
        let answer = http.get(&format!("/token?{query}"));
        assert_eq!(
            (answer.status, answer.body),
            (400, format!(r#"{{"error":"{error}"}}"#)),
            "{query}"
        );
    }
    assert_eq!(redis.connect().calls_of("rl.token"), before);
}

#[test]
fn an_untrusted_caller_s_parameters_are_refused() {
    let (redis, http) = start(&[]);
    for parameter in ["key", "cost", "force", "refund", "rate", "burst"] {
        let answer = http.get(&format!("/leaky?{parameter}=1"));
        let error = format!(
            r#"{{"error":"{parameter} is not accepted from callers: start rl-server with -trust-caller"}}"#
        );
        assert_eq!((answer.status, answer.body), (400, error));
    }
    assert_eq!(http.get("/leaky?x").status, 400);
    assert_eq!(redis.connect().line::<i64>("DBSIZE"), 0);
    assert_eq!(http.get("/leaky?").status, 200);
}

#[test]
fn one_key_may_be_used_under_several_policies() {
    let (_redis, http) = start(&["-trust-caller"]);
    assert_eq!(
        http.get("/token?key=a&rate=1/1000d&burst=5&cost=5").status,
        200
    );
    assert_eq!(
        http.get("/token?key=a&rate=1/1000d&burst=8&cost=3").status,
        200
    );
    let denied = http.get("/token?key=a&rate=1/1000d&burst=5");
    assert_eq!((denied.status, denied.field("limit")), (429, Some("5")));
}
