//! SIGHUP reads the policies file again.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::http::Policies;

/// Starts a task that reloads the policies at each SIGHUP, as long as the process runs.
///
/// # Errors
///
/// If the signal cannot be received.
pub fn reload_on_sighup(policies: Policies) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            info!("SIGHUP: reading the policies again");
            let policies = policies.clone();
            // The file may be on a slow disk.
            let _ = tokio::task::spawn_blocking(move || policies.reload()).await;
        }
    });
    Ok(())
}
