//! A flood from one address: at most what its policy allows is admitted, and other addresses are not rejected because
//! of it.
//!
//! h2load sends as much as it can over many connections and streams, while 200 other addresses send 30 requests a
//! second in total. Each row prints its figures.

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

/// The load of h2load: connections, and concurrent streams of each. With one stream it uses HTTP/1.1.
type Concurrency = (u32, u32);

/// Starts h2load, from 127.0.0.1, for `seconds` seconds.
fn flood(http: &HttpServer, (connections, streams): Concurrency, seconds: u32) -> Child {
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

/// The answers by the first digit of their status, from h2load's `status codes: 69 2xx, 0 3xx, 5 4xx, 7 5xx`.
fn statuses(report: &str) -> [u64; 4] {
    let line = report
        .lines()
        .find_map(|line| line.strip_prefix("status codes: "));
    let line = line.unwrap_or_else(|| panic!("h2load prints {report}"));
    let counts = line
        .split(", ")
        .map(|part| part.split(' ').next()?.parse().ok());
    let counts: Option<Vec<u64>> = counts.collect();
    counts
        .and_then(|counts| counts.try_into().ok())
        .expect("four counts")
}

/// Sends one request from each of `count` addresses, at fixed times, whether or not the earlier ones are answered.
/// Returns status and duration.
fn others(http: &HttpServer, count: u8) -> Vec<(u16, Duration)> {
    let start = Instant::now();
    thread::scope(|scope| {
        let requests: Vec<_> = (0..count)
            .map(|n| {
                scope.spawn(move || {
                    let at = start + PAUSE * u32::from(n);
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

/// The longest time that Redis took to answer PING on a separate connection.
fn longest_stall(redis: &RedisServer, stop: &Stop) -> Duration {
    let (mut connection, mut longest) = (redis.connect(), Duration::ZERO);
    while !stop.is_set() {
        let start = Instant::now();
        connection.value("PING");
        thread::sleep(Duration::from_millis(1));
        longest = longest.max(start.elapsed());
    }
    longest
}

/// The result of a flood.
struct Outcome {
    elapsed: f64,
    admitted: u64,
    denied: u64,
    rejected: u64,
    others: Vec<(u16, Duration)>,
    stall: Duration,
}

impl Outcome {
    /// Runs a flood for as long as `count` requests of the other addresses take.
    fn of(concurrency: Concurrency, mode: &str, flags: &[&str], count: u8) -> Self {
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
            let start = Instant::now();
            let (report, mut others) = stop.after(|| {
                let flood = flood(&http, concurrency, seconds as u32);
                let others = others(&http, count);
                (flood.wait_with_output().expect("h2load ends"), others)
            });
            let elapsed = start.elapsed().as_secs_f64();
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
             longest {:.1?}; Redis answered within {:.1?}",
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

/// Runs a flood and checks it. Repeats it if the machine is so busy that Redis stalls for half a deadline, because an
/// outage may be detected correctly then.
fn row(concurrency: Concurrency, mode: &str, flags: &[&str], count: u8) {
    allow_files(12_000);
    for _ in 0..20 {
        let outcome = Outcome::of(concurrency, mode, flags, count);
        println!(
            "{} x {}, {mode} {flags:?}: {outcome}",
            concurrency.0, concurrency.1
        );
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

const H2: Concurrency = (50, 200);
const H1: Concurrency = (5000, 1);

#[test]
fn a_flood_over_http2_is_not_admitted() {
    row(H2, "allow", &[], 100);
}

#[test]
fn a_flood_over_http2_does_not_reject_others() {
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
        for concurrency in [H2, (20, 200), (50, 20), (400, 16), H1] {
            row(concurrency, mode, &[], OTHERS);
        }
        row(H2, mode, &["-deny-cache", "1000"], OTHERS);
    }
}
