//! From the signal to the end.

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
    /// Told to end, but serving still, so that nobody is refused while the news spreads.
    Draining,
    /// No more connections, and what is in flight finishes until then.
    Stopping(Instant),
}

/// How near the end is, for all who need to know.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<ShutdownPhase>);

impl Shutdown {
    /// Begins at SIGTERM or Ctrl-C.
    ///
    /// # Errors
    ///
    /// If the signals cannot be waited for.
    pub fn on_signal(flags: &ServingFlags) -> io::Result<Self> {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let (delay, deadline) = (flags.drain_delay, flags.drain_deadline);
        let (tell, told) = watch::channel(ShutdownPhase::Serving);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminated.recv() => info!("SIGTERM: serving for another {delay:?}"),
                _ = interrupted.recv() => info!("Ctrl-C: serving for another {delay:?}"),
            }
            tell.send_replace(ShutdownPhase::Draining);
            sleep(delay).await;
            info!("finishing what is in flight, for {deadline:?} at most");
            tell.send_replace(ShutdownPhase::Stopping(Instant::now() + deadline));
            tell.closed().await;
        });
        Ok(Self(told))
    }

    /// Whether the end has begun.
    pub(crate) fn is_draining(&self) -> bool {
        !matches!(*self.0.borrow(), ShutdownPhase::Serving)
    }

    /// Waits until no more connections are to be accepted, and gives the instant by which the last one must have ended.
    pub(crate) async fn stop_deadline(&mut self) -> Instant {
        let is_stopping = |phase: &ShutdownPhase| matches!(phase, ShutdownPhase::Stopping(_));
        let phase = self.0.wait_for(is_stopping).await.map(|phase| *phase);
        match phase {
            Ok(ShutdownPhase::Stopping(deadline)) => deadline,
            _ => pending().await,
        }
    }
}
