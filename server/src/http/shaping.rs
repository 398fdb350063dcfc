//! `-shape`: an allowed request waits here for its delay before it is answered, so that answers leave at the rate.
//!
//! The delay is part of the decision. This file only waits, and bounds how many requests wait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use crate::config::ShapingFlags;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Why an allowed request does not wait. Its tokens stay spent, since later callers already have their delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShapeError {
    /// The maximum number of requests wait.
    QueueFull,
    /// Its delay ends after the server has stopped.
    Stopping,
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "too many requests wait for their delay; try again later",
            Self::Stopping => {
                "the server stops before the delay of this request is over; try again later"
            }
        })
    }
}

/// Limits how many requests wait.
pub(crate) struct Shaping {
    permits: Semaphore,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
}

impl Shaping {
    /// `None` without `-shape`.
    pub(crate) fn new(
        flags: &ShapingFlags,
        metrics: Arc<Metrics>,
        shutdown: Shutdown,
    ) -> Option<Self> {
        flags.shape.then(|| Self {
            permits: Semaphore::new(flags.shape_waiting.min(Semaphore::MAX_PERMITS)),
            metrics,
            shutdown,
        })
    }

    /// Waits until `delay` is over. A request whose client disconnects stops waiting and frees its permit.
    ///
    /// # Errors
    ///
    /// [`ShapeError`], at once, if the request cannot wait.
    pub(crate) async fn wait(&self, delay: Duration) -> Result<(), ShapeError> {
        if delay.is_zero() {
            return Ok(());
        }
        let due = Instant::now() + delay;
        let waited = match self.permits.try_acquire() {
            Ok(_permit) => self.wait_until(due).await,
            Err(_) => Err(ShapeError::QueueFull),
        };
        if waited.is_err() {
            self.metrics.shaping.refused.inc();
        }
        waited
    }

    async fn wait_until(&self, due: Instant) -> Result<(), ShapeError> {
        let _guard = WaitingGuard::new(&self.metrics.shaping.waiting);
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            () = sleep_until(due) => return Ok(()),
            deadline = shutdown.stop_deadline() => if due > deadline {
                return Err(ShapeError::Stopping);
            }
        }
        sleep_until(due).await;
        Ok(())
    }
}

/// Counts one waiting request for as long as it lives.
struct WaitingGuard<'a>(&'a Gauge);

impl<'a> WaitingGuard<'a> {
    fn new(waiting: &'a Gauge) -> Self {
        waiting.inc();
        Self(waiting)
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
