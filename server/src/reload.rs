//! SIGHUP reads the policies file again.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::http::Policies;

/// Reloads the policies at each SIGHUP, as long as the process runs. Without a policies file the signal is logged and does
/// nothing.
///
/// The file is read on a thread of its own, one reload after the other. A disk that hangs delays neither requests nor the
/// end of the process.
///
/// # Errors
///
/// If the signal cannot be received or the thread cannot start.
pub fn reload_on_sighup(policies: Policies) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    let (sender, requests) = mpsc::channel::<()>();
    let reload = move || {
        while requests.recv().is_ok() {
            // Signals that came while the file was read are one more request.
            while requests.try_recv().is_ok() {}
            policies.reload();
        }
    };
    thread::Builder::new()
        .name("reload".to_owned())
        .spawn(reload)?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() && sender.send(()).is_ok() {
            info!("SIGHUP: reading the policies again");
        }
    });
    Ok(())
}
