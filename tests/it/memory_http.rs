//! Clients that send requests and read no answers, so that the server must hold them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rl_tests::{Http2, HttpServer, allow_files, connect_from, eventually, get};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::metrics::value;
use crate::serving::start;

const KIB: usize = 1 << 10;

/// The bound of server/README.md for one connection.
const PER_CONNECTION: usize = 160 * KIB;

/// Keeps idle connections open, so that a connection is closed only because its answers are not read.
const IDLE: [&str; 2] = ["-idle-timeout", "600s"];

/// The bytes that clients send which then read nothing.
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

/// A connection with a small receive buffer that reads nothing. It has sent as much of `bytes` as the server takes.
fn connect_unread(http: &HttpServer, bytes: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let addr = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], http.port())));
    socket.connect(&addr).expect("the server listens");
    socket.set_nonblocking(true).expect("set");
    let mut stream = TcpStream::from(socket);
    send_available(&mut stream, bytes);
    stream
}

/// Sends the bytes that the server takes at once, unless it has closed the connection.
fn send_available(stream: &mut TcpStream, bytes: &[u8]) {
    use ErrorKind::{BrokenPipe, ConnectionReset, WouldBlock};
    if let Err(error) = stream.write(bytes) {
        let is_expected = matches!(error.kind(), BrokenPipe | ConnectionReset | WouldBlock);
        assert!(is_expected, "{error}");
    }
}

/// The peak of the memory that the server holds, once it has stopped growing.
fn peak(http: &HttpServer) -> usize {
    let mut peak = 0;
    let mut unchanged = 0;
    eventually("the memory to stop growing", || {
        thread::sleep(Duration::from_millis(100));
        let memory = http.memory();
        unchanged = if memory > peak { 0 } else { unchanged + 1 };
        peak = peak.max(memory);
        (unchanged == 5).then_some(peak)
    })
}

/// The memory that the server holds for each of `connections` that send `bytes` and read nothing. It serves other
/// callers meanwhile.
fn memory_per_connection(name: &str, bytes: &[u8], connections: usize) -> usize {
    let (_redis, http) = start(&IDLE);
    // Allocates what a server without such clients holds too: first connections, the page, the rendered metrics.
    for path in ["/token", "/", "/metrics"] {
        assert_eq!(http.get(path).status, 200);
    }
    let before = http.memory();
    let held: Vec<_> = (0..connections)
        .map(|_| connect_unread(&http, bytes))
        .collect();
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
        let each = memory_per_connection(name, &bytes, 200);
        assert!(each <= PER_CONNECTION, "{name}: {} KiB", each / KIB);
    }
}

/// The default of -max-connections, less a few for other callers.
#[test]
#[ignore = "make test-full"]
fn ten_thousand_clients_that_read_nothing_hold_bounded_memory() {
    allow_files(10_100);
    for (name, bytes) in attacks() {
        let each = memory_per_connection(name, &bytes, 9990);
        assert!(each <= PER_CONNECTION, "{name}: {} KiB", each / KIB);
    }
}

/// Waits until `count` connections were closed because their answers were not read.
fn wait_for_closed(http: &HttpServer, count: f64) {
    let closed = r#"rl_connections_closed_total{reason="response_timeout"}"#;
    eventually("connections to be closed", || {
        (value(http, closed) >= count).then_some(())
    });
}

#[test]
fn a_connection_whose_answers_are_not_read_is_closed() {
    let few = |window, path| {
        let client = Http2::with_window(window);
        let client = (0..10).fold(client, |client, _| client.get(path));
        client.bytes().to_vec()
    };
    let mut attacks = attacks();
    // The HTTP/2 attacks exceed the maximum of concurrent streams, which could close their connections too.
    attacks.retain(|(name, _)| name.starts_with("HTTP/1.1"));
    attacks.push(("HTTP/2, no byte", few(0, "/token")));
    attacks.push(("HTTP/2, one byte", few(1, "/token")));
    attacks.push(("HTTP/2 /metrics, one byte", few(1, "/metrics")));
    let (_redis, http) = start(&IDLE);
    let mut kept = http.connect();
    let count = attacks.len();
    let held: Vec<_> = attacks
        .iter()
        .map(|(_, bytes)| connect_unread(&http, bytes))
        .collect();
    assert_eq!(get(&mut kept, "/token").status, 200);
    wait_for_closed(&http, f64::from(u32::try_from(count).expect("few")));
    assert_eq!(get(&mut kept, "/token").status, 200, "one that reads");
    drop(held);
}

/// The server does not hold the other answers for a client that reads one now and then.
#[test]
fn a_client_that_reads_one_answer_in_many_is_closed_too() {
    let (_redis, http) = start(&IDLE);
    let mut client = Http2::with_window(0).get("/token");
    let mut stream = connect_unread(&http, client.bytes());
    let closed = r#"rl_connections_closed_total{reason="response_timeout"}"#;
    eventually("the connection to be closed", || {
        // One more request each time, and a window for its answer.
        let (sent, number) = (client.bytes().len(), client.next_stream());
        client = client.clone().get("/livez");
        client = client.clone().frame(8, 0, number, &100_u32.to_be_bytes());
        send_available(&mut stream, &client.bytes()[sent..]);
        (value(&http, closed) >= 1.0).then_some(())
    });
}

/// The delay of a shaped request does not count towards the response timeout.
#[test]
fn a_shaped_answer_may_take_longer_than_the_response_timeout() {
    let (_redis, http) = start(&["-shape", "-rate", "1/13s", "-burst", "2"]);
    let mut stream = http.connect();
    assert_eq!(get(&mut stream, "/leaky").status, 200);
    let shaped = get(&mut stream, "/leaky");
    assert_eq!(shaped.status, 200);
    let delay_ms: u64 = shaped.field("delay_ms").expect("a delay").parse().unwrap();
    assert!(delay_ms > 11_000, "{shaped:?}");
}

/// The bound of server/README.md.
const MAX_METRICS: usize = 80 * KIB;

/// Every method on every route, with every status that a client or Redis can cause.
fn send_every_request(http: &HttpServer) {
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
fn metrics_have_a_maximum_size_whatever_clients_send() {
    let flags = [
        "-trust-caller",
        "-cors-origins",
        "https://a.example",
        "-deadline",
        "1s",
    ];
    let (redis, http) = start(&flags);
    let size = || http.get("/metrics").body.len();
    let initial = size();
    send_every_request(&http);
    redis.kill();
    eventually("the outage", || {
        (http.get("/readyz").status == 503).then_some(())
    });
    send_every_request(&http);
    // Waits for a new rendering of the metrics.
    let redis_up = || value(&http, "rl_redis_up");
    assert_eq!(redis_up(), 0.0);
    let largest = size();
    println!("/metrics: {initial} bytes at the start, {largest} at the end");
    assert!(largest <= MAX_METRICS, "{largest} bytes");
    send_every_request(&http);
    redis_up();
    assert!(size().abs_diff(largest) < 2 * KIB, "it still grows");
}
