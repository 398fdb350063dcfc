//! Graceful shutdown: from the signal, through draining, to the end.
//!
//! [`Shutdown`] only announces the phases. [`crate::connections`] closes connections, and the readiness route reports
//! that the server stops. Shaping asks for the deadline, to reject requests whose delay would end after it.
//!
//! The process ends when every listener has returned, at the latest `-drain-delay` and `-drain-deadline` after the
//! signal. A second signal changes nothing.

use std::future::pending;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::config::ServingFlags;

/// The phases follow each other in this order. None is ever left for an earlier one.
#[derive(Clone, Copy, Debug)]
enum ShutdownPhase {
    /// No signal has arrived.
    Serving,
    /// The signal arrived. The server still serves, so that load balancers can notice before connections are refused.
    ///
    /// It lasts for `-drain-delay`, which is zero by default.
    Draining,
    /// The server accepts no connections. Requests in flight may take until this instant.
    Stopping(Instant),
}

/// The phase of the shutdown. Clones follow the same phase, also those that are made after it has begun.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<ShutdownPhase>);

impl Shutdown {
    /// A shutdown that starts at SIGTERM or SIGINT (Ctrl-C).
    ///
    /// Call it once, inside a Tokio runtime, which runs the task that waits for the signals. From then on neither
    /// signal ends the process by itself.
    ///
    /// # Errors
    ///
    /// If the signal handlers cannot be installed.
    pub fn on_signal(flags: &ServingFlags) -> io::Result<Self> {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let (delay, deadline) = (flags.drain_delay, flags.drain_deadline);
        let (sender, receiver) = watch::channel(ShutdownPhase::Serving);
        tokio::spawn(async move {
            let signal = tokio::select! {
                _ = terminated.recv() => "SIGTERM",
                _ = interrupted.recv() => "Ctrl-C",
            };
            let (delay_s, deadline_s) = (delay.as_secs_f64(), deadline.as_secs_f64());
            info!(
                "{signal}: accepting connections for {delay_s} s more, then finishing requests within {deadline_s} s"
            );
            sender.send_replace(ShutdownPhase::Draining);
            sleep(delay).await;
            info!("stopping: accepting no more connections");
            sender.send_replace(ShutdownPhase::Stopping(Instant::now() + deadline));
            // The channel must live as long as its receivers, which wait for the phases above.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Whether the signal has arrived. It stays true until the end.
    pub(crate) fn is_draining(&self) -> bool {
        !matches!(*self.0.borrow(), ShutdownPhase::Serving)
    }

    /// Waits until the server accepts no more connections. Returns the instant by which the last one must be closed.
    ///
    /// It returns at once, with the same instant, if that is so already. Cancelling it loses nothing, so it can be used
    /// in `select!`.
    pub(crate) async fn stop_deadline(&mut self) -> Instant {
        let is_stopping = |phase: &ShutdownPhase| matches!(phase, ShutdownPhase::Stopping(_));
        let phase = self.0.wait_for(is_stopping).await.map(|phase| *phase);
        match phase {
            Ok(ShutdownPhase::Stopping(deadline)) => deadline,
            _ => pending().await,
        }
    }
}
