//! Clients that make the server hold answers for them, and read none.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rl_tests::{Http2, HttpServer, allow_files, connect_from, eventually, get};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::metrics::value;
use crate::serving::start;

const KIB: usize = 1 << 10;

/// README's bound for one connection.
const PER_CONNECTION: usize = 160 * KIB;

/// Idle connections stay, so that only what is not read is closed.
const IDLE: [&str; 2] = ["-idle-timeout", "600s"];

/// What clients send that then read nothing.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let many = |window, path| {
        let client = Http2::with_window(window);
        let client = (0..200).fold(client, |client, _| client.get(path));
        client.bytes().to_vec()
    };
    let pipelined = |head: &str| head.repeat(3000).into_bytes();
    vec![
        ("HTTP/2 /token", many(0, "/token")),
        ("HTTP/2 /", many(0, "/")),
        ("HTTP/2 /metrics", many(0, "/metrics")),
        ("HTTP/2 /token, one byte", many(1, "/token")),
        ("HTTP/2 /metrics, one byte", many(1, "/metrics")),
        (
            "HTTP/1.1 /metrics",
            pipelined("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        (
            "HTTP/1.1 the page",
            pipelined("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n"),
        ),
        (
            "HTTP/1.1 HEAD",
            pipelined("HEAD /token HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
    ]
}

/// A connection with a small buffer for what it does not read, that has sent as much of this as the server takes.
fn deaf(http: &HttpServer, bytes: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let addr = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], http.port())));
    socket.connect(&addr).expect("the server listens");
    socket.set_nonblocking(true).expect("set");
    let mut stream = TcpStream::from(socket);
    push(&mut stream, bytes);
    stream
}

/// Sends what the server takes at once, unless it has closed the connection.
fn push(stream: &mut TcpStream, bytes: &[u8]) {
    use ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
    if let Err(error) = stream.write(bytes) {
        let is_expected = matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock);
        assert!(is_expected, "{error}");
    }
}

/// The most memory that the server holds until it takes no more.
fn peak(http: &HttpServer) -> usize {
    let mut peak = 0;
    let mut unchanged = 0;
    eventually("the server to have answered all", || {
        thread::sleep(Duration::from_millis(100));
        let memory = http.memory();
        unchanged = if memory > peak { 0 } else { unchanged + 1 };
        peak = peak.max(memory);
        (unchanged == 5).then_some(peak)
    })
}

/// Memory for each of so many connections that send this and read nothing; other callers are served meanwhile.
fn held_for_each(name: &str, bytes: &[u8], connections: usize) -> usize {
    let (_redis, http) = start(&IDLE);
    // What it needs in any case: its first connections, the page, a rendering of the metrics.
    for path in ["/token", "/", "/metrics"] {
        assert_eq!(http.get(path).status, 200);
    }
    let before = http.memory();
    let held: Vec<_> = (0..connections).map(|_| deaf(&http, bytes)).collect();
    let other = || get(&mut connect_from("127.0.0.2", http.port()), "/token");
    assert_eq!(other().status, 200, "{name}");
    let peak = peak(&http);
    assert_eq!(other().status, 200, "{name}");
    let each = (peak - before) / connections;
    println!(
        "{name}: {connections} connections, {} KiB each, {} MiB in all",
        each / KIB,
        peak >> 20
    );
    drop(held);
    each
}

#[test]
fn a_client_that_reads_nothing_holds_bounded_memory() {
    for (name, bytes) in attacks() {
        let each = held_for_each(name, &bytes, 200);
        assert!(each <= PER_CONNECTION, "{name}: {} KiB", each / KIB);
    }
}

/// As many as may be connected at a time.
#[test]
#[ignore = "make test-full"]
fn ten_thousand_clients_that_read_nothing_hold_it_too() {
    allow_files(10_100);
    for (name, bytes) in attacks() {
        let each = held_for_each(name, &bytes, 9990);
        assert!(each <= PER_CONNECTION, "{name}: {} KiB", each / KIB);
    }
}

/// Waits until so many connections were closed since their answers were not read.
fn wait_for_closed(http: &HttpServer, count: f64) {
    let closed = r#"rl_connections_closed_total{reason="response_timeout"}"#;
    eventually("connections to be closed", || {
        (value(http, closed) >= count).then_some(())
    });
}

#[test]
fn whoever_reads_no_answer_is_closed_in_time() {
    let few = |window, path| {
        let client = Http2::with_window(window);
        let client = (0..10).fold(client, |client, _| client.get(path));
        client.bytes().to_vec()
    };
    let mut attacks = attacks();
    // More requests at a time than may be could close a connection for that.
    attacks.retain(|(name, _)| name.starts_with("HTTP/1.1"));
    attacks.push(("HTTP/2, no byte", few(0, "/token")));
    attacks.push(("HTTP/2, one byte", few(1, "/token")));
    attacks.push(("HTTP/2 /metrics, one byte", few(1, "/metrics")));
    let (_redis, http) = start(&IDLE);
    let mut kept = http.connect();
    let count = attacks.len();
    let held: Vec<_> = attacks
        .iter()
        .map(|(_, bytes)| deaf(&http, bytes))
        .collect();
    assert_eq!(get(&mut kept, "/token").status, 200);
    wait_for_closed(&http, f64::from(u32::try_from(count).expect("few")));
    assert_eq!(get(&mut kept, "/token").status, 200, "one that reads");
    drop(held);
}

/// A client that takes one answer now and then does not keep the others.
#[test]
fn one_answer_that_is_read_does_not_excuse_the_others() {
    let (_redis, http) = start(&IDLE);
    let mut client = Http2::with_window(0).get("/token");
    let mut stream = deaf(&http, client.bytes());
    let closed = r#"rl_connections_closed_total{reason="response_timeout"}"#;
    eventually("the connection to be closed", || {
        // Another request each time, and a window for its answer.
        let (sent, number) = (client.bytes().len(), client.next_stream());
        client = client.clone().get("/livez");
        client = client.clone().frame(8, 0, number, &100_u32.to_be_bytes());
        push(&mut stream, &client.bytes()[sent..]);
        (value(&http, closed) >= 1.0).then_some(())
    });
}

/// The time that a request waits for its turn does not count.
#[test]
fn a_shaped_answer_may_take_longer_than_reading_may() {
    let (_redis, http) = start(&["-shape", "-rate", "1/13s", "-burst", "2"]);
    let mut stream = http.connect();
    assert_eq!(get(&mut stream, "/leaky").status, 200);
    let shaped = get(&mut stream, "/leaky");
    assert_eq!(shaped.status, 200);
    let delay_ms: u64 = shaped.field("delay_ms").expect("a delay").parse().unwrap();
    assert!(delay_ms > 11_000, "{shaped:?}");
}

/// README's bound.
const LARGEST_METRICS: usize = 80 * KIB;

/// Every method on every route, with every status that a client or Redis can cause.
fn touch_everything(http: &HttpServer) {
    let routes = [
        "/",
        "/token",
        "/leaky",
        "/livez",
        "/readyz",
        "/healthz",
        "/metrics",
        "/page.css",
        "/none",
    ];
    for route in routes {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "BREW"] {
            for (query, line) in [
                ("", "Host: a"),
                ("?cost=x", "Host: a"),
                ("?rate=1/1000d&burst=1&key=k", "Host: a"),
                ("", "Host: a b"),
                ("", "Host: a\r\nSec-Fetch-Site: cross-site"),
                (
                    "",
                    "Host: a\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET",
                ),
            ] {
                let head = format!(
                    "{method} {route}{query} HTTP/1.1\r\n{line}\r\nConnection: close\r\n\r\n"
                );
                let mut stream = http.connect();
                stream.write_all(head.as_bytes()).expect("sent");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).expect("an answer");
                assert!(answer.starts_with(b"HTTP/1.1 "), "{head}");
            }
        }
    }
}

#[test]
fn metrics_have_a_largest_size_whatever_is_asked() {
    let flags = [
        "-trust-caller",
        "-cors-origins",
        "https://a.example",
        "-deadline",
        "1s",
    ];
    let (redis, http) = start(&flags);
    let size = || http.get("/metrics").body.len();
    let first = size();
    touch_everything(&http);
    redis.kill();
    eventually("no Redis", || {
        (http.get("/readyz").status == 503).then_some(())
    });
    touch_everything(&http);
    let samples = || value(&http, "rl_redis_up");
    assert_eq!(samples(), 0.0);
    let largest = size();
    println!("/metrics: {first} bytes at first, {largest} at most");
    assert!(largest <= LARGEST_METRICS, "{largest} bytes");
    touch_everything(&http);
    samples();
    assert!(size().abs_diff(largest) < 2 * KIB, "it grows on");
}
