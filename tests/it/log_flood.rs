//! A client that repeats a fault does not flood the log.

use std::io::{ErrorKind, Read, Write};
use std::thread;

use nix::sys::signal::Signal;
use rl_tests::{Http2, HttpServer};

use crate::serving::start;

/// How many connections each of [`AT_A_TIME`] threads opens in turn for each flood.
const TIMES: usize = 5;
const AT_A_TIME: usize = 40;

fn http2() -> Http2 {
    Http2::with_window(65_535)
}

/// What a connection sends, with a name.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let resets = (0..400).fold(http2(), |client, _| client.get("/token").reset());
    let unknown_ack = (0..400).fold(http2(), |client, _| client.frame(6, 1, 0, &[7; 8]));
    let connection_line = [
        &[0x82, 0x86, 0x84, 0x41, 1, b'a', 0x40, 10][..],
        b"connection\x05close",
    ]
    .concat();
    let capital_letter = (0..400).fold(http2(), |client, _| {
        client.head(&[0x82, 0x86, 0x84, 0x41, 1, b'a', 0x40, 1, b'A', 1, b'b'])
    });
    let connect = [
        0x42, 7, b'C', b'O', b'N', b'N', b'E', b'C', b'T', 0x41, 1, b'a',
    ];
    let long_head = format!("GET /token HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let http1 = |text: &str| text.as_bytes().to_vec();
    let of = |client: Http2| client.bytes().to_vec();
    vec![
        ("streams that are reset", of(resets)),
        ("acknowledged pings that were not sent", of(unknown_ack)),
        (
            "heads with a connection line",
            of(http2().head(&connection_line)),
        ),
        ("heads with a capital letter", of(capital_letter)),
        ("CONNECT", of(http2().head(&connect))),
        ("an invalid header block", of(http2().head(&[0xff; 40]))),
        (
            "DATA on a stream that is not open",
            of(http2().frame(0, 0, 7, b"x")),
        ),
        (
            "a window that overflows",
            of(http2().frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ),
        (
            "a frame that is too long",
            of(http2().frame(0, 0, 1, &[0; 20_000])),
        ),
        (
            "SETTINGS of a wrong length",
            of(http2().frame(4, 0, 0, &[0; 5])),
        ),
        (
            "an invalid preface",
            http1("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
        ),
        (
            "an invalid request line",
            http1("\u{1}\u{2}\u{3} / HTTP/9.9\r\n\r\n"),
        ),
        ("a head that is too long", http1(&long_head)),
        (
            "a line without a colon",
            http1("GET / HTTP/1.1\r\nHost\r\n\r\n"),
        ),
        ("no host", http1("GET / HTTP/1.1\r\n\r\n")),
        (
            "two lengths",
            http1("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        ),
        (
            "invalid chunks",
            http1("POST /token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        ),
        ("half a head", http1("GET /token HT")),
    ]
}

/// Sends bytes on a new connection, and reads until the server closes it.
fn send(http: &HttpServer, bytes: &[u8]) {
    let mut stream = http.connect();
    let sent = stream.write_all(bytes);
    let ended = sent.and_then(|()| stream.read_to_end(&mut Vec::new()));
    if let Err(error) = ended {
        use ErrorKind::{BrokenPipe, ConnectionReset};
        let is_closed = matches!(error.kind(), BrokenPipe | ConnectionReset);
        assert!(is_closed, "{error}");
    }
}

#[test]
fn what_a_client_repeats_logs_at_most_one_line() {
    for (name, bytes) in floods() {
        // The timeouts make the server close connections that expect no answer.
        let flags = ["-header-timeout", "50ms", "-idle-timeout", "50ms"];
        let (_redis, mut http) = start(&flags);
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| (0..TIMES).for_each(|_| send(&http, &bytes)));
            }
        });
        assert_eq!(http.get("/token").status, 200, "{name}");
        http.signal(Signal::SIGTERM);
        let mut log = http.rest_of_log();
        log.retain(|line| !line.contains("SIGTERM") && !line.contains("finishing"));
        let lines = log.len();
        println!("{name}: {lines} lines");
        assert!(lines <= 1, "{name}: {lines} lines, such as {}", log[0]);
    }
}
