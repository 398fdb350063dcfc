//! What a connection is doing: the least that its time-outs need to know, and whoever makes room.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// That of one connection.
pub(crate) struct Activity {
    opened: Instant,
    in_flight: AtomicU32,
    has_asked: AtomicBool,
    /// When it was last answered, in microseconds from `opened`.
    quiet_since_us: AtomicU64,
    /// When each answer was finished that has not been sent yet. HTTP/2 bounds how many there are by its streams, HTTP/1.1 has
    /// one.
    unsent: Mutex<Vec<Instant>>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            has_asked: AtomicBool::new(false),
            quiet_since_us: AtomicU64::new(0),
            unsent: Mutex::default(),
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
        self.touch_at(Instant::now());
    }

    /// A request is no longer in flight.
    fn is_over(&self, now: Instant) {
        self.touch_at(now);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn touch_at(&self, now: Instant) {
        let since = now.saturating_duration_since(self.opened);
        let since_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        self.quiet_since_us.store(since_us, Ordering::Relaxed);
    }

    /// Since when its oldest unsent answer has been finished, or `None` if all answers are sent.
    pub(crate) fn unsent_since(&self) -> Option<Instant> {
        self.unsent().iter().min().copied()
    }

    fn unsent(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has asked nothing for so long: for the first time, or since it was answered.
    pub(crate) async fn timed_out(&self, first: Duration, next: Duration) {
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
pub(crate) struct InFlight(Option<Arc<Activity>>);

impl InFlight {
    pub(crate) fn new(activity: Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.has_asked.store(true, Ordering::Relaxed);
        Self(Some(activity))
    }

    /// Its answer is finished, and has to be sent.
    pub(crate) fn answered(mut self, finished: Instant) -> Option<Unsent> {
        let activity = self.0.take()?;
        activity.unsent().push(finished);
        activity.is_over(finished);
        Some(Unsent { activity, finished })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(activity) = &self.0 {
            activity.is_over(Instant::now());
        }
    }
}

/// An answer that is finished, but has not been written to the socket. Dropped when it has, or never will be.
pub(crate) struct Unsent {
    activity: Arc<Activity>,
    finished: Instant,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let mut unsent = self.activity.unsent();
        if let Some(at) = unsent.iter().position(|since| *since == self.finished) {
            unsent.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_unsent_answer_counts_and_sent_ones_do_not() {
        let activity = Arc::new(Activity::new());
        let first = Instant::now();
        let second = first + Duration::from_secs(1);
        let finish = |at| InFlight::new(activity.clone()).answered(at);
        let (a, b, c) = (finish(second), finish(first), finish(first));
        assert_eq!(activity.unsent_since(), Some(first));
        drop(b);
        assert_eq!(activity.unsent_since(), Some(first));
        drop(c);
        assert_eq!(activity.unsent_since(), Some(second));
        drop(a);
        assert_eq!(activity.unsent_since(), None);
        assert!(activity.quiet_since().is_some());
    }
}
