//! A flood by one address: it gets what its policy allows and no more, and nobody else is rejected for it.
//!
//! h2load sends as much as it can over many connections and streams, while 200 other addresses send 30 requests a second
//! in all. Each row prints its figures.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rl_tests::{HttpServer, RedisServer, Stop, allow_files, connect_from, get};

/// The policy of each address.
const RATE: f64 = 10.0;
const BURST: f64 = 20.0;

/// How many other addresses there are, and how often one of them sends a request.
const OTHERS: u8 = 200;
const PAUSE: Duration = Duration::from_nanos(33_333_333);

const HALF_A_DEADLINE: Duration = Duration::from_millis(25);

/// What h2load sends: connections, and streams of each at a time. HTTP/1.1 where there is one stream.
type Shape = (u32, u32);

/// Starts h2load, from 127.0.0.1, for so many seconds.
fn flood(http: &HttpServer, (connections, streams): Shape, seconds: u32) -> Child {
    let mut h2load = Command::new("h2load");
    if streams == 1 {
        h2load.arg("--h1");
    }
    h2load
        .args(["--threads", "1", "--clients", &connections.to_string()])
        .args(["--max-concurrent-streams", &streams.to_string()])
        .args(["--duration", &seconds.to_string()])
        .arg(format!("http://127.0.0.1:{}/token", http.port()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("h2load is installed by tests/packages.sh")
}

/// Answers by the first digit of their status, from h2load's `status codes: 69 2xx, 0 3xx, 5 4xx, 7 5xx`.
fn statuses(report: &str) -> [u64; 4] {
    let line = report
        .lines()
        .find_map(|line| line.strip_prefix("status codes: "));
    let line = line.unwrap_or_else(|| panic!("h2load says {report}"));
    let counts = line
        .split(", ")
        .map(|part| part.split(' ').next()?.parse().ok());
    let counts: Option<Vec<u64>> = counts.collect();
    counts
        .and_then(|counts| counts.try_into().ok())
        .expect("four counts")
}

/// One request of each of so many addresses, each at its time, whether those before are answered or not: status and duration.
fn others(http: &HttpServer, count: u8) -> Vec<(u16, Duration)> {
    let begun = Instant::now();
    thread::scope(|scope| {
        let requests: Vec<_> = (0..count)
            .map(|n| {
                scope.spawn(move || {
                    let at = begun + PAUSE * u32::from(n);
                    thread::sleep(at.saturating_duration_since(Instant::now()));
                    let mut stream = connect_from(&format!("127.0.1.{}", n + 1), http.port());
                    let answer = get(&mut stream, "/token");
                    (answer.status, at.elapsed())
                })
            })
            .collect();
        let answers = requests.into_iter().map(|request| request.join());
        answers.map(|answer| answer.expect("an answer")).collect()
    })
}

/// The longest time in which Redis did not answer a client of its own that asks without a pause.
fn longest_stall(redis: &RedisServer, stop: &Stop) -> Duration {
    let (mut connection, mut longest) = (redis.connect(), Duration::ZERO);
    while !stop.is_told() {
        let asked = Instant::now();
        connection.value("PING");
        thread::sleep(Duration::from_millis(1));
        longest = longest.max(asked.elapsed());
    }
    longest
}

/// What came of a flood.
struct Outcome {
    elapsed: f64,
    admitted: u64,
    denied: u64,
    rejected: u64,
    others: Vec<(u16, Duration)>,
    stall: Duration,
}

impl Outcome {
    /// That of a flood which takes as long as `count` requests of the others.
    fn of(shape: Shape, mode: &str, flags: &[&str], count: u8) -> Self {
        let redis = RedisServer::start_on_tcp(&[]);
        let address = format!("127.0.0.1:{}", redis.port());
        let fixed = [
            "-redis",
            &address,
            "-deadline",
            "50ms",
            "-header-timeout",
            "60s",
            "-on-outage",
            mode,
        ];
        let http = HttpServer::start(&[&fixed, flags].concat());
        let seconds = (PAUSE * u32::from(count)).as_secs_f64().ceil();
        let stop = Stop::default();
        thread::scope(|scope| {
            let stall = scope.spawn(|| longest_stall(&redis, &stop));
            let begun = Instant::now();
            let (report, mut others) = stop.after(|| {
                let flood = flood(&http, shape, seconds as u32);
                let others = others(&http, count);
                (flood.wait_with_output().expect("h2load ends"), others)
            });
            let elapsed = begun.elapsed().as_secs_f64();
            others.sort_by_key(|(_, took)| *took);
            let [admitted, _, denied, rejected] =
                statuses(&String::from_utf8_lossy(&report.stdout));
            let stall = stall.join().expect("Redis runs");
            Self {
                elapsed,
                admitted,
                denied,
                rejected,
                others,
                stall,
            }
        })
    }

    fn allowed(&self) -> f64 {
        BURST + RATE * self.elapsed
    }

    fn others_rejected(&self) -> usize {
        let statuses = self.others.iter().map(|(status, _)| *status);
        statuses.filter(|status| *status == 503).count()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = |share: usize| self.others[(self.others.len() - 1) * share / 100].1;
        write!(
            f,
            "{} admitted of {:.0} in {:.1} s, {} denied, {} rejected; others: {} of {} rejected, p50 {:.1?}, p99 {:.1?}, \
             longest {:.1?}; Redis answered after {:.1?} at most",
            self.admitted,
            self.allowed(),
            self.elapsed,
            self.denied,
            self.rejected,
            self.others_rejected(),
            self.others.len(),
            took(50),
            took(99),
            took(100),
            self.stall
        )
    }
}

/// A Redis that a busy machine kept from answering for half a deadline may rightly count as silent: then once more.
fn row(shape: Shape, mode: &str, flags: &[&str], count: u8) {
    allow_files(12_000);
    for _ in 0..20 {
        let outcome = Outcome::of(shape, mode, flags, count);
        println!("{} x {}, {mode} {flags:?}: {outcome}", shape.0, shape.1);
        if outcome.stall >= HALF_A_DEADLINE {
            continue;
        }
        assert!(outcome.admitted as f64 <= outcome.allowed(), "{outcome}");
        let share = outcome.others_rejected() * 100;
        assert!(share <= outcome.others.len(), "{outcome}");
        return;
    }
    panic!("this machine is too busy for Redis to answer within {HALF_A_DEADLINE:?}");
}

const H2: Shape = (50, 200);
const H1: Shape = (5000, 1);

#[test]
fn a_flood_over_http2_is_not_admitted() {
    row(H2, "allow", &[], 100);
}

#[test]
fn a_flood_over_http2_keeps_nobody_out() {
    row(H2, "deny", &[], 100);
}

#[test]
fn a_flood_of_connections_is_not_admitted() {
    row(H1, "allow", &[], 100);
}

#[test]
#[ignore = "make test-full"]
fn each_flood_in_each_mode() {
    for mode in ["allow", "deny", "local"] {
        for shape in [H2, (20, 200), (50, 20), (400, 16), H1] {
            row(shape, mode, &[], OTHERS);
        }
        row(H2, mode, &["-deny-cache", "1000"], OTHERS);
    }
}
