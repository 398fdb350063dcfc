//! What a connection is doing: the least that its time-outs need to know, and whoever makes room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// That of one connection.
pub(crate) struct Activity {
    opened: Instant,
    in_flight: AtomicU32,
    has_asked: AtomicBool,
    /// When it was last answered, in microseconds from `opened`.
    quiet_since_us: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            has_asked: AtomicBool::new(false),
            quiet_since_us: AtomicU64::new(0),
        }
    }

    /// Whether it has ever asked anything.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Since when it asks nothing, or `None` while a request is in flight.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        let since = Duration::from_micros(self.quiet_since_us.load(Ordering::Relaxed));
        (self.in_flight.load(Ordering::Relaxed) == 0).then(|| self.opened + since)
    }

    /// Counts anew how long it asks nothing.
    pub(crate) fn touch(&self) {
        let since_us = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.quiet_since_us.store(since_us, Ordering::Relaxed);
    }

    /// Waits until it has asked nothing for so long: for the first time, or since it was answered.
    pub(crate) async fn is_overdue(&self, first: Duration, next: Duration) {
        loop {
            let limit = if self.has_asked() { next } else { first };
            let quiet = self
                .quiet_since()
                .map_or(Duration::ZERO, |since| since.elapsed());
            if quiet >= limit {
                return;
            }
            // What is in flight now can be overdue no sooner than what is answered now.
            sleep(limit - quiet).await;
        }
    }
}

/// A request that is not answered yet. It ends by an answer, or by a client that hangs up.
pub(crate) struct InFlight(Arc<Activity>);

impl InFlight {
    pub(crate) fn new(activity: Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.has_asked.store(true, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
