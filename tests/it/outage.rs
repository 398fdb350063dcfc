use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use rl_tests::{Answer, HttpServer, RedisServer, Stop, Stored, artifacts, eventually, get};

const CALLERS: u64 = 8;

/// The one that rl-server has if nothing is said.
const DEADLINE: &str = "100ms";

/// What callers that never stop have been answered.
#[derive(Default)]
struct Answers {
    decided: AtomicU64,
    unavailable: AtomicU64,
    stop: Stop,
}

impl Answers {
    /// Asks over and over; anything but a decision or an honest 503 fails the test, and so does a hang.
    fn ask(&self, http: &HttpServer) {
        let mut stream = http.connect();
        while !self.stop.is_told() {
            let answer = get(&mut stream, "/token");
            match answer.status {
                200 | 429 => self.decided.fetch_add(1, Ordering::Relaxed),
                503 => self.unavailable.fetch_add(1, Ordering::Relaxed),
                _ => panic!("{answer:?}"),
            };
        }
    }

    /// Waits until every caller may have had so many new answers of this kind.
    fn wait_for_more(&self, what: &str, counter: &AtomicU64, each: u64) {
        let before = counter.load(Ordering::Relaxed);
        eventually(what, || {
            (counter.load(Ordering::Relaxed) > before + each * CALLERS).then_some(())
        });
    }

    fn wait_for_decisions(&self) {
        self.wait_for_more("decisions", &self.decided, 2);
    }

    /// So many that a server which waits for its client's reconnection, for ten seconds, does not get there.
    fn wait_for_503(&self) {
        self.wait_for_more("503", &self.unavailable, 16);
    }
}

/// Runs `trouble` while callers ask without a pause.
fn under_load(http: &HttpServer, trouble: impl FnOnce(&Answers)) -> Answers {
    let answers = Answers::default();
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| answers.ask(http));
        }
        answers.stop.after(|| {
            answers.wait_for_decisions();
            trouble(&answers);
        });
    });
    answers
}

fn start() -> (RedisServer, HttpServer) {
    let redis = RedisServer::start_on_tcp(&[]);
    let address = format!("127.0.0.1:{}", redis.port());
    let http = HttpServer::start(&["-redis", &address, "-deadline", DEADLINE]);
    (redis, http)
}

#[test]
fn a_redis_that_is_killed_and_comes_back_under_load() {
    let (redis, http) = start();
    under_load(&http, |answers| {
        for _ in 0..3 {
            redis.kill();
            answers.wait_for_503();
            redis.restart();
            answers.wait_for_decisions();
        }
    });
}

#[test]
fn a_redis_that_is_stopped_and_goes_on_under_load() {
    let (redis, http) = start();
    under_load(&http, |answers| {
        redis.signal(Signal::SIGSTOP);
        answers.wait_for_503();
        redis.signal(Signal::SIGCONT);
        answers.wait_for_decisions();
    });
}

/// P6: a call that timed out may have been made, but only once, and no other made up for it.
#[test]
fn what_timed_out_is_taken_at_most_once_and_what_was_allowed_was_taken() {
    let redis = RedisServer::start_on_tcp(&[]);
    let address = format!("127.0.0.1:{}", redis.port());
    let policy = ["-rate", "1/1000d", "-burst", "1000000000"];
    let flags = [&["-redis", &address, "-deadline", DEADLINE], &policy[..]].concat();
    let http = HttpServer::start(&flags);
    let answers = under_load(&http, |answers| {
        for _ in 0..3 {
            redis.signal(Signal::SIGSTOP);
            answers.wait_for_503();
            redis.signal(Signal::SIGCONT);
            answers.wait_for_decisions();
        }
    });
    let allowed = answers.decided.load(Ordering::Relaxed);
    let asked = allowed + answers.unavailable.load(Ordering::Relaxed);
    let mut redis = redis.connect();
    let stored = Stored::read(&redis.stored("rl:token:127.0.0.1").0.expect("a bucket"));
    let used = stored.used.div_ceil(stored.period_us.into());
    println!("{allowed} allowed, {used} taken, {asked} asked");
    assert!((allowed.into()..=asked.into()).contains(&used));
}

fn assert_unavailable(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, format!(r#"{{"error":"{error}"}}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        answer.header("ratelimit"),
        None,
        "no numbers that nobody counted"
    );
}

#[test]
fn no_redis_is_said_and_one_that_comes_later_is_used() {
    let redis = RedisServer::start_on_tcp(&[]);
    redis.kill();
    let address = format!("127.0.0.1:{}", redis.port());
    let http = HttpServer::start_alone(&["-redis", &address, "-deadline", DEADLINE]);
    assert_unavailable(&http.get("/token"), "Redis does not answer");
    redis.restart();
    eventually("a decision", || {
        (http.get("/token").status == 200).then_some(())
    });
}

#[test]
fn a_redis_without_the_module_is_told_apart_and_needs_no_restart_of_ours() {
    let mut redis = RedisServer::start_without_module(&[]);
    let http = HttpServer::start(&["-redis", &format!("127.0.0.1:{}", redis.port())]);
    let error = "Redis does not have the rl module: start it with redis-server --loadmodule target/release/librl.so";
    let answer = eventually("an answer of Redis", || {
        Some(http.get("/leaky")).filter(|answer| !answer.body.contains("does not answer"))
    });
    assert_unavailable(&answer, error);
    redis.restart_with(&["--loadmodule", artifacts().module.to_str().expect("UTF-8")]);
    eventually("a decision", || {
        (http.get("/leaky").status == 200).then_some(())
    });
}

#[test]
fn a_refusal_of_redis_is_not_a_denial() {
    let (redis, http) = start();
    redis.connect().value("CONFIG SET maxmemory 1");
    let answer = eventually("an answer of Redis", || {
        Some(http.get("/token")).filter(|answer| !answer.body.contains("does not answer"))
    });
    assert_unavailable(&answer, "Redis refused the call: OOM");
}
