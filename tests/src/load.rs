//! Callers that never stop, and what each of them was told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Answer, HttpServer, Stop, connect_from, eventually, get};

/// By whom a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Redis.
    Redis,
    /// rl-server, without Redis.
    Itself,
    /// Nobody: 503.
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

/// One answer.
#[derive(Clone, Debug)]
pub struct Told {
    /// To whom.
    pub caller: Ipv4Addr,
    /// When it was there.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// Its status.
    pub status: u16,
    /// Who gave it.
    pub by: By,
    /// Why nobody did.
    pub error: Option<String>,
}

/// The load while it is on.
#[derive(Debug, Default)]
pub struct Load {
    told: Mutex<Vec<Told>>,
    counts: [AtomicUsize; 3],
    /// Callers that were denied at least once.
    denied: AtomicUsize,
    stop: Stop,
}

impl Load {
    /// Runs `meanwhile` while callers, each of an address of its own, ask for `path` without a pause.
    ///
    /// # Panics
    ///
    /// If an answer is none of a limiter's, or a caller waits for more than [`crate::PATIENCE`].
    pub fn on(
        http: &HttpServer,
        path: &str,
        callers: &[Ipv4Addr],
        meanwhile: impl FnOnce(&Self),
    ) -> Vec<Told> {
        let load = Self::default();
        thread::scope(|scope| {
            for caller in callers {
                scope.spawn(|| load.call(http, path, *caller));
            }
            load.stop.after(|| meanwhile(&load));
        });
        let mut told = load.told.into_inner().expect("no caller has panicked");
        told.sort_by_key(|told| told.at);
        told
    }

    fn call(&self, http: &HttpServer, path: &str, caller: Ipv4Addr) {
        let mut stream = connect_from(&caller.to_string(), http.port());
        let mut all = Vec::new();
        let mut was_denied = false;
        while !self.stop.is_told() {
            let begun = Instant::now();
            let answer = get(&mut stream, path);
            let by = By::of(&answer);
            let (at, took, status) = (Instant::now(), begun.elapsed(), answer.status);
            all.push(Told {
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
        self.told
            .lock()
            .expect("no caller has panicked")
            .append(&mut all);
    }

    /// Waits for so many more answers of this kind.
    pub fn wait_for(&self, by: By, more: usize) {
        let count = || self.counts[by as usize].load(Ordering::Relaxed);
        let before = count();
        eventually(&format!("{more} more answers by {by:?}"), || {
            (count() >= before + more).then_some(())
        });
    }

    /// Waits until so many callers were denied.
    pub fn wait_for_denied(&self, callers: usize) {
        eventually(&format!("{callers} callers to be denied"), || {
            (self.denied.load(Ordering::Relaxed) >= callers).then_some(())
        });
    }
}

/// So many callers, each of a loopback address of its own.
#[must_use]
pub fn callers(count: u8) -> Vec<Ipv4Addr> {
    (1..=count).map(|n| Ipv4Addr::new(127, 0, 1, n)).collect()
}

/// What a load was told, in figures.
#[derive(Debug)]
pub struct Figures {
    by: BTreeMap<By, usize>,
    errors: BTreeMap<String, usize>,
    longest: Duration,
    without_redis: Duration,
}

impl Figures {
    /// Of answers in the order of time.
    #[must_use]
    pub fn of(told: &[Told]) -> Self {
        let (mut by, mut errors) = (BTreeMap::new(), BTreeMap::new());
        for told in told {
            *by.entry(told.by).or_default() += 1;
            if let Some(error) = &told.error {
                *errors.entry(error.clone()).or_default() += 1;
            }
        }
        let decided = told.iter().filter(|told| told.by == By::Redis);
        let decided: Vec<Instant> = decided.map(|told| told.at).collect();
        let gaps = decided.windows(2).map(|pair| pair[1] - pair[0]);
        Self {
            by,
            errors,
            longest: told.iter().map(|told| told.took).max().unwrap_or_default(),
            without_redis: gaps.max().unwrap_or_default(),
        }
    }

    /// The longest that an answer took.
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
             {:.2?} at most from one answer by Redis to the next",
            self.errors, self.longest, self.without_redis
        )
    }
}
