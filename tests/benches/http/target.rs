//! What wrk sends requests to, and one run of it.

use std::any::Any;
use std::process::Command;

use rl_tests::{cpu_seconds, project};

const SECONDS: &str = "3";
const CONNECTIONS: &str = "64";

/// A busy machine may keep an answer back for longer than wrk's 2 s.
const TIMEOUT: &str = "60s";

/// A server under load.
pub(crate) struct Target {
    pub(crate) url: String,
    /// The processes that serve; none if they are not known.
    pub(crate) servers: Vec<u32>,
    /// The process of its Redis, if it has one.
    pub(crate) redis: Option<u32>,
    /// The number of addresses in X-Forwarded-For; 0 for no such header.
    pub(crate) callers: usize,
    /// The body of a POST; `None` for GET.
    pub(crate) body: Option<String>,
    /// Whether every answer has a status above 399. Otherwise none has.
    pub(crate) is_denied: bool,
    /// What ends the processes when it is dropped.
    pub(crate) _running: Box<dyn Any>,
}

/// One run of wrk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) requests_per_second: f64,
    /// The 50th, 99th and 99.9th percentile in milliseconds.
    pub(crate) latencies_ms: [f64; 3],
    /// Processor time for a request in microseconds.
    pub(crate) cpu_us: Option<f64>,
    /// That of Redis.
    pub(crate) redis_cpu_us: Option<f64>,
}

impl Target {
    /// Every request is a GET, without X-Forwarded-For, and is allowed.
    pub(crate) fn new(url: String, servers: Vec<u32>, running: impl Any) -> Self {
        Self {
            url,
            servers,
            redis: None,
            callers: 0,
            body: None,
            is_denied: false,
            _running: Box::new(running),
        }
    }

    /// Keeps the server busy for a while.
    pub(crate) fn load(&self) -> Run {
        let used = || {
            let servers = self.servers.iter().copied().map(cpu_seconds);
            (servers.sum::<f64>(), self.redis.map_or(0.0, cpu_seconds))
        };
        let before = used();
        let [requests, seconds, p50, p99, p999] = self.wrk();
        let after = used();
        let per_request = |seconds: f64| seconds * 1e6 / requests;
        let redis = self.redis;
        Run {
            requests_per_second: requests / seconds,
            latencies_ms: [p50, p99, p999].map(|us| us / 1000.0),
            cpu_us: (!self.servers.is_empty()).then(|| per_request(after.0 - before.0)),
            redis_cpu_us: redis.map(|_| per_request(after.1 - before.1)),
        }
    }

    /// Requests, seconds, and percentiles of the latency in microseconds.
    fn wrk(&self) -> [f64; 5] {
        let output = Command::new("wrk")
            .args(["-t1", "-c", CONNECTIONS, "-d", SECONDS])
            .args(["--timeout", TIMEOUT, "-s"])
            .arg(project().join("tests/benches/http/wrk.lua"))
            .args([&self.url, "--", &self.callers.to_string()])
            .args(&self.body)
            .output()
            .expect("tests/packages.sh bench installs wrk");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("figures: "));
        let words = line.unwrap_or_else(|| panic!("{}: {output:?}", self.url));
        let figures: Vec<f64> = words
            .split(' ')
            .map(|figure| figure.parse().expect("a number"))
            .collect();
        let [requests, seconds, failures, denials, p50, p99, p999] = figures[..] else {
            panic!("{text}");
        };
        assert_eq!(failures, 0.0, "{}: no answer: {text}", self.url);
        let denied = if self.is_denied { requests } else { 0.0 };
        assert_eq!(denials, denied, "{}: statuses above 399: {text}", self.url);
        [requests, seconds, p50, p99, p999]
    }
}
