//! Calls sent as fast as the server replies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use redis::Value;

use crate::{Call, PATIENCE, Redis, RedisServer};

/// Enough that the server always has work while the replies of one connection are read.
const CONNECTIONS: usize = 32;

/// A placeholder for the number of a key, with the maximum number of digits.
const MARK: usize = 99_999_999_999_999;
const DIGITS: usize = 14;

/// The distance between consecutive key numbers. Each key is used once before any is repeated, and consecutive keys are
/// far apart.
const STEP: usize = 7_368_787;

/// The result of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Replies per second.
    pub calls_per_second: f64,
    /// The server's processor time per second. If it is much less than 1, the server had to wait.
    pub busy: f64,
}

/// Connections of one thread, each with one batch of calls in flight. While the replies to one batch are read and the
/// next one is sent, the server works on the others.
#[derive(Debug)]
pub struct Pipelines {
    connections: Vec<TcpStream>,
    redis: Redis,
}

impl Pipelines {
    /// Connects to a server.
    ///
    /// # Panics
    ///
    /// If the server has no TCP port.
    #[must_use]
    pub fn on(server: &RedisServer) -> Self {
        let connect = |_| {
            let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("a server");
            stream.set_nodelay(true).expect("an option of TCP");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream
        };
        Self {
            connections: (0..CONNECTIONS).map(connect).collect(),
            redis: server.connect(),
        }
    }

    /// Makes at least one call with the key of each number.
    pub fn run_through(&mut self, call: &Call, numbers: &[usize]) {
        let mut batch = Batch::new(&mut self.redis, call, numbers, 64);
        self.run(&mut batch, |calls| calls < numbers.len());
    }

    /// Makes calls for `time`, with `at_once` calls in flight on each connection, cycling through the keys of
    /// `numbers`.
    ///
    /// # Panics
    ///
    /// If a call did not have the expected outcome.
    pub fn run_for(
        &mut self,
        time: Duration,
        call: &Call,
        numbers: &[usize],
        at_once: usize,
    ) -> Run {
        let mut batch = Batch::new(&mut self.redis, call, numbers, at_once);
        let (counted, cpu_s) = (call.counted_by(&mut self.redis), self.cpu_s());
        let start = Instant::now();
        let calls = self.run(&mut batch, |_| start.elapsed() < time);
        let taken_s = start.elapsed().as_secs_f64();
        let busy = (self.cpu_s() - cpu_s) / taken_s;
        let expected = counted.map(|counted| counted + calls as u64);
        assert_eq!(call.counted_by(&mut self.redis), expected, "{call:?}");
        call.run(&mut self.redis, numbers[..1].iter().copied());
        Run {
            calls_per_second: calls as f64 / taken_s,
            busy,
        }
    }

    /// The processor time that the server has used so far.
    fn cpu_s(&mut self) -> f64 {
        let parts = ["used_cpu_user", "used_cpu_sys"].map(|field| {
            let seconds = self.redis.info("cpu", field);
            seconds.and_then(|text| text.parse::<f64>().ok())
        });
        parts.map(|part| part.expect("seconds")).iter().sum()
    }

    /// Sends batches while `go_on` returns true for the number of calls so far. Returns the number of calls.
    fn run(&mut self, batch: &mut Batch<'_>, go_on: impl Fn(usize) -> bool) -> usize {
        for stream in &mut self.connections {
            batch.send(stream);
        }
        let mut batches = CONNECTIONS;
        while go_on(batches * batch.offsets.len()) {
            let stream = &mut self.connections[batches % CONNECTIONS];
            batch.receive(stream);
            batch.send(stream);
            batches += 1;
        }
        for stream in &mut self.connections {
            batch.receive(stream);
        }
        batches * batch.offsets.len()
    }
}

/// The bytes of one batch of calls, and the size of its replies.
#[derive(Debug)]
struct Batch<'a> {
    bytes: Vec<u8>,
    /// The offsets of the key's number, for each call.
    offsets: Vec<Vec<usize>>,
    /// The number of lines of all replies. No reply contains a string with a line break.
    lines: usize,
    numbers: &'a [usize],
    /// The index of the next number.
    next: usize,
    received: Vec<u8>,
}

impl<'a> Batch<'a> {
    fn new(redis: &mut Redis, call: &Call, numbers: &'a [usize], at_once: usize) -> Self {
        let replies = call.run(redis, numbers[..1].iter().copied());
        let lines: usize = replies.iter().map(lines).sum();
        let (one, mark) = (encoded(call.commands(MARK)), MARK.to_string());
        let in_one: Vec<usize> = (0..one.len())
            .filter(|at| one[*at..].starts_with(mark.as_bytes()))
            .collect();
        let offsets = (0..at_once).map(|n| in_one.iter().map(|at| n * one.len() + at).collect());
        Self {
            bytes: one.repeat(at_once),
            offsets: offsets.collect(),
            lines: lines * at_once,
            numbers,
            next: 0,
            received: vec![0; 1 << 16],
        }
    }

    fn send(&mut self, stream: &mut TcpStream) {
        for offsets in &self.offsets {
            let digits = digits(self.numbers[self.next]);
            self.next = (self.next + STEP) % self.numbers.len();
            for at in offsets {
                self.bytes[*at..at + DIGITS].copy_from_slice(&digits);
            }
        }
        stream.write_all(&self.bytes).expect("sent");
    }

    fn receive(&mut self, stream: &mut TcpStream) {
        let mut lines = 0;
        while lines < self.lines {
            let len = stream.read(&mut self.received).expect("a reply");
            assert!(len > 0, "the server is gone");
            let is_end = |byte: &&u8| **byte == b'\n';
            lines += self.received[..len].iter().filter(is_end).count();
        }
        assert_eq!(
            lines, self.lines,
            "each reply has as many lines as the first had"
        );
    }
}

fn digits(mut number: usize) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Encodes commands for the wire.
fn encoded(commands: impl Iterator<Item = String>) -> Vec<u8> {
    let encode = |command: String| {
        let words: Vec<&str> = command.split_whitespace().collect();
        redis::Cmd::new().arg(words).get_packed_command()
    };
    commands.flat_map(encode).collect()
}

/// The number of lines of a reply on the wire.
fn lines(reply: &Value) -> usize {
    match reply {
        Value::BulkString(_) => 2,
        Value::Array(parts) => 1 + parts.iter().map(lines).sum::<usize>(),
        Value::ServerError(error) => panic!("{error:?}"),
        _ => 1,
    }
}
