//! Answers that wait for their turn, so that what they let pass leaves at the rate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::config::ShapingFlags;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Why an allowed request does not wait for its turn. Its tokens stay taken: those after it have been told theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShapeError {
    /// As many wait as may.
    QueueFull,
    /// Its turn comes after the server's end.
    Stopping,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "too many requests wait for their turn",
            Self::Stopping => "the server stops before the turn of this request",
        })
    }
}

/// The places of those who wait.
pub(crate) struct Shaping {
    places: Semaphore,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Shaping {
    /// `None` if answers are not to wait.
    pub(crate) fn new(
        flags: &ShapingFlags,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Option<Self> {
        flags.shape.then(|| Self {
            places: Semaphore::new(flags.shape_waiting.min(Semaphore::MAX_PERMITS)),
            metrics,
            shutdown,
        })
    }

    /// Waits for a turn that comes after `delay`. Whoever stops waiting, because its client hangs up, frees its place.
    pub(crate) async fn wait(&self, delay: Duration) -> Result<(), ShapeError> {
        if delay.is_zero() {
            return Ok(());
        }
        let turn = Instant::now() + delay;
        let waited = match self.places.try_acquire() {
            Ok(_place) => self.wait_until(turn).await,
            Err(_) => Err(ShapeError::QueueFull),
        };
        if waited.is_err() {
            self.metrics.shaping.refused.inc();
        }
        waited
    }

    async fn wait_until(&self, turn: Instant) -> Result<(), ShapeError> {
        let _counted = Counted::new(&self.metrics.shaping.waiting);
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            () = sleep_until(turn) => return Ok(()),
            end = shutdown.stop_deadline() => if turn > end {
                return Err(ShapeError::Stopping);
            }
        }
        sleep_until(turn).await;
        Ok(())
    }
}

/// One of those who wait now.
struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    fn new(waiting: &'a Gauge) -> Self {
        waiting.inc();
        Self(waiting)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
