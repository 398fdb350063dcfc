//! `-shape`: answers that wait for their delay.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;
use rl_tests::{Answer, HttpServer, eventually, send};

use crate::http::start;
use crate::metrics::value;

/// One request in a thousand days, so that a delayed request waits for longer than any test.
const SLOW: [&str; 3] = ["-shape", "-rate", "1/1000d"];

/// Requests that wait for their delay.
fn waiting(http: &HttpServer) -> f64 {
    value(http, "rl_shaping_waiting")
}

fn wait_for_waiting(http: &HttpServer, count: f64) {
    eventually("the requests to wait", || {
        (waiting(http) == count).then_some(())
    });
}

/// Sends a request that is delayed, on its own connection.
fn start_waiting(http: &HttpServer) -> TcpStream {
    let before = waiting(http);
    let mut stream = http.connect();
    stream
        .write_all(b"GET /leaky HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    wait_for_waiting(http, before + 1.0);
    stream
}

fn assert_refused(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, format!(r#"{{"error":"{error}"}}"#));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("ratelimit"), None);
}

/// No answer arrives before it is due, on a slow machine too.
#[test]
fn answers_leave_at_the_rate_after_their_delay() {
    let (_redis, http) = start(&["-shape", "-rate", "10", "-burst", "8"]);
    let started = Instant::now();
    let answers: Vec<_> = thread::scope(|scope| {
        let request = || (http.get("/leaky"), started.elapsed());
        let requests: Vec<_> = (0..8).map(|_| scope.spawn(request)).collect();
        requests
            .into_iter()
            .map(|request| request.join().expect("an answer"))
            .collect()
    });
    let mut waits_ms = Vec::new();
    for (answer, wait) in &answers {
        assert_eq!(answer.status, 200);
        let delay_ms = answer.field("delay_ms").and_then(|ms| ms.parse().ok());
        assert!(
            wait.as_millis() >= delay_ms.expect("a delay"),
            "{wait:?} {answer:?}"
        );
        waits_ms.push(wait.as_millis());
    }
    assert_spaced(waits_ms);
}

/// Checks that the first answer may come at once, and each later one no sooner than 100 ms after the one before was due.
pub(crate) fn assert_spaced(mut waits_ms: Vec<u128>) {
    waits_ms.sort_unstable();
    let mut pairs = waits_ms.iter().zip((0..).step_by(100));
    assert!(
        pairs.all(|(wait_ms, due_ms)| *wait_ms >= due_ms),
        "{waits_ms:?}"
    );
}

#[test]
fn only_leaky_waits_and_only_with_shape() {
    let (_redis, http) = start(&SLOW);
    for _ in 0..2 {
        assert_eq!(http.get("/token").status, 200);
    }
    let (_redis, http) = start(&SLOW[1..]);
    for _ in 0..2 {
        assert_eq!(http.get("/leaky").status, 200);
    }
}

#[test]
fn a_denied_request_does_not_wait() {
    let (_redis, http) = start(&[&SLOW[..], &["-burst", "1"]].concat());
    assert_eq!(http.get("/leaky").status, 200);
    assert_eq!(http.get("/leaky").status, 429);
}

#[test]
fn above_shape_waiting_an_allowed_request_gets_503() {
    let (redis, http) = start(&[&SLOW[..], &["-shape-waiting", "2"]].concat());
    assert_eq!(
        http.get("/leaky").status,
        200,
        "the first request has no delay"
    );
    let _waiting = [start_waiting(&http), start_waiting(&http)];
    assert_refused(
        &http.get("/leaky"),
        "too many requests wait for their delay; try again later",
    );
    assert_eq!(value(&http, "rl_shaping_refused_total"), 1.0);
    assert_eq!(
        redis.connect().limit("RL.PEEK rl:leaky:127.0.0.1 COST 0")[2],
        16
    );
}

#[test]
fn a_client_that_disconnects_frees_its_slot_not_its_tokens() {
    let (redis, http) = start(&[&SLOW[..], &["-shape-waiting", "1"]].concat());
    assert_eq!(http.get("/leaky").status, 200);
    let waiting = start_waiting(&http);
    assert_eq!(http.get("/leaky").status, 503);
    drop(waiting);
    wait_for_waiting(&http, 0.0);
    let _next = start_waiting(&http);
    assert_eq!(
        redis.connect().limit("RL.PEEK rl:leaky:127.0.0.1 COST 0")[2],
        16
    );
}

/// Over HTTP/2, where the connection stays open.
#[test]
fn a_stream_that_is_reset_frees_its_slot() {
    let (_redis, http) = start(&SLOW);
    assert_eq!(http.get("/leaky").status, 200);
    let mut stream = http.connect();
    stream
        .write_all(&crate::serving::http2_request("/leaky"))
        .expect("sent");
    wait_for_waiting(&http, 1.0);
    let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
    stream.write_all(&reset).expect("sent");
    wait_for_waiting(&http, 0.0);
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    stream.write_all(&ping).expect("the connection is open");
}

#[test]
fn shutdown_drains_or_rejects_shaped_requests() {
    let flags = [
        "-shape",
        "-rate",
        "1/3s",
        "-burst",
        "3",
        "-drain-deadline",
        "600s",
    ];
    let (_redis, mut http) = start(&flags);
    assert_eq!(http.get("/leaky").status, 200);
    let mut in_time = start_waiting(&http);
    http.signal(Signal::SIGTERM);
    assert_eq!(send(&mut in_time, "").status, 200);
    assert_eq!(http.exit_code(), Some(0));

    let (_redis, mut http) = start(&[&SLOW[..], &["-drain-deadline", "600s"]].concat());
    assert_eq!(http.get("/leaky").status, 200);
    let mut too_late = start_waiting(&http);
    http.signal(Signal::SIGTERM);
    let error = "the server stops before the delay of this request is over; try again later";
    assert_refused(&send(&mut too_late, ""), error);
    assert_eq!(too_late.read(&mut [0]).expect("the end"), 0);
    assert_eq!(http.exit_code(), Some(0));
}

/// The server does not close the connection of a delayed request.
#[test]
fn a_delay_may_be_longer_than_the_timeouts() {
    let flags = [
        "-shape",
        "-rate",
        "1/2s",
        "-burst",
        "3",
        "-header-timeout",
        "300ms",
        "-idle-timeout",
        "300ms",
    ];
    let (_redis, http) = start(&flags);
    let statuses = [(); 2].map(|()| http.get("/leaky").status);
    assert_eq!(statuses, [200, 200]);
}
