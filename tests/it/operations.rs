//! What operators use: health routes, the log, the version.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rl_tests::{
    Answer, Fault, FaultProxy, HttpServer, Port, RedisServer, artifacts, eventually, get,
};
use serde_json::Value;

use crate::http::start;
use crate::metrics::value;

fn assert_answer(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status, answer.body.as_str()), (status, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn a_server_is_ready_while_redis_decides_and_always_live() {
    let (redis, http) = start(&["-deadline", "1s"]);
    for path in ["/readyz", "/healthz"] {
        let ready = eventually("the connection to Redis", || {
            Some(http.get(path)).filter(|answer| answer.status == 200)
        });
        assert_answer(&ready, 200, r#"{"status":"ready","redis":"up"}"#);
    }
    redis.kill();
    let not_ready = eventually("the outage", || {
        Some(http.get("/readyz")).filter(|answer| answer.status == 503)
    });
    let error = r#"{"status":"not ready","redis":"down","error":"Redis does not answer"}"#;
    assert_answer(&not_ready, 503, error);
    assert_answer(&http.get("/livez"), 200, r#"{"status":"live"}"#);
    redis.restart();
    eventually("the connection to Redis", || {
        (http.get("/readyz").status == 200).then_some(())
    });
}

#[test]
fn a_redis_without_the_module_is_not_ready() {
    let redis = RedisServer::start_without_module(&[]);
    let address = format!("127.0.0.1:{}", redis.port());
    let http = HttpServer::start_alone(&["-redis", &address]);
    let answer = eventually("a reply of Redis", || {
        Some(http.get("/readyz")).filter(|answer| answer.body.contains("rl module"))
    });
    assert_eq!(answer.status, 503);
    assert_eq!(answer.field("redis"), Some("\"down\""));
}

#[test]
fn after_sigterm_a_server_serves_but_is_not_ready() {
    let (_redis, http) = start(&["-drain-delay", "600s"]);
    eventually("the connection to Redis", || {
        (http.get("/readyz").status == 200).then_some(())
    });
    http.signal(Signal::SIGTERM);
    let stopping = eventually("the signal to arrive", || {
        Some(http.get("/readyz")).filter(|answer| answer.status == 503)
    });
    assert_answer(&stopping, 503, r#"{"status":"stopping","redis":"up"}"#);
    assert_eq!(http.get("/livez").status, 200);
    assert_eq!(http.get("/token").status, 200);
}

/// Otherwise an outage of Redis would take all servers out of their load balancer.
#[test]
fn a_server_that_needs_no_redis_is_ready_without_it() {
    for mode in ["allow", "local"] {
        let closed_port = format!("127.0.0.1:{}", Port::free().number());
        let http = HttpServer::start_alone(&["-redis", &closed_port, "-on-outage", mode]);
        let body = r#"{"status":"ready","redis":"down","error":"Redis does not answer"}"#;
        assert_answer(&http.get("/readyz"), 200, body);
        assert_eq!(http.get("/token").status, 200);
        let degraded =
            r#"rl_decisions_total{algorithm="token",policy="default",outcome="degraded"}"#;
        assert_eq!(value(&http, degraded), 1.0);
    }
}

/// The port of `-metrics-addr 127.0.0.1:0`.
pub(crate) fn metrics_port(http: &HttpServer) -> u16 {
    let address = http.wait_for_log("metrics on ");
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.trim().parse().ok());
    port.expect("a port")
}

/// On both listeners, with the same errors as on the routes of callers.
#[test]
fn wrong_methods_and_paths_get_errors_on_operator_routes_too() {
    let redis = RedisServer::start();
    let flags = ["-redis", &redis.url(), "-metrics-addr", "127.0.0.1:0"];
    let http = HttpServer::start_alone(&flags);
    let operators = ("127.0.0.1", metrics_port(&http));
    let callers = ("127.0.0.1", http.port());
    let method = (405, "method not allowed; use GET or HEAD");
    let path = (
        404,
        "path not found; use /metrics, /top, /livez, /readyz or /healthz",
    );
    for (addr, request, (status, error)) in [
        (callers, "POST /livez", method),
        (callers, "DELETE /readyz", method),
        (operators, "POST /readyz", method),
        (operators, "POST /metrics", method),
        (operators, "GET /token", path),
        (operators, "POST /nowhere", path),
    ] {
        let send = |accept: &str| {
            let mut stream = TcpStream::connect(addr).expect("the server listens");
            let head = format!("{request} HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n");
            rl_tests::send(&mut stream, &head)
        };
        assert_answer(&send("*/*"), status, &format!(r#"{{"error":"{error}"}}"#));
        let problem = send("application/problem+json");
        assert_eq!(problem.status, status, "{request}: {problem:?}");
        let media_type = problem.header("content-type");
        assert_eq!(media_type, Some("application/problem+json"), "{request}");
        assert_eq!(problem.header("cache-control"), Some("no-store"));
        assert!(problem.body.contains(error), "{request}: {problem:?}");
    }
}

/// Health and metrics spend no token and create no bucket.
#[test]
fn health_requests_create_no_key() {
    let (redis, http) = start(&[]);
    for path in ["/livez", "/readyz", "/healthz", "/metrics"] {
        assert_eq!(http.get(path).status, 200, "{path}");
    }
    assert_eq!(redis.connect().line::<u64>("DBSIZE"), 0);
}

/// For any number of clients.
#[test]
fn health_requests_call_redis_at_most_4_times_a_second() {
    let (redis, http) = start(&[]);
    let (before, started) = (calls(&redis), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = http.connect();
                for path in ["/readyz", "/healthz", "/metrics"].repeat(100) {
                    assert_eq!(get(&mut stream, path).status, 200);
                }
            });
        }
    });
    let max = started.elapsed().as_millis() / 250 + 1;
    let calls = calls(&redis) - before;
    assert!((1..=max).contains(&calls), "{calls} calls, at most {max}");
}

/// The calls of RL.TOKEN that Redis has executed.
fn calls(redis: &RedisServer) -> u128 {
    redis.connect().calls_of("rl.token").into()
}

#[test]
fn clients_that_disconnect_do_not_cause_more_probes() {
    let redis = RedisServer::start_on_tcp(&[]);
    let proxy = FaultProxy::to(redis.port());
    let http = HttpServer::start(&["-redis", &proxy.address()]);
    // Slower than the clients wait, so that they disconnect before Redis replies.
    proxy.set(Fault::SlowReplies(Duration::from_millis(2)));
    let (before, started) = (calls(&redis), Instant::now());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut stream = http.connect();
                    let timeout = Duration::from_millis(10);
                    stream.set_read_timeout(Some(timeout)).expect("set");
                    let head = b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n";
                    stream.write_all(head).expect("sent");
                    let _ = stream.read(&mut [0; 1000]);
                }
            });
        }
    });
    assert_eq!(http.get("/readyz").status, 200);
    let max = started.elapsed().as_millis() / 250 + 1;
    let probes = calls(&redis) - before;
    assert!(probes <= max, "{probes} probes, at most {max}");
}

#[test]
fn a_json_log_has_one_object_a_line_and_debug_logs_decisions() {
    let (_redis, mut http) = start(&["-log", "json", "-log-level", "debug"]);
    for path in ["/token", "/leaky"] {
        assert_eq!(http.get(path).status, 200);
    }
    http.signal(Signal::SIGTERM);
    let log = http.rest_of_log();
    let events = log
        .iter()
        .map(|line| serde_json::from_str(line).expect(line));
    let events: Vec<Value> = events.collect();
    for event in &events {
        for field in ["timestamp", "level", "target"] {
            assert!(event[field].is_string(), "{event}");
        }
    }
    let decision = |key: &str| {
        let mut of_key = events.iter().filter(|event| event["key"] == key);
        of_key
            .next()
            .map(|event| (event["level"].clone(), event["outcome"].clone()))
    };
    for key in ["rl:token:127.0.0.1", "rl:leaky:127.0.0.1"] {
        assert_eq!(
            decision(key),
            Some(("DEBUG".into(), "Allowed".into())),
            "{log:?}"
        );
    }
    assert!(events.iter().any(|event| {
        event["message"]
            .as_str()
            .is_some_and(|message| message.contains("SIGTERM"))
    }));
}

#[test]
fn the_level_filters_the_log() {
    let log = |level: &str| {
        let output = Command::new("timeout")
            .args(["-s", "TERM", "2"])
            .arg(&artifacts().server)
            .args(["-addr", "127.0.0.1:0", "-log-level", level])
            .output()
            .expect("built");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(log("info").contains(" INFO "));
    assert!(!log("warn").contains(" INFO "));
}

#[test]
fn version_prints_the_version() {
    let output = Command::new(&artifacts().server).arg("-version").output();
    let output = output.expect("built");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "rl-server 0.1.0\n");
}
