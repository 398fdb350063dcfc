//! `/metrics`, and the Grafana board and the table in server/README.md, which name the same metrics.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;

use nix::sys::signal::Signal;
use rl_tests::{HttpServer, RedisServer, document, eventually, get, project, send};
use serde_json::Value;

use crate::http::start;

/// The current samples of `/metrics`: names with labels, and values. The server reuses a rendering for 250 ms. A new
/// one counts the request for the one before.
fn samples(http: &HttpServer) -> Vec<(String, f64)> {
    let sent = |samples: &[(String, f64)]| {
        let count = r#"http_server_request_duration_seconds_count{method="GET",route="/metrics",status="200"}"#;
        let sent = samples.iter().find(|(name, _)| name == count);
        sent.map_or(0.0, |(_, sent)| *sent)
    };
    let before = sent(&rendered(http));
    eventually("a new rendering", || {
        Some(rendered(http)).filter(|samples| sent(samples) > before)
    })
}

/// The samples of `/metrics`, which may be up to 250 ms old.
fn rendered(http: &HttpServer) -> Vec<(String, f64)> {
    let answer = http.get("/metrics");
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(openmetrics));
    assert!(answer.body.ends_with("# EOF\n"), "{}", answer.body);
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

/// The value of one sample, or 0 if `/metrics` does not have it yet.
pub(crate) fn value(http: &HttpServer, name: &str) -> f64 {
    let sample = samples(http).into_iter().find(|(known, _)| known == name);
    sample.map_or(0.0, |(_, value)| value)
}

#[test]
fn metrics_count_requests_by_outcome() {
    let (redis, http) = start(&["-rate", "1/1000d", "-burst", "2", "-deadline", "1s"]);
    let mut stream = http.connect();
    for _ in 0..5 {
        get(&mut stream, "/token");
    }
    get(&mut stream, "/leaky");
    get(&mut stream, "/nowhere");
    send(
        &mut stream,
        "BREW /token HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n",
    );
    redis.kill();
    eventually("the outage", || {
        (http.get("/leaky").status == 503).then_some(())
    });
    eventually(
        "this connection and the one that requests the metrics",
        || (value(&http, "rl_connections") == 2.0).then_some(()),
    );
    for (sample, expected) in [
        (
            r#"rl_decisions_total{algorithm="token",policy="default",outcome="allowed"}"#,
            2.0,
        ),
        (
            r#"rl_decisions_total{algorithm="token",policy="default",outcome="denied"}"#,
            3.0,
        ),
        (
            r#"rl_decisions_total{algorithm="token",policy="default",outcome="error"}"#,
            0.0,
        ),
        (
            r#"rl_decisions_total{algorithm="leaky",policy="default",outcome="allowed"}"#,
            1.0,
        ),
        (
            r#"rl_decisions_total{algorithm="leaky",policy="default",outcome="degraded"}"#,
            0.0,
        ),
        (r#"rl_policy_info{rate="1/1000d",burst="2"}"#, 1.0),
        (r#"rl_build_info{version="0.1.0"}"#, 1.0),
        ("rl_redis_up", 0.0),
        (
            r#"http_server_request_duration_seconds_count{method="GET",route="/token",status="200"}"#,
            2.0,
        ),
        (
            r#"http_server_request_duration_seconds_count{method="GET",route="/token",status="429"}"#,
            3.0,
        ),
        (
            r#"http_server_request_duration_seconds_count{method="GET",route="_OTHER",status="404"}"#,
            1.0,
        ),
        (
            r#"http_server_request_duration_seconds_count{method="_OTHER",route="/token",status="405"}"#,
            1.0,
        ),
    ] {
        assert_eq!(value(&http, sample), expected, "{sample}");
    }
    let errors = r#"rl_decisions_total{algorithm="leaky",policy="default",outcome="error"}"#;
    assert!(value(&http, errors) >= 1.0);
}

#[test]
fn denials_are_counted_under_the_deny_status() {
    let policy = ["-rate", "1/1000d", "-burst", "1", "-deny-status", "451"];
    let (_redis, http) = start(&policy);
    assert_eq!(http.get("/token").status, 200);
    assert_eq!(http.get("/token").status, 451);
    let sample =
        r#"http_server_request_duration_seconds_count{method="GET",route="/token",status="451"}"#;
    assert_eq!(value(&http, sample), 1.0);
}

#[test]
fn metrics_show_the_state_of_redis() {
    let redis = RedisServer::start();
    let flags = ["-redis", &redis.url(), "-deadline", "1s", "-threads", "1"];
    let http = HttpServer::start(&flags);
    let breakers = || {
        ["closed", "connecting", "open"]
            .map(|state| value(&http, &format!("rl_breaker_state{{state=\"{state}\"}}")))
    };
    let calls = "rl_redis_command_duration_seconds_count";
    let before = value(&http, calls);
    assert_eq!(
        (http.get("/token").status, breakers()),
        (200, [1.0, 0.0, 0.0])
    );
    assert!(value(&http, calls) > before);
    redis.kill();
    eventually("an open breaker", || {
        (breakers() == [0.0, 0.0, 1.0]).then_some(())
    });
    assert_eq!(http.get("/token").status, 503);
    assert!(value(&http, r#"rl_redis_errors_total{kind="no_answer"}"#) >= 1.0);
    eventually("the outage", || {
        (value(&http, "rl_redis_up") == 0.0).then_some(())
    });
    redis.restart();
    eventually("a closed breaker", || {
        (breakers() == [1.0, 0.0, 0.0]).then_some(())
    });
    assert_eq!(value(&http, "rl_redis_reconnects_total"), 1.0);
    eventually("the connection to Redis", || {
        (value(&http, "rl_redis_up") == 1.0).then_some(())
    });
}

#[test]
fn metrics_count_hits_of_the_deny_cache() {
    let (_redis, http) = start(&["-rate", "1/1000d", "-burst", "1", "-deny-cache", "10"]);
    let hits = || value(&http, "rl_deny_cache_hits_total");
    assert_eq!((http.get("/token").status, hits()), (200, 0.0));
    eventually("a denial from the cache", || {
        assert_eq!(http.get("/token").status, 429);
        (hits() >= 1.0).then_some(())
    });
}

#[test]
fn metrics_count_closed_connections_by_reason() {
    let flags = ["-header-timeout", "300ms", "-idle-timeout", "300ms"];
    let (_redis, http) = start(&flags);
    let idle = {
        let mut stream = http.connect();
        get(&mut stream, "/livez");
        stream
    };
    let silent = http.connect();
    for reason in ["header_timeout", "idle_timeout"] {
        let sample = format!("rl_connections_closed_total{{reason=\"{reason}\"}}");
        eventually(reason, || (value(&http, &sample) >= 1.0).then_some(()));
    }
    drop((idle, silent));

    // On a second server: on the first, -max-connections could evict the connections above before they time out.
    let (_redis, http) = start(&["-max-connections", "3"]);
    let evicted = r#"rl_connections_closed_total{reason="max_connections"}"#;
    let mut connections = Vec::new();
    eventually("an eviction", || {
        connections.push(http.connect());
        (value(&http, evicted) >= 1.0).then_some(())
    });
}

#[test]
fn callers_add_no_label_values_and_no_log_lines() {
    let (_redis, mut http) = start(&["-trusted-proxies", "127.0.0.1", "-log", "json"]);
    let mut stream = http.connect();
    let mut send_request = |n: u32| {
        let (method, path) = match n % 4 {
            0 => ("GET".to_owned(), "/token".to_owned()),
            1 => ("GET".to_owned(), "/leaky".to_owned()),
            2 => ("GET".to_owned(), format!("/path{n}")),
            _ => (format!("METHOD{n}"), "/token".to_owned()),
        };
        let [_, b, c, d] = n.to_be_bytes();
        send(
            &mut stream,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: h{n}\r\nX-Forwarded-For: 10.{b}.{c}.{d}\r\n\r\n"
            ),
        );
    };
    (0..8).for_each(&mut send_request);
    samples(&http);
    let before: Vec<_> = samples(&http).into_iter().map(|(name, _)| name).collect();
    (8..4000).for_each(&mut send_request);
    let after: Vec<_> = samples(&http).into_iter().map(|(name, _)| name).collect();
    assert_eq!(before, after);
    http.signal(Signal::SIGTERM);
    let log = http.rest_of_log();
    assert!(log.len() < 10, "{} lines, such as {}", log.len(), log[0]);
}

#[test]
fn metrics_and_health_can_have_their_own_address() {
    let redis = RedisServer::start();
    let flags = ["-redis", &redis.url(), "-metrics-addr", "127.0.0.1:0"];
    let mut http = HttpServer::start_alone(&flags);
    let line = http.wait_for_log("metrics on 127.0.0.1:");
    let port = line.rsplit(':').next().expect("a port");
    let operator_get = |path: &str| {
        let mut stream =
            TcpStream::connect(format!("127.0.0.1:{port}")).expect("the server listens");
        get(&mut stream, path)
    };
    assert_eq!(http.get("/metrics").status, 404);
    assert!(operator_get("/metrics").body.contains("rl_decisions_total"));
    assert_eq!(operator_get("/token").status, 404);
    eventually("the connection to Redis", || {
        (operator_get("/readyz").status == 200).then_some(())
    });
    assert_eq!(
        (operator_get("/livez").status, http.get("/livez").status),
        (200, 200)
    );
    http.signal(Signal::SIGTERM);
    assert_eq!(http.exit_code(), Some(0));
}

/// The metric families of `/metrics`.
fn families(http: &HttpServer) -> BTreeSet<String> {
    let body = http.get("/metrics").body;
    let types = body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let family = |line: &str| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        }
    };
    types.map(family).collect()
}

/// The metric families in the queries of the Grafana board, without the suffixes _bucket, _sum and _count.
fn families_of_the_board() -> BTreeSet<String> {
    let text = fs::read_to_string(project().join("server/grafana.json")).expect("the board");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    let words =
        queries.flat_map(|query| query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let ours = words.filter(|word| word.starts_with("rl_") || word.starts_with("http_"));
    let family = |word: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .fold(word.to_owned(), |word, end| {
                word.strip_suffix(end).map_or(word.clone(), str::to_owned)
            })
    };
    ours.map(family).collect()
}

#[test]
fn board_and_server_readme_have_every_metric() {
    let (_redis, http) = start(&[]);
    assert_eq!(http.get("/token").status, 200);
    let families = families(&http);
    assert_eq!(families_of_the_board(), families);
    let readme = document("server/README.md");
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let listed = rows.filter(|name| name.starts_with("rl_") || name.starts_with("http_server"));
    assert_eq!(listed.map(str::to_owned).collect::<BTreeSet<_>>(), families);
}
