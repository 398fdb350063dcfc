//! What one connection is doing, as far as time-outs and eviction need to know.
//!
//! [`super::connection`] records it. [`super::acceptor`] reads it, from another task. So a value may be outdated when
//! it is read: a connection that looks idle may have got a request meanwhile.
//!
//! A request is first in flight ([`InFlight`]), then its response is unsent ([`UnsentResponse`]), then it is forgotten.
//! Both are guards, so a request that is dropped at any point is counted out.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The activity of one connection. For example:
///
/// | event | in flight | idle since | unsent since |
/// |---|---|---|---|
/// | the connection is opened, at 0 s | 0 | 0 s | |
/// | a request arrives, at 3 s | 1 | | |
/// | its response is finished, at 4 s | 0 | 4 s | 4 s |
/// | the response is sent, at 5 s | 0 | 4 s | |
pub(crate) struct Activity {
    /// When the connection was accepted, and time zero of `idle_since_us`.
    opened: Instant,
    /// Requests without a response. More than one only in HTTP/2.
    in_flight: AtomicU32,
    /// Whether the head of a request has arrived so far.
    has_requested: AtomicBool,
    /// When the latest response was finished, in microseconds from `opened`.
    ///
    /// Zero before the first, so that a connection without requests is idle since it was opened.
    idle_since_us: AtomicU64,
    /// When each response that has not been sent yet was finished. HTTP/1.1 has at most one, HTTP/2 one for each
    /// stream.
    unsent: Mutex<Vec<Instant>>,
    /// Whether the server stops. Each connection has its own: one for all would be memory that all cores change whenever
    /// one of them serves a request.
    stops: Notify,
}

impl Activity {
    /// A connection that is accepted now.
    pub(crate) fn new() -> Self {
        Self {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            has_requested: AtomicBool::new(false),
            idle_since_us: AtomicU64::new(0),
            unsent: Mutex::default(),
            stops: Notify::new(),
        }
    }

    /// Tells the connection that the server stops.
    pub(crate) fn stop(&self) {
        self.stops.notify_one();
    }

    /// Waits until the server stops. One task may wait, and learns of it once.
    pub(crate) async fn stopped(&self) {
        self.stops.notified().await;
    }

    /// Whether the connection has sent a complete request. Its body does not count, because no route reads one.
    pub(crate) fn has_requested(&self) -> bool {
        self.has_requested.load(Ordering::Relaxed)
    }

    /// Since when no request is in flight, or `None` while one is. A response that is not sent yet does not count.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = Duration::from_micros(self.idle_since_us.load(Ordering::Relaxed));
        (self.in_flight.load(Ordering::Relaxed) == 0).then(|| self.opened + since)
    }

    /// Restarts the time for which the connection has been idle. At the start of a close it makes the time for closing
    /// count from now, and not from the last response.
    pub(crate) fn touch(&self) {
        self.touch_at(Instant::now());
    }

    /// A request is no longer in flight.
    fn finish(&self, now: Instant) {
        self.touch_at(now);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn touch_at(&self, now: Instant) {
        let since = now.saturating_duration_since(self.opened);
        let since_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        self.idle_since_us.store(since_us, Ordering::Relaxed);
    }

    /// When the oldest response that is not sent yet was finished, or `None` if all are sent.
    pub(crate) fn unsent_since(&self) -> Option<Instant> {
        self.unsent().iter().min().copied()
    }

    /// Locks the list. It is short: HTTP/2 has one entry for each stream at most.
    fn unsent(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the connection has been idle for `first`, before its first request, or for `next`, after a response.
    ///
    /// Returns at once if that time is over already. Never returns while a request is in flight, however long that
    /// takes: its time is bounded by the limiter and by shaping.
    pub(crate) async fn timed_out(&self, first: Duration, next: Duration) {
        loop {
            let limit = if self.has_requested() { next } else { first };
            let idle = self
                .idle_since()
                .map_or(Duration::ZERO, |since| since.elapsed());
            if idle >= limit {
                return;
            }
            // A request that is in flight now cannot time out sooner than one that is answered now.
            sleep(limit - idle).await;
        }
    }
}

/// A request without a response. It ends with a response, or when the client disconnects. Empty after
/// [`InFlight::respond`].
pub(crate) struct InFlight(Option<Arc<Activity>>);

impl InFlight {
    /// The head of a request has arrived on this connection.
    pub(crate) fn new(activity: Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        activity.has_requested.store(true, Ordering::Relaxed);
        Self(Some(activity))
    }

    /// The response was finished at this instant, and must still be sent. Keep the result with the response. It is
    /// `Some`; the option comes from the guard, which can give its contents away once.
    pub(crate) fn respond(mut self, finished: Instant) -> Option<UnsentResponse> {
        let activity = self.0.take()?;
        activity.unsent().push(finished);
        activity.finish(finished);
        Some(UnsentResponse { activity, finished })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(activity) = &self.0 {
            activity.finish(Instant::now());
        }
    }
}

/// A finished response that has not been written to the socket. Dropped once it is written, or never will be.
pub(crate) struct UnsentResponse {
    activity: Arc<Activity>,
    /// Identifies the entry in the list of the connection. Two of the same instant are interchangeable.
    finished: Instant,
}

impl Drop for UnsentResponse {
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
    fn the_oldest_unsent_response_counts_and_sent_ones_do_not() {
        let activity = Arc::new(Activity::new());
        let first = Instant::now();
        let second = first + Duration::from_secs(1);
        let finish = |at| InFlight::new(activity.clone()).respond(at);
        let (a, b, c) = (finish(second), finish(first), finish(first));
        assert_eq!(activity.unsent_since(), Some(first));
        drop(b);
        assert_eq!(activity.unsent_since(), Some(first));
        drop(c);
        assert_eq!(activity.unsent_since(), Some(second));
        drop(a);
        assert_eq!(activity.unsent_since(), None);
        assert!(activity.idle_since().is_some());
    }
}
