use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rl_tests::{Answer, HttpServer, PoliciesFile, RedisServer, connect_from, get, get_with, send};

/// No token is refilled while a test runs.
const FILE: &str = r#"
[login]
limits = [{ rate = "1/1000d", burst = 5 }]

[api]
key = ["header:X-Api-Key"]
limits = [
  { name = "second", rate = "3/1000d", burst = 30 },
  { name = "hour", rate = "2/1000d", burst = 20 },
]

[secret]
key = ["sha256:Authorization", "address"]
limits = [{ rate = "1/1000d", burst = 5 }]

[shadow]
limits = [{ rate = "1/1000d", burst = 1 }]
dry_run = true
"#;

pub(crate) fn start(flags: &[&str]) -> (RedisServer, PoliciesFile, HttpServer) {
    let (redis, file) = (RedisServer::start(), PoliciesFile::new(FILE));
    let address = redis.url();
    let given = [
        "-redis",
        &address,
        "-rate",
        "1/1000d",
        "-policies",
        file.path(),
    ];
    let http = HttpServer::start(&[&given, flags].concat());
    (redis, file, http)
}

fn keys(redis: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = redis.connect().line("KEYS *");
    keys.sort();
    keys
}

fn method(http: &HttpServer, method: &str, path: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    send(&mut http.connect(), &request)
}

/// Before there were named policies, the login was asked for by `?rate=5/m&burst=5`, and spent what page views spend.
#[test]
fn page_views_spend_nothing_of_a_login() {
    let (redis, _file, http) = start(&[]);
    for _ in 0..20 {
        assert_eq!(http.get("/token").status, 200);
    }
    let login = http.get("/token/login");
    assert_eq!((login.status, login.field("remaining")), (200, Some("4")));
    assert_eq!(http.get("/token").status, 429);
    assert_eq!(
        login.header("ratelimit-policy"),
        Some(r#""login";q=5;w=432000000"#)
    );
    let expected = ["rl:token:127.0.0.1", "rl:{token:login:127.0.0.1}"];
    assert_eq!(keys(&redis), expected);
}

#[test]
fn every_method_and_everything_below_is_the_same_request() {
    let (redis, _file, http) = start(&[]);
    let requests = [
        ("POST", "/token/login"),
        ("DELETE", "/token/login/"),
        ("GET", "/token/login/orders?x=1"),
        ("OPTIONS", "/token/login//a/%2e%2e/b?key=a&rate=1"),
        ("HEAD", "/token/login/orders"),
    ];
    for (name, path) in requests {
        assert_eq!(method(&http, name, path).status, 200, "{name} {path}");
    }
    assert_eq!(http.get("/token/login").status, 429);
    assert_eq!(keys(&redis), ["rl:{token:login:127.0.0.1}"]);
}

#[test]
fn the_default_policy_is_that_of_token_and_leaky() {
    let (redis, _file, http) = start(&[]);
    assert_eq!(http.get("/token").field("remaining"), Some("19"));
    let answer = method(&http, "POST", "/token/default/orders?x=1");
    assert_eq!(answer.field("remaining"), Some("18"));
    assert_eq!(http.get("/leaky/default").field("remaining"), Some("19"));
    assert_eq!(keys(&redis), ["rl:leaky:127.0.0.1", "rl:token:127.0.0.1"]);
}

#[test]
fn an_unknown_policy_is_404_and_spends_nothing() {
    let (redis, _file, http) = start(&[]);
    for path in [
        "/token/nope",
        "/token/Login",
        "/token/l%6fgin",
        "/leaky/key/login",
        "/token/",
        "/token//login",
    ] {
        let answer = http.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.starts_with(r#"{"error":""#), "{}", answer.body);
    }
    assert_eq!(keys(&redis), [""; 0]);
}

#[test]
fn the_two_algorithms_of_a_policy_share_no_bucket() {
    let (redis, _file, http) = start(&[]);
    assert_eq!(http.get("/token/login").field("remaining"), Some("4"));
    let leaky = http.get("/leaky/login");
    assert_eq!(
        (leaky.field("remaining"), leaky.field("delay_ms")),
        (Some("4"), Some("0"))
    );
    let expected = ["rl:{leaky:login:127.0.0.1}", "rl:{token:login:127.0.0.1}"];
    assert_eq!(keys(&redis), expected);
}

/// The calls of rl-server that MONITOR shows while `body` runs, apart from probes.
fn calls_during<T>(redis: &RedisServer, body: impl FnOnce() -> T) -> (T, Vec<String>) {
    let mut monitor = UnixStream::connect(redis.socket()).expect("Redis runs");
    monitor.write_all(b"MONITOR\r\n").expect("it is sent");
    let mut lines = BufReader::new(monitor).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("+OK"));
    let result = body();
    redis.connect().value("ECHO the-end");
    let lines = lines.take_while(|line| !line.contains("the-end"));
    let calls = lines.filter(|line| line.contains("\"RL.") && !line.contains("rl:probe"));
    (result, calls.collect())
}

#[test]
fn several_limits_are_one_multi_in_one_slot() {
    let (redis, _file, http) = start(&[]);
    let (answer, calls) = calls_during(&redis, || http.get("/token/api"));
    assert_eq!(
        answer.body,
        r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","limit":20,"remaining":19,"retry_after_ms":0,"reset_after_ms":43200000000,"limits":[{"name":"second","limit":30,"remaining":29,"retry_after_ms":0,"reset_after_ms":28800000000},{"name":"hour","limit":20,"remaining":19,"retry_after_ms":0,"reset_after_ms":43200000000}]}"#
    );
    let [call] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    let tag = "rl:{token:api:127.0.0.1}";
    let words = format!(
        r#""RL.MULTI" "{tag}:second" "TOKEN" "1/8000h" "30" "1" "{tag}:hour" "TOKEN" "1/500d" "20" "1""#
    );
    assert!(call.ends_with(&words), "{call}");
}

#[test]
fn a_denial_by_one_limit_takes_nothing_of_the_others() {
    let (_redis, _file, http) = start(&["-x-ratelimit"]);
    for _ in 0..20 {
        assert_eq!(http.get("/token/api").status, 200);
    }
    for _ in 0..2 {
        let denied = http.get("/token/api");
        assert_eq!(denied.status, 429);
        assert!(
            denied
                .body
                .contains(r#"{"name":"second","limit":30,"remaining":10,"retry_after_ms":0"#)
        );
        let remaining = [denied.field("limit"), denied.field("remaining")];
        assert_eq!(remaining, [Some("20"), Some("0")], "the limit that denied");
        let policies = r#""second";q=30;w=864000000, "hour";q=20;w=864000000"#;
        assert_eq!(denied.header("ratelimit-policy"), Some(policies));
        let field = denied.header("ratelimit").expect("a RateLimit field");
        assert!(field.starts_with(r#""second";r=10;t="#), "{field}");
        assert!(field.contains(r#", "hour";r=0;t="#), "{field}");
        let wait = denied.header("retry-after").expect("a wait");
        assert!(field.ends_with(&format!(";t={wait}")), "{field}");
        assert_eq!(denied.header("x-ratelimit-limit"), Some("20"));
    }
    let mut stream = http.connect();
    let accept = ["Accept: application/problem+json"];
    let problem = get_with(&mut stream, "/token/api/x", &accept);
    let violated = r#""instance":"/token/api","violated-policies":["hour"],"allowed":false"#;
    assert!(problem.body.contains(violated), "{}", problem.body);
}

#[test]
fn a_header_tells_callers_apart_only_behind_a_proxy() {
    let (redis, _file, http) = start(&["-trusted-proxies", "127.0.0.1"]);
    let ask = |source: &str, path: &str, line: &str| {
        let mut stream = connect_from(source, http.port());
        get_with(&mut stream, path, &[line]).status
    };
    assert_eq!(ask("127.0.0.1", "/token/api", "X-Api-Key: k1,}"), 200);
    assert_eq!(ask("127.0.0.2", "/token/api", "X-Api-Key: k1,}"), 200);
    assert_eq!(
        ask("127.0.0.1", "/token/secret", "Authorization: Bearer abc"),
        200
    );
    let keys = keys(&redis);
    let by_header = "rl:{token:api:x-api-key=k1%2C%7D}:";
    let by_address = "rl:{token:api:127.0.0.2}:";
    for prefix in [by_header, by_address] {
        let limits = keys.iter().filter(|key| key.starts_with(prefix)).count();
        assert_eq!(limits, 2, "{prefix} {keys:?}");
    }
    let secret = keys
        .iter()
        .find(|key| key.contains("secret"))
        .expect("a key");
    let hash = sha256("Bearer abc");
    let expected = format!("rl:{{token:secret:authorization:sha256={hash},127.0.0.1}}");
    assert_eq!(*secret, expected);
}

/// By coreutils.
fn sha256(text: &str) -> String {
    let script = format!("printf %s '{text}' | sha256sum");
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = String::from_utf8(output.expect("sha256sum").stdout).expect("UTF-8");
    output.split(' ').next().unwrap_or_default().to_owned()
}

/// P11: whatever a caller sends, it charges no bucket of another policy, of `/token`, or of another caller.
#[test]
fn no_header_or_key_reaches_the_bucket_of_another() {
    let (redis, _file, http) = start(&["-trust-caller"]);
    let full = |answer: &Answer| match answer.field("limits") {
        Some(_) => answer.field("remaining") == Some("19"),
        None => ["19", "4"].contains(&answer.field("remaining").unwrap_or_default()),
    };
    let values = [
        "127.0.0.1",
        "x-api-key=127.0.0.1",
        "127.0.0.1}:second",
        "{token:login:127.0.0.1}",
        ",127.0.0.1",
        "%31",
        ":key=a",
        "a:long=",
    ];
    for path in [
        "/token",
        "/token/login",
        "/leaky/api",
        "/token/api",
        "/token/secret",
    ] {
        assert!(full(&http.get(path)), "{path}");
    }
    for value in values {
        for (path, header) in [
            ("/token/api", "X-Api-Key"),
            ("/token/secret", "Authorization"),
        ] {
            let line = format!("{header}: {value}");
            let answer = get_with(&mut http.connect(), path, &[&line]);
            assert!(full(&answer), "{path} {line}: {}", answer.body);
        }
        let key = value
            .replace('%', "%25")
            .replace('{', "%7B")
            .replace('}', "%7D");
        for path in ["/token", "/token/login", "/token/api", "/leaky/api"] {
            let answer = http.get(&format!("{path}?key={key}"));
            assert!(full(&answer), "{path}?key={key}: {}", answer.body);
        }
    }
    let multi = values.len() * 3 + 2;
    let single = values.len() * 3 + 3;
    assert_eq!(keys(&redis).len(), 2 * multi + single);
}

#[test]
fn a_dry_run_allows_counts_and_tells_the_truth() {
    let (_redis, _file, http) = start(&[]);
    let allowed = http.get("/token/shadow");
    assert_eq!(
        (allowed.status, allowed.field("dry_run")),
        (200, Some("true"))
    );
    let over = http.get("/token/shadow");
    assert_eq!((over.status, over.field("allowed")), (200, Some("true")));
    assert_eq!(
        (over.field("remaining"), over.field("dry_run")),
        (Some("0"), Some("true"))
    );
    let wait = over
        .field("retry_after_ms")
        .and_then(|ms| ms.parse::<i64>().ok());
    assert!(wait > Some(0), "{}", over.body);
    assert!(over.header("retry-after").is_some());
    let metrics = http.get("/metrics").body;
    for (outcome, count) in [("allowed", 1), ("would_deny", 1), ("denied", 0)] {
        let line = format!(
            r#"rl_decisions_total{{algorithm="token",policy="shadow",outcome="{outcome}"}} {count}"#
        );
        assert!(metrics.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn force_and_refund_apply_to_every_limit() {
    let (_redis, _file, http) = start(&["-trust-caller"]);
    let remaining = |query: &str| {
        let answer = http.get(&format!("/token/api?key=a&{query}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let parts = answer.body.split(r#""remaining":"#).skip(2);
        let numbers = parts.map(|part| part.split(',').next().unwrap_or_default().to_owned());
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(remaining("cost=15"), ["15", "5"]);
    assert_eq!(remaining("force=10"), ["5", "0"]);
    assert_eq!(http.get("/token/api?key=a&cost=0").status, 429, "in debt");
    assert_eq!(remaining("refund=20"), ["25", "15"]);
    assert_eq!(
        http.get("/token?key=a&force=25").field("remaining"),
        Some("0")
    );
    assert_eq!(
        http.get("/token?key=a&refund=6").field("remaining"),
        Some("1")
    );
    let too_much = http.get("/token?key=a&force=281474976710655");
    let reason =
        r#"{"error":"force: a bucket holds at most 281474976710655 tokens of debt; send less"}"#;
    assert_eq!((too_much.status, too_much.body.as_str()), (400, reason));
}

#[test]
fn the_log_names_the_policy() {
    let (_redis, _file, http) = start(&["-log-level", "debug", "-log", "json"]);
    get(&mut http.connect(), "/token/login/orders");
    let line = http.wait_for_log("rl:{token:login:127.0.0.1}");
    assert!(line.contains(r#""policy":"login""#), "{line}");
}

#[test]
fn a_header_that_never_counts_is_logged_at_the_start() {
    let (redis, file) = (
        RedisServer::start_without_module(&[]),
        PoliciesFile::new(FILE),
    );
    let flags = ["-redis", &redis.url(), "-policies", file.path()];
    let http = HttpServer::start_alone(&flags);
    http.wait_for_log("policy api: the header x-api-key never counts");
}
