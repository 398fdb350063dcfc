//! The harness: real processes, each with a directory of its own, killed when dropped.
//!
//! [`RedisServer`] is a redis-server with the module on a unix socket; [`HttpServer`] is the rl-server binary on a free
//! port, [`Load`] asks it without a pause, and [`Browser`] is a Chromium that visits it; [`FaultProxy`] is the network
//! between them. [`FakedClock`] is a wall clock that a test sets for its servers. `RL_REDIS_SERVER` names another
//! redis-server or valkey-server to test with.

mod artifacts;
mod browser;
mod calls;
mod certificate;
mod cluster;
mod connection;
mod failover;
mod faked_clock;
mod fault_proxy;
mod history;
mod http;
mod http2;
mod imports;
mod lines;
mod load;
mod meddler;
mod nginx;
mod overshoot;
mod pipelines;
mod plan;
mod planted;
mod process;
mod promises;
mod readme;
mod redis_server;
mod report;
mod sentinel;
mod stored;
mod version;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use artifacts::{Artifacts, artifacts, project};
pub use browser::{Browser, PageRequest, Screen};
pub use calls::{Call, named, other};
pub use certificate::Certificate;
pub use cluster::{Cluster, Redirection};
pub use connection::Redis;
pub use faked_clock::FakedClock;
pub use fault_proxy::{Fault, FaultProxy};
pub use history::{History, wait_for_calls};
pub use http::{Answer, HttpServer, connect_from, get, get_with, send};
pub use http2::Http2;
pub use imports::Imports;
pub use load::{By, Figures, Load, Told, callers};
pub use meddler::meddler;
pub use nginx::Nginx;
pub use overshoot::Overshoot;
pub use pipelines::{Pipelines, Run};
pub use planted::Bug;
pub use process::{Port, Process, allow_files, listens};
pub use readme::{DOCUMENTS, Example, anchor, blocks, broken, document, examples, headings, links};
pub use redis_server::{RedisServer, Setup};
pub use report::{report, table};
pub use sentinel::Sentinels;
pub use stored::Stored;
pub use version::{program, version};

/// How long a condition may take before a test calls it a hang: long, since a busy machine may do nothing for many seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Tells threads to stop when dropped, so that a test that fails does not wait for them for ever.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Whether they are to stop.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `body`, and tells them to stop when it has ended, in whatever way.
    pub fn after<T>(&self, body: impl FnOnce() -> T) -> T {
        struct Tell<'a>(&'a AtomicBool);
        impl Drop for Tell<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _tell = Tell(&self.0);
        body()
    }
}

/// Checks a wait that was `exact_ms` at some moment of this test: a busy machine may have done nothing for minutes since, or
/// set its clock back a little. So such a wait is measured in weeks.
///
/// # Panics
///
/// If it was another.
pub fn assert_about(value_ms: i64, exact_ms: i64) {
    let range = exact_ms - 1_000_000..=exact_ms + 1000;
    assert!(range.contains(&value_ms), "{value_ms} is not in {range:?}");
}

/// Waits until `condition` gives a value, and fails the test if it does not within [`PATIENCE`].
///
/// # Panics
///
/// If the condition never holds; the message names it.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        thread::sleep(Duration::from_millis(2));
    }
}
