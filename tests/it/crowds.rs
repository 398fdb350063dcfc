//! Many hostile connections, with a healthy client among them. Each test prints its figures.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use rl_tests::{HttpServer, Port, Stop, allow_files, eventually, get};

use crate::serving::start;

const MIB: usize = 1 << 20;

/// What a healthy client saw. It sends requests on one persistent connection and on new ones in turn.
struct Service {
    answers: usize,
    slowest: Duration,
}

impl Service {
    /// Sends requests until `stop` is set. Each answer must be a decision, and the persistent connection must never be
    /// closed.
    fn of(http: &HttpServer, stop: &Stop) -> Self {
        let mut service = Self {
            answers: 0,
            slowest: Duration::ZERO,
        };
        let mut kept = http.connect();
        while !stop.is_set() {
            for stream in [&mut kept, &mut http.connect()] {
                let start = Instant::now();
                let answer = get(stream, "/token");
                assert!(matches!(answer.status, 200 | 429), "{answer:?}");
                service.slowest = service.slowest.max(start.elapsed());
                service.answers += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        service
    }

    fn print(&self, crowd: &str, http: &HttpServer) {
        let memory = http.memory() / MIB;
        println!(
            "{crowd}: {} answers, the slowest after {:?}, {memory} MiB",
            self.answers, self.slowest
        );
    }
}

/// Sends request heads byte by byte on `count` connections, and opens a new one for each that is closed. Returns how
/// many were closed.
fn trickle(http: &HttpServer, count: usize, stop: &Stop) -> usize {
    let head = b"GET /token HTTP/1.1\r\nX-Slow: ";
    let open = || {
        let mut stream = http.connect();
        let sent = stream.write_all(head);
        sent.is_ok().then_some(stream)
    };
    let mut closed = 0;
    let mut streams: Vec<Option<TcpStream>> = (0..count).map(|_| open()).collect();
    while !stop.is_set() {
        for stream in &mut streams {
            let sent = stream.as_mut().map(|stream| stream.write_all(b"x"));
            if !matches!(sent, Some(Ok(()))) {
                closed += 1;
                *stream = open();
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    closed
}

/// Runs a healthy client among a thousand that send their heads byte by byte, for three times the header timeout.
fn serves_among_the_slow(flags: &[&str], crowd: &str) {
    allow_files(4000);
    let (_redis, http) = start(flags);
    let before = http.memory();
    let stop = Stop::default();
    let (service, closed) = thread::scope(|scope| {
        let slow = scope.spawn(|| trickle(&http, 1000, &stop));
        let healthy = scope.spawn(|| Service::of(&http, &stop));
        stop.after(|| thread::sleep(Duration::from_secs(15)));
        (healthy.join().expect("healthy"), slow.join().expect("slow"))
    });
    service.print(crowd, &http);
    println!("{crowd}: {closed} slow connections closed by the server");
    assert!(service.answers > 0 && closed >= 1000);
    assert!(http.memory() < before + 100 * MIB);
}

#[test]
#[ignore = "make test-full"]
fn a_thousand_slow_heads_do_not_block_healthy_clients() {
    serves_among_the_slow(&[], "a thousand slow heads");
}

/// With five times as many slow clients as the server allows connections.
#[test]
#[ignore = "make test-full"]
fn slow_heads_on_all_connections_do_not_block_healthy_clients() {
    let flags = ["-max-connections", "200"];
    serves_among_the_slow(&flags, "a thousand slow heads for 200 connections");
}

/// Opens ten thousand connections, sends a request on every second one, and drops all.
fn open_and_drop(http: &HttpServer) {
    let crowd: Vec<TcpStream> = (0..10_000)
        .map(|n| {
            let mut stream = http.connect();
            if n % 2 == 0 {
                assert_eq!(get(&mut stream, "/token").status, 200);
            }
            stream
        })
        .collect();
    drop(crowd);
    eventually("the server to have closed them", || {
        let body = http.get("/metrics").body;
        let open = body
            .lines()
            .find_map(|line| line.strip_prefix("rl_connections "));
        // The one for this request, and the healthy client's two.
        (open?.parse::<usize>().ok()? <= 3).then_some(())
    });
}

#[test]
#[ignore = "make test-full"]
fn ten_thousand_dropped_connections_leak_no_memory() {
    allow_files(10_100);
    let (_redis, http) = start(&["-max-connections", "11000", "-header-timeout", "600s"]);
    let stop = Stop::default();
    let (service, memory) = thread::scope(|scope| {
        let healthy = scope.spawn(|| Service::of(&http, &stop));
        let memory = stop.after(|| {
            [(); 6].map(|()| {
                open_and_drop(&http);
                http.memory()
            })
        });
        (healthy.join().expect("healthy"), memory)
    });
    service.print(
        "ten thousand connections opened and dropped, six times",
        &http,
    );
    println!("after each time: {:?} MiB", memory.map(|bytes| bytes / MIB));
    assert!(memory.iter().all(|bytes| *bytes < 500 * MIB));
    assert!(
        memory[5] < memory[3] + memory[3] / 8,
        "memory grows with each round"
    );
}

/// Every request may set its client address.
const TRUSTING: [&str; 2] = ["-trusted-proxies", "127.0.0.1"];

/// Sends one request for each caller, 250 in one write. Every answer must contain `text`.
fn request_for(http: &HttpServer, callers: Range<u32>, text: &str) {
    let mut stream = http.connect();
    let mut answers = vec![0; MIB];
    for first in callers.step_by(250) {
        let request = |n| {
            let address = Ipv4Addr::from_bits(0x0a00_0000 + n);
            format!("GET /token HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: {address}\r\n\r\n")
        };
        let requests: String = (first..first + 250).map(request).collect();
        stream.write_all(requests.as_bytes()).expect("sent");
        let (mut length, mut ends) = (0, 0);
        while ends < 250 {
            let read = stream.read(&mut answers[length..]).expect("answers");
            assert!(read > 0, "the connection was closed");
            // The closing brace of the body ends an answer and occurs nowhere else.
            ends += answers[length..length + read]
                .iter()
                .filter(|byte| **byte == b'}')
                .count();
            length += read;
        }
        let answers = String::from_utf8_lossy(&answers[..length]);
        assert_eq!(answers.matches(text).count(), 250, "{answers}");
    }
}

/// Serves a million callers and a healthy client, and checks the server's memory after each quarter.
fn serves_a_million(http: &HttpServer, text: &str, crowd: &str) {
    let stop = Stop::default();
    let start = Instant::now();
    let (service, memory) = thread::scope(|scope| {
        let healthy = scope.spawn(|| Service::of(http, &stop));
        let quarter = |n: u32| {
            let first = n * 250_000;
            thread::scope(|scope| {
                for callers in [first..first + 125_000, first + 125_000..first + 250_000] {
                    scope.spawn(|| request_for(http, callers, text));
                }
            });
            http.memory()
        };
        let memory = stop.after(|| [0, 1, 2, 3].map(quarter));
        (healthy.join().expect("healthy"), memory)
    });
    service.print(crowd, http);
    println!(
        "{crowd}: {:?}, {:?} MiB after each quarter",
        start.elapsed(),
        memory.map(|bytes| bytes / MIB)
    );
    assert!(
        memory[3] < 100 * MIB && memory[3] < memory[1] + 4 * MIB,
        "{memory:?}"
    );
}

/// The buckets never refill, so only the bound of the table limits memory.
#[test]
#[ignore = "make test-full"]
fn a_million_callers_without_redis_take_bounded_memory() {
    let unused = format!("127.0.0.1:{}", Port::free().number());
    let flags = [
        "-redis",
        &unused,
        "-on-outage",
        "local",
        "-rate",
        "1/1000d",
        "-burst",
        "1000000",
    ];
    let http = HttpServer::start_alone(&[&flags[..], &TRUSTING].concat());
    serves_a_million(
        &http,
        r#""degraded":true"#,
        "a million callers without Redis",
    );
}

/// At the default rate, at which a bucket expires after at most two seconds.
#[test]
#[ignore = "make test-full"]
fn a_million_callers_take_bounded_memory_in_server_and_redis() {
    let (redis, http) = start(
        &[
            &["-rate", "10", "-burst", "20", "-deny-cache", "10000"],
            &TRUSTING[..],
        ]
        .concat(),
    );
    serves_a_million(&http, r#""allowed":true"#, "a million callers with Redis");
    let used = redis.connect().info("memory", "used_memory");
    let used = used
        .and_then(|used| used.parse::<usize>().ok())
        .expect("a number");
    println!(
        "a million callers with Redis: used_memory {} MiB",
        used / MIB
    );
    assert!(used < 100 * MIB);
}
