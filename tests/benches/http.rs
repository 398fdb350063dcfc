//! Compares GET /token of rl-server with a bare handler that only returns the same answer: `make bench`.
//!
//! wrk keeps 64 connections busy, all from one address. The servers are measured in turn, in the same run and on the
//! same cores.

use std::process::Command;

use axum::Router;
use axum::http::{HeaderName, HeaderValue};
use axum::routing::get;
use axum::serve::ListenerExt;
use rl_tests::{Answer, HttpServer, RedisServer, project, report, table};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const ROUNDS: usize = 5;
const SECONDS: &str = "4";
const CONNECTIONS: &str = "64";

/// Every request is allowed.
const FLAGS: [&str; 6] = [
    "-rate",
    "1000000",
    "-burst",
    "1000000000",
    "-deadline",
    "1s",
];

/// The goal for rl-server's requests per second, as a fraction of the bare handler's.
const GOAL: f64 = 0.70;

/// One run of wrk.
#[derive(Clone, Copy, Debug)]
struct Run {
    requests_per_second: f64,
    /// The 50th, 99th and 99.9th percentile in microseconds.
    latencies_us: [f64; 3],
}

/// Serves `answer` for every request, on a free port.
fn serve(runtime: &Runtime, answer: &Answer) -> u16 {
    let header = |line: &String| {
        let (name, value) = line.split_once(": ").expect("a header's form");
        let name = HeaderName::try_from(name).expect("a name");
        (name, HeaderValue::try_from(value).expect("a value"))
    };
    let headers: Vec<_> = answer.headers.iter().map(header).collect();
    let headers = axum::http::HeaderMap::from_iter(headers);
    let body = answer.body.clone();
    let handler = move || {
        let answer = (headers.clone(), body.clone());
        async { answer }
    };
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)));
    let listener = listener.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("an option of TCP"));
    let app = Router::new().route("/token", get(handler));
    runtime.spawn(axum::serve(listener, app).into_future());
    port
}

fn load(port: u16) -> Run {
    let script = project().join("tests/benches/wrk.lua");
    let wrk = Command::new("wrk")
        .args(["-t1", "-c", CONNECTIONS, "-d", SECONDS, "-s"])
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/token"))
        .output()
        .expect("wrk runs");
    let text = String::from_utf8_lossy(&wrk.stdout);
    let figures = text.lines().find_map(|line| line.strip_prefix("figures: "));
    let figures: Vec<f64> = figures
        .unwrap_or_else(|| panic!("{text}"))
        .split(' ')
        .map(|figure| figure.parse().expect("a number"))
        .collect();
    let [requests, seconds, failures, p50, p99, p999] = figures[..] else {
        panic!("{text}");
    };
    assert_eq!(failures, 0.0, "{text}");
    Run {
        requests_per_second: requests / seconds,
        latencies_us: [p50, p99, p999],
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The medians of all rounds, and the ratio of the requests per second to those of the bare handler in the same round.
fn row(name: &str, runs: &[Run], bare: &[Run]) -> Vec<String> {
    let requests: Vec<f64> = runs.iter().map(|run| run.requests_per_second).collect();
    let of_bare = runs.iter().zip(bare);
    let of_bare = of_bare.map(|(run, bare)| run.requests_per_second / bare.requests_per_second);
    let latency = |n: usize| {
        median(
            runs.iter()
                .map(|run| run.latencies_us[n] / 1000.0)
                .collect(),
        )
    };
    let (min, max) = requests
        .iter()
        .fold((f64::MAX, 0.0_f64), |(min, max), figure| {
            (min.min(*figure), max.max(*figure))
        });
    vec![
        name.to_owned(),
        format!("{:.0} ({min:.0} to {max:.0})", median(requests.clone())),
        format!("{:.2}", median(of_bare.collect())),
        format!("{:.2}", latency(0)),
        format!("{:.2}", latency(1)),
        format!("{:.2}", latency(2)),
    ]
}

fn main() {
    let redis = RedisServer::start_on_tcp(&[]);
    let start = |url: &str| HttpServer::start(&[&["-redis", url], &FLAGS[..]].concat());
    let servers = [
        start(&format!("127.0.0.1:{}", redis.port())),
        start(&redis.url()),
    ];
    let runtime = Runtime::new().expect("threads");
    let bare = serve(&runtime, &servers[0].get("/token"));
    let ports = [bare, servers[0].port(), servers[1].port()];
    let mut runs = ports.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (port, runs) in ports.iter().zip(&mut runs) {
            runs.push(load(*port));
        }
    }
    let names = [
        "bare handler",
        "rl-server, Redis by TCP",
        "rl-server, Redis by unix socket",
    ];
    let rows: Vec<_> = names
        .iter()
        .zip(&runs)
        .map(|(name, own)| row(name, own, &runs[0]))
        .collect();
    let head = [
        "GET /token",
        "requests a second",
        "of bare",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
    ];
    report(
        "http.md",
        &format!("{}\nGoal: {GOAL:.2} of bare.\n", table(&head, &rows)),
    );
}
