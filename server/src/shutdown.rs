//! Graceful shutdown: from the signal, through draining, to the end.
//!
//! [`Shutdown`] only announces the phases. [`crate::connections`] closes connections, and the readiness route reports
//! that the server stops.

use std::future::pending;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::config::ServingFlags;

#[derive(Clone, Copy, Debug)]
enum ShutdownPhase {
    Serving,
    /// The signal arrived. The server still serves, so that load balancers can notice before connections are refused.
    Draining,
    /// The server accepts no connections. Requests in flight may take until this instant.
    Stopping(Instant),
}

/// The phase of the shutdown. Clones follow the same phase.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<ShutdownPhase>);

impl Shutdown {
    /// A shutdown that starts at SIGTERM or SIGINT (Ctrl-C).
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
                "{signal}, draining: new connections accepted for {delay_s} s, in-flight requests have {deadline_s} s"
            );
            sender.send_replace(ShutdownPhase::Draining);
            sleep(delay).await;
            info!("stopping: no new connections accepted");
            sender.send_replace(ShutdownPhase::Stopping(Instant::now() + deadline));
            // The channel must live as long as its receivers, which wait for the phases above.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Whether the signal has arrived.
    pub(crate) fn is_draining(&self) -> bool {
        !matches!(*self.0.borrow(), ShutdownPhase::Serving)
    }

    /// Waits until the server accepts no more connections. Returns the instant by which the last one must be closed.
    pub(crate) async fn stop_deadline(&mut self) -> Instant {
        let is_stopping = |phase: &ShutdownPhase| matches!(phase, ShutdownPhase::Stopping(_));
        let phase = self.0.wait_for(is_stopping).await.map(|phase| *phase);
        match phase {
            Ok(ShutdownPhase::Stopping(deadline)) => deadline,
            _ => pending().await,
        }
    }
}
