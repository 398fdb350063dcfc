//! Connections: timeouts, limits of one, their number, shutdown.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rl_tests::{HttpServer, PATIENCE, RedisServer, cpu_seconds, eventually, get, send};

/// Longer than any test waits.
const NEVER: &str = "600s";

/// A server with a policy that denies no call of a test.
pub(crate) fn start(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let flags = [
        &[
            "-redis",
            &redis.url(),
            "-rate",
            "1000000",
            "-burst",
            "1000000",
        ],
        flags,
    ];
    let http = HttpServer::start(&flags.concat());
    (redis, http)
}

/// Reads until the server closes the connection. Returns what it sent.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&read).into_owned(),
    }
}

/// A connection on which one request was answered.
fn connect_and_get(http: &HttpServer) -> TcpStream {
    let mut stream = http.connect();
    assert_eq!(get(&mut stream, "/token").status, 200);
    stream
}

fn hold_requests(redis: &RedisServer, http: &HttpServer, count: usize) -> Vec<TcpStream> {
    hold_requests_over(redis, || http.connect(), count)
}

/// Holds requests in flight: Redis answers no write until the pause ends.
pub(crate) fn hold_requests_over<S: Write>(
    redis: &RedisServer,
    connect: impl Fn() -> S,
    count: usize,
) -> Vec<S> {
    let mut redis = redis.connect();
    redis.value("CLIENT PAUSE 600000 WRITE");
    let held = (0..count).map(|n| {
        let mut stream = connect();
        let request = format!("GET /token HTTP/1.1\r\nHost: held{n}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    });
    let held = held.collect();
    eventually("the requests to be held", || {
        let clients: String = redis.line("CLIENT LIST");
        let mut ours = clients.lines().filter(|line| line.contains("cmd=rl.token"));
        ours.any(|line| line.contains("flags=b")).then_some(())
    });
    held
}

#[test]
fn header_timeout_closes_connections_without_a_request() {
    let (_redis, http) = start(&["-header-timeout", "3s", "-idle-timeout", NEVER]);
    let mut used = connect_and_get(&http);
    let mut silent = http.connect();
    let mut half = http.connect();
    half.write_all(b"GET /token HTTP/1.1\r\nHost: te")
        .expect("sent");
    assert_eq!(read_to_end(&mut silent), "");
    assert_eq!(read_to_end(&mut half), "");
    assert_eq!(get(&mut used, "/token").status, 200);
}

#[test]
fn a_head_sent_byte_by_byte_times_out() {
    let (_redis, http) = start(&["-header-timeout", "300ms"]);
    let mut slow = http.connect();
    let head = format!("GET /token HTTP/1.1\r\nX: {}", "x".repeat(10_000));
    let mut bytes = head.bytes();
    let error = bytes.find_map(|byte| {
        thread::sleep(Duration::from_millis(20));
        slow.write_all(&[byte]).err()
    });
    assert!(error.is_some(), "the connection outlived -header-timeout");
}

#[test]
fn an_idle_connection_is_closed_in_both_versions_of_http() {
    let (_redis, http) = start(&["-idle-timeout", "300ms"]);
    assert_eq!(read_to_end(&mut connect_and_get(&http)), "");
    let mut http2 = http.connect();
    http2.write_all(&http2_request("/token")).expect("sent");
    let frames = read_to_end(&mut http2);
    assert!(frames.contains("Request allowed"), "{frames}");
}

/// The server pings it after 20 s, and waits 10 s for the answer.
#[test]
#[ignore = "make test-full"]
fn an_http_2_client_that_answers_no_ping_is_disconnected() {
    let (_redis, http) = start(&["-idle-timeout", NEVER]);
    let mut silent = http.connect();
    silent.write_all(&http2_request("/token")).expect("sent");
    assert!(read_to_end(&mut silent).contains("Request allowed"));
}

/// The client's preface, its settings and one GET (RFC 9113 and 7541), with names and values from the static table.
pub(crate) fn http2_request(path: &str) -> Vec<u8> {
    let path_length = u8::try_from(path.len()).expect("short");
    let (get, http, authority) = (0x82, 0x86, 0x41);
    let mut head = vec![get, http, 0x04, path_length];
    head.extend(path.bytes());
    head.extend([authority, 1, b'a']);
    let length = u8::try_from(head.len()).expect("short");
    let (end_stream, end_headers) = (0x1, 0x4);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let headers = [0, 0, length, 1, end_stream | end_headers, 0, 0, 0, 1];
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &settings[..],
        &headers,
        &head,
    ]
    .concat()
}

#[test]
fn http_2_is_served_without_tls() {
    let (_redis, http) = start(&[]);
    let url = format!("http://127.0.0.1:{}/token", http.port());
    let output = Command::new("curl")
        .args([
            "-sS",
            "--http2-prior-knowledge",
            "-w",
            " %{http_version}",
            &url,
        ])
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with(r#"{"allowed":true,"ip":"127.0.0.1","#),
        "{output:?}"
    );
    assert!(text.ends_with("} 2"), "{text}");
}

#[test]
fn a_head_that_is_too_large_gets_431() {
    let (_redis, http) = start(&[]);
    let long = format!("X: {}\r\n", "x".repeat(17_000));
    let many = "X: x\r\n".repeat(101);
    for fields in [long, many] {
        let request = format!("GET /token HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
        let mut stream = http.connect();
        assert_eq!(send(&mut stream, &request).status, 431);
        assert_eq!(read_to_end(&mut stream), "");
    }
    let fits = format!(
        "GET /token HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n",
        "x".repeat(10_000)
    );
    assert_eq!(send(&mut http.connect(), &fits).status, 200);
}

#[test]
fn a_client_that_reads_no_answers_is_disconnected() {
    let (_redis, http) = start(&["-idle-timeout", "500ms"]);
    let mut stream = http.connect();
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    let requests = "GET /livez HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1000);
    let errors = std::iter::repeat_with(|| stream.write_all(requests.as_bytes()).err());
    let error = errors.take(100_000).flatten().next().expect("an error");
    assert_ne!(error.kind(), ErrorKind::WouldBlock, "not closed in time");
}

#[test]
fn a_new_connection_replaces_the_longest_idle() {
    let (_redis, http) = start(&["-max-connections", "3", "-header-timeout", NEVER]);
    let mut first = connect_and_get(&http);
    let mut silent = http.connect();
    let mut third = connect_and_get(&http);
    assert_eq!(get(&mut first, "/token").status, 200);
    let mut fourth = connect_and_get(&http);
    assert_eq!(read_to_end(&mut silent), "");
    for stream in [&mut first, &mut third, &mut fourth] {
        assert_eq!(get(stream, "/token").status, 200);
    }
    http.wait_for_log("reached -max-connections");
}

#[test]
fn a_request_in_flight_is_not_evicted_and_new_connections_wait() {
    let (redis, http) = start(&["-max-connections", "2"]);
    let held = hold_requests(&redis, &http, 2);
    let mut waiting = http.connect();
    waiting
        .write_all(b"GET /token HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    http.wait_for_log("reached -max-connections");
    redis.connect().value("CLIENT UNPAUSE");
    for mut stream in held.into_iter().chain([waiting]) {
        assert_eq!(send(&mut stream, "").status, 200);
    }
}

/// Sets the limit of open files to the lowest free number, so that the server can open no further file.
fn allow_no_further_file(http: &HttpServer) {
    let is_open = |number: &u32| {
        fs::exists(format!("/proc/{}/fd/{number}", http.id())).expect("the server runs")
    };
    let lowest = (0..)
        .find(|number| !is_open(number))
        .expect("a free number");
    let status = Command::new("prlimit")
        .args([
            "--pid",
            &http.id().to_string(),
            &format!("--nofile={lowest}:"),
        ])
        .status();
    assert!(status.is_ok_and(|status| status.success()));
}

/// The server closes one more than it needs, because accept needs a free file even if no connection waits.
#[test]
fn out_of_files_the_server_closes_idle_connections() {
    let (_redis, http) = start(&["-header-timeout", NEVER]);
    let mut idle: Vec<_> = (0..3).map(|_| connect_and_get(&http)).collect();
    allow_no_further_file(&http);
    let mut further: Vec<_> = (0..2).map(|_| connect_and_get(&http)).collect();
    for stream in &mut idle {
        assert_eq!(read_to_end(stream), "");
    }
    for stream in &mut further {
        assert_eq!(get(stream, "/token").status, 200);
    }
    http.wait_for_log("cannot accept a connection: ");
}

#[test]
fn out_of_files_with_none_idle_the_server_waits_and_serves() {
    let (redis, http) = start(&[]);
    let held = hold_requests(&redis, &http, 2);
    allow_no_further_file(&http);
    let mut waiting = http.connect();
    waiting
        .write_all(b"GET /token HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    http.wait_for_log("cannot accept a connection: ");
    let before = cpu_seconds(http.id());
    thread::sleep(Duration::from_secs(2));
    let used_s = cpu_seconds(http.id()) - before;
    assert!(used_s < 1.0, "{used_s} s of CPU time");
    redis.connect().value("CLIENT UNPAUSE");
    for mut stream in held.into_iter().chain([waiting]) {
        assert_eq!(send(&mut stream, "").status, 200);
    }
}

#[test]
fn idle_connections_do_not_delay_shutdown() {
    let flags = [
        "-header-timeout",
        NEVER,
        "-idle-timeout",
        NEVER,
        "-drain-deadline",
        NEVER,
    ];
    let (_redis, mut http) = start(&flags);
    let _idle = connect_and_get(&http);
    let (_silent, mut half, mut http2) = (http.connect(), http.connect(), http.connect());
    half.write_all(b"GET /token HTTP/1.1\r\nHost: te")
        .expect("sent");
    http2.write_all(&http2_request("/token")).expect("sent");
    http2.read_exact(&mut [0; 9]).expect("its settings");
    http.signal(Signal::SIGTERM);
    assert_eq!(http.exit_code(), Some(0));
}

#[test]
fn requests_longer_than_the_drain_deadline_are_closed() {
    let (redis, mut http) = start(&["-drain-deadline", "300ms"]);
    let mut held = hold_requests(&redis, &http, 1);
    http.signal(Signal::SIGTERM);
    assert_eq!(read_to_end(&mut held[0]), "");
    http.wait_for_log("closed 1 connections with requests in flight");
    assert_eq!(http.exit_code(), Some(0));
}

#[test]
fn the_server_serves_during_the_drain_delay() {
    let (_redis, http) = start(&["-drain-delay", NEVER]);
    http.signal(Signal::SIGTERM);
    http.wait_for_log(
        "SIGTERM: accepting connections for 600 s more, then finishing requests within 10 s",
    );
    connect_and_get(&http);
}

#[test]
fn the_server_exits_after_the_drain_delay() {
    let (_redis, mut http) = start(&["-drain-delay", "300ms"]);
    http.signal(Signal::SIGTERM);
    assert_eq!(http.exit_code(), Some(0));
}
