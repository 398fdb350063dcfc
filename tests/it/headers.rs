use rl_tests::{Answer, HttpServer, RedisServer, eventually, get_with, send};
use sfv::{List, ListEntry, Parser};

const PROBLEM: &str = "Accept: application/problem+json";

fn start(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url(), "-rate", "1/1000d"], flags].concat());
    (redis, http)
}

/// Sends a request with this method and these header lines.
fn request(http: &HttpServer, method: &str, path: &str, lines: &[&str]) -> Answer {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    send(&mut http.connect(), &text)
}

fn problem(http: &HttpServer, path: &str) -> Answer {
    let answer = request(http, "GET", path, &[PROBLEM]);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer
}

/// Parses a header as a structured field: the name and the parameters of the only item of a list.
fn parsed(answer: &Answer, header: &str) -> (String, Vec<(String, i64)>) {
    let text = answer
        .header(header)
        .unwrap_or_else(|| panic!("{header} in {answer:?}"));
    let list: List = Parser::new(text).parse().expect("a structured field");
    let [ListEntry::Item(item)] = list.as_slice() else {
        panic!("{text}")
    };
    let number = |value: &sfv::BareItem| value.as_integer().expect("an integer").into();
    let parameters = item
        .params
        .iter()
        .map(|(key, value)| (key.to_string(), number(value)));
    let name = item.bare_item.as_string().expect("a string").to_string();
    (name, parameters.collect())
}

fn number(text: Option<&str>) -> i64 {
    text.and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn structured_fields_and_the_body_have_the_same_numbers() {
    let (_redis, http) = start(&["-burst", "3", "-x-ratelimit", "-trust-caller"]);
    for path in [
        "/token",
        "/leaky",
        "/token?key=a&rate=0.3&burst=2",
        "/leaky?key=a&rate=7/30s&burst=2",
    ] {
        for _ in 0..5 {
            let answer = http.get(path);
            let (name, policy) = parsed(&answer, "ratelimit-policy");
            let (same_name, now) = parsed(&answer, "ratelimit");
            assert!(
                path.starts_with(&format!("/{name}")) && name == same_name,
                "{answer:?}"
            );
            let [(q, limit), (w, window_s)] = &policy[..] else {
                panic!("{answer:?}")
            };
            let [(r, remaining), (t, effective_s)] = &now[..] else {
                panic!("{answer:?}")
            };
            assert_eq!([q, w, r, t], ["q", "w", "r", "t"]);
            assert!(*window_s >= 1 && *effective_s >= 1);
            assert_eq!(number(answer.field("limit")), *limit);
            assert_eq!(number(answer.field("remaining")), *remaining);
            assert_eq!(number(answer.header("x-ratelimit-limit")), *limit);
            assert_eq!(number(answer.header("x-ratelimit-remaining")), *remaining);
            assert_eq!(number(answer.header("x-ratelimit-reset")), *effective_s);
            if answer.status == 429 {
                assert_eq!(number(answer.header("retry-after")), *effective_s);
                let wait_ms = number(answer.field("retry_after_ms"));
                assert_eq!((wait_ms + 999) / 1000, *effective_s);
            } else {
                assert_eq!((answer.status, answer.header("retry-after")), (200, None));
            }
        }
    }
}

#[test]
fn older_headers_and_cors_are_off_by_default() {
    let (_redis, http) = start(&[]);
    let answer = request(&http, "GET", "/token", &["Origin: https://app.example"]);
    let lines = answer.headers.iter();
    let mut unexpected = lines.filter(|line| {
        ["x-ratelimit-", "access-control-", "vary"]
            .iter()
            .any(|start| line.starts_with(start))
    });
    assert_eq!(unexpected.next(), None);
}

#[test]
fn a_denial_is_a_problem_for_clients_that_prefer_one() {
    let (_redis, http) = start(&["-burst", "1", "-trust-caller"]);
    let allowed = request(&http, "GET", "/token", &[PROBLEM]);
    assert_eq!(
        (allowed.status, allowed.header("content-type")),
        (200, Some("application/json"))
    );
    let answer = problem(&http, "/token");
    assert_eq!(answer.status, 429);
    let wait_s = answer.header("retry-after").expect("a wait");
    let start = format!(
        r#"{{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"detail":"Try again in {wait_s} s","instance":"/token","violated-policies":["token"],"allowed":false,"ip":"127.0.0.1","message":"Rate limit exceeded","limit":1,"remaining":0,"retry_after_ms":"#
    );
    assert!(answer.body.starts_with(&start), "{}", answer.body);
    assert_eq!(
        answer.header("ratelimit"),
        Some(format!("\"token\";r=0;t={wait_s}").as_str())
    );
    let never = problem(&http, "/leaky?key=a&cost=2");
    let detail = r#""detail":"Never allowed: the cost is above the limit of 1","instance":"/leaky","violated-policies":["leaky"]"#;
    assert!(
        never.status == 429 && never.body.contains(detail),
        "{never:?}"
    );
    for lines in [
        &[][..],
        &["Accept: */*"],
        &["Accept: application/json, application/problem+json;q=0.9"],
    ] {
        let plain = request(&http, "GET", "/token", lines);
        assert_eq!(
            (plain.status, plain.header("content-type")),
            (429, Some("application/json"))
        );
        assert!(
            plain.body.starts_with(
                r#"{"allowed":false,"ip":"127.0.0.1","message":"Rate limit exceeded","#
            )
        );
    }
}

#[test]
fn every_error_is_plain_json_or_a_problem_and_spends_nothing() {
    let (redis, http) = start(&[]);
    let unknown = "unknown parameter: x; remove it";
    for (method, path, status, title, reason) in [
        (
            "GET",
            "/nowhere",
            404,
            "Not Found",
            "path not found; use /token or /leaky",
        ),
        (
            "GET",
            "/token/",
            404,
            "Not Found",
            "path not found; use /token or /leaky",
        ),
        (
            "POST",
            "/token",
            405,
            "Method Not Allowed",
            "method not allowed; use GET or HEAD",
        ),
        (
            "OPTIONS",
            "/leaky",
            405,
            "Method Not Allowed",
            "method not allowed; use GET or HEAD",
        ),
        ("GET", "/leaky?x=1", 400, "Bad Request", unknown),
    ] {
        let plain = request(&http, method, path, &[]);
        assert_eq!(
            (plain.status, plain.body.as_str()),
            (status, format!(r#"{{"error":"{reason}"}}"#).as_str())
        );
        let problem = request(&http, method, path, &[PROBLEM]);
        let instance = path.trim_end_matches("?x=1");
        assert_eq!(
            problem.body,
            format!(
                r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{reason}","instance":"{instance}"}}"#
            )
        );
        assert_eq!(
            problem.header("content-type"),
            Some("application/problem+json")
        );
        for answer in [&plain, &problem] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(
                answer.header("allow"),
                (status == 405).then_some("GET,HEAD")
            );
            assert_eq!(
                (answer.header("ratelimit"), answer.header("retry-after")),
                (None, None)
            );
        }
    }
    assert_eq!(redis.connect().line::<i64>("DBSIZE"), 0);
}

#[test]
fn an_outage_is_a_problem_too() {
    let (redis, http) = start(&[]);
    redis.connect().value("CONFIG SET maxmemory 1");
    let answer = problem(&http, "/token");
    assert_eq!(
        (
            answer.status,
            answer.header("retry-after"),
            answer.header("ratelimit")
        ),
        (503, Some("1"), None)
    );
    assert_eq!(
        answer.body,
        r#"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Request cannot be satisfied due to temporary server capacity constraints","status":503,"detail":"Redis refused the call: OOM","instance":"/token"}"#
    );
}

#[test]
fn deny_status_is_the_status_of_denials_and_not_of_outages() {
    let (redis, http) = start(&["-burst", "1", "-deny-status", "403"]);
    assert_eq!(http.get("/token").status, 200);
    let denied = problem(&http, "/token");
    assert!(
        denied.status == 403 && denied.body.contains(r#""status":403,"#),
        "{denied:?}"
    );
    assert!(denied.header("retry-after").is_some());
    assert_eq!(http.get("/token").status, 403);
    redis.connect().value("CONFIG SET maxmemory 1");
    eventually("an outage", || {
        (http.get("/token").status == 503).then_some(())
    });
}

const EXPOSED: &str = "ratelimit-policy,ratelimit,retry-after,x-ratelimit-limit,x-ratelimit-remaining,x-ratelimit-reset";

#[test]
fn scripts_of_an_allowed_origin_may_read_every_answer() {
    let (_redis, http) = start(&[
        "-burst",
        "1",
        "-cors-origins",
        "https://app.example,http://localhost:3000",
    ]);
    let origin = "Origin: https://app.example";
    for (path, status) in [
        ("/token", 200),
        ("/token", 429),
        ("/token?x", 400),
        ("/nowhere", 404),
    ] {
        let answer = request(&http, "GET", path, &[origin]);
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example")
        );
        assert_eq!(
            answer.header("access-control-expose-headers"),
            Some(EXPOSED)
        );
        assert!(
            answer
                .header("vary")
                .is_some_and(|vary| vary.contains("origin")),
            "{answer:?}"
        );
        let other = request(&http, "GET", path, &["Origin: https://evil.example"]);
        assert_eq!(other.header("access-control-allow-origin"), None);
    }
}

#[test]
fn every_origin_may_be_allowed() {
    let (_redis, http) = start(&["-cors-origins", "*"]);
    let answer = get_with(
        &mut http.connect(),
        "/token",
        &["Origin: https://any.example"],
    );
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-expose-headers"),
        Some(EXPOSED)
    );
}

#[test]
fn a_preflight_is_answered_and_spends_no_token() {
    let (redis, http) = start(&["-cors-origins", "*"]);
    let lines = [
        "Origin: https://app.example",
        "Access-Control-Request-Method: GET",
    ];
    let answer = request(&http, "OPTIONS", "/token", &lines);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("GET,HEAD")
    );
    assert_eq!(answer.header("access-control-max-age"), Some("86400"));
    assert_eq!(redis.connect().line::<i64>("DBSIZE"), 0);
}
