//! Crowds of connections that mean harm, and healthy clients among them. Each prints its figures.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use rl_tests::{HttpServer, Port, Stop, allow_files, eventually, get};

use crate::serving::start;

const MIB: usize = 1 << 20;

/// What a healthy client saw: one that keeps its connection, and one that makes a new one each time.
struct Service {
    answers: usize,
    slowest: Duration,
}

impl Service {
    /// Asks until told to stop; each answer must be a decision, and the kept connection must never be closed.
    fn of(http: &HttpServer, stop: &Stop) -> Self {
        let mut service = Self {
            answers: 0,
            slowest: Duration::ZERO,
        };
        let mut kept = http.connect();
        while !stop.is_told() {
            for stream in [&mut kept, &mut http.connect()] {
                let begun = Instant::now();
                let answer = get(stream, "/token");
                assert!(matches!(answer.status, 200 | 429), "{answer:?}");
                service.slowest = service.slowest.max(begun.elapsed());
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

/// Sends heads byte by byte on so many connections, each anew whenever it is closed; how often it was.
fn trickle(http: &HttpServer, count: usize, stop: &Stop) -> usize {
    let head = b"GET /token HTTP/1.1\r\nX-Slow: ";
    let begin = || {
        let mut stream = http.connect();
        let begun = stream.write_all(head);
        begun.is_ok().then_some(stream)
    };
    let mut closed = 0;
    let mut streams: Vec<Option<TcpStream>> = (0..count).map(|_| begin()).collect();
    while !stop.is_told() {
        for stream in &mut streams {
            let sent = stream.as_mut().map(|stream| stream.write_all(b"x"));
            if !matches!(sent, Some(Ok(()))) {
                closed += 1;
                *stream = begin();
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    closed
}

/// A healthy client among a thousand that send their heads byte by byte, for three times as long as a head may take.
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
fn a_thousand_slow_heads_keep_nobody_from_being_served() {
    serves_among_the_slow(&[], "a thousand slow heads");
}

/// Nor where they are five times as many as connections may be.
#[test]
#[ignore = "make test-full"]
fn slow_heads_that_take_all_connections_keep_nobody_from_being_served() {
    let flags = ["-max-connections", "200"];
    serves_among_the_slow(&flags, "a thousand slow heads for 200 connections");
}

/// Ten thousand connections at a time, of which every other one asks once and all are dropped.
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
        // The one that asks, and the healthy client's two.
        (open?.parse::<usize>().ok()? <= 3).then_some(())
    });
}

#[test]
#[ignore = "make test-full"]
fn ten_thousand_connections_opened_and_dropped_leave_nothing_behind() {
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
        "it grows from time to time"
    );
}

/// Each request may name its caller.
const TRUSTING: [&str; 2] = ["-trusted-proxies", "127.0.0.1"];

/// One request for each of so many callers, many of them in one write. All must be answered with this text.
fn ask_for(http: &HttpServer, callers: Range<u32>, text: &str) {
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
            // An answer ends as its body does, with the only brace of its kind.
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

/// A million callers, a healthy one among them; the server's memory after each quarter.
fn serves_a_million(http: &HttpServer, text: &str, crowd: &str) {
    let stop = Stop::default();
    let begun = Instant::now();
    let (service, memory) = thread::scope(|scope| {
        let healthy = scope.spawn(|| Service::of(http, &stop));
        let quarter = |n: u32| {
            let first = n * 250_000;
            thread::scope(|scope| {
                for callers in [first..first + 125_000, first + 125_000..first + 250_000] {
                    scope.spawn(|| ask_for(http, callers, text));
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
        begun.elapsed(),
        memory.map(|bytes| bytes / MIB)
    );
    assert!(
        memory[3] < 100 * MIB && memory[3] < memory[1] + 4 * MIB,
        "{memory:?}"
    );
}

/// Buckets that last, so that only the bound keeps the table small.
#[test]
#[ignore = "make test-full"]
fn a_million_callers_without_redis_take_bounded_memory() {
    let nobody = format!("127.0.0.1:{}", Port::free().number());
    let flags = [
        "-redis",
        &nobody,
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

/// At the default rate, at which a bucket is gone soon after it is as new.
#[test]
#[ignore = "make test-full"]
fn a_million_callers_with_redis_take_bounded_memory_here_and_there() {
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
