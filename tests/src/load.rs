//! Callers that send requests without a pause, and the answers that they got.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Answer, HttpServer, Stop, connect_from, eventually, get};

/// Who decided a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Redis.
    Redis,
    /// rl-server, during an outage of Redis.
    Itself,
    /// Nobody: the answer is 503.
    Nobody,
}

impl By {
    fn of(answer: &Answer) -> Self {
        match answer.status {
            200 | 429 if answer.field("degraded") == Some("true") => Self::Itself,
            200 | 429 => Self::Redis,
            503 => Self::Nobody,
            _ => panic!("{answer:?}"),
        }
    }
}

/// One answer, with its time.
#[derive(Clone, Debug)]
pub struct TimedAnswer {
    /// The caller that sent the request.
    pub caller: Ipv4Addr,
    /// When the answer arrived.
    pub at: Instant,
    /// The time from the request to the answer.
    pub took: Duration,
    /// The status code.
    pub status: u16,
    /// Who decided.
    pub by: By,
    /// The error, if nobody decided.
    pub error: Option<String>,
}

/// A running load.
#[derive(Debug, Default)]
pub struct Load {
    answers: Mutex<Vec<TimedAnswer>>,
    counts: [AtomicUsize; 3],
    /// Callers that were denied at least once.
    denied: AtomicUsize,
    stop: Stop,
}

impl Load {
    /// Runs `meanwhile` while callers, each with its own address, send requests for `path` without a pause. Returns
    /// their answers in order of time.
    ///
    /// # Panics
    ///
    /// If an answer has an unexpected status, or takes longer than [`crate::PATIENCE`].
    pub fn on(
        http: &HttpServer,
        path: &str,
        callers: &[Ipv4Addr],
        meanwhile: impl FnOnce(&Self),
    ) -> Vec<TimedAnswer> {
        let load = Self::default();
        thread::scope(|scope| {
            for caller in callers {
                scope.spawn(|| load.call(http, path, *caller));
            }
            load.stop.after(|| meanwhile(&load));
        });
        let mut answers = load.answers.into_inner().expect("no caller has panicked");
        answers.sort_by_key(|answer| answer.at);
        answers
    }

    fn call(&self, http: &HttpServer, path: &str, caller: Ipv4Addr) {
        let mut stream = connect_from(&caller.to_string(), http.port());
        let mut all = Vec::new();
        let mut was_denied = false;
        while !self.stop.is_set() {
            let start = Instant::now();
            let answer = get(&mut stream, path);
            let by = By::of(&answer);
            let (at, took, status) = (Instant::now(), start.elapsed(), answer.status);
            all.push(TimedAnswer {
                caller,
                at,
                took,
                status,
                by,
                error: answer.field("error").map(str::to_owned),
            });
            self.counts[by as usize].fetch_add(1, Ordering::Relaxed);
            if status == 429 && !was_denied {
                was_denied = true;
                self.denied.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.answers
            .lock()
            .expect("no caller has panicked")
            .append(&mut all);
    }

    /// Waits for `more` further answers of this kind.
    pub fn wait_for(&self, by: By, more: usize) {
        let count = || self.counts[by as usize].load(Ordering::Relaxed);
        let before = count();
        eventually(&format!("{more} more answers by {by:?}"), || {
            (count() >= before + more).then_some(())
        });
    }

    /// Waits until `callers` callers were denied.
    pub fn wait_for_denied(&self, callers: usize) {
        eventually(&format!("{callers} callers to be denied"), || {
            (self.denied.load(Ordering::Relaxed) >= callers).then_some(())
        });
    }
}

/// `count` callers, each with its own loopback address.
#[must_use]
pub fn callers(count: u8) -> Vec<Ipv4Addr> {
    (1..=count).map(|n| Ipv4Addr::new(127, 0, 1, n)).collect()
}

/// Statistics of the answers to a load.
#[derive(Debug)]
pub struct Figures {
    by: BTreeMap<By, usize>,
    errors: BTreeMap<String, usize>,
    longest: Duration,
    without_redis: Duration,
}

impl Figures {
    /// Computes the statistics of answers in order of time.
    #[must_use]
    pub fn of(answers: &[TimedAnswer]) -> Self {
        let (mut by, mut errors) = (BTreeMap::new(), BTreeMap::new());
        for answer in answers {
            *by.entry(answer.by).or_default() += 1;
            if let Some(error) = &answer.error {
                *errors.entry(error.clone()).or_default() += 1;
            }
        }
        let decided = answers.iter().filter(|answer| answer.by == By::Redis);
        let decided: Vec<Instant> = decided.map(|answer| answer.at).collect();
        let gaps = decided.windows(2).map(|pair| pair[1] - pair[0]);
        Self {
            by,
            errors,
            longest: answers
                .iter()
                .map(|answer| answer.took)
                .max()
                .unwrap_or_default(),
            without_redis: gaps.max().unwrap_or_default(),
        }
    }

    /// The time of the slowest answer.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |by| self.by.get(&by).copied().unwrap_or_default();
        let (redis, itself, nobody) = (count(By::Redis), count(By::Itself), count(By::Nobody));
        write!(
            f,
            "{redis} answers by Redis, {itself} by the server itself, {nobody} times 503 {:?}; the slowest took {:.1?}; \
             at most {:.2?} from one answer by Redis to the next",
            self.errors, self.longest, self.without_redis
        )
    }
}
