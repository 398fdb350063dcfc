//! The harness: real processes, each with its own directory, killed when dropped.
//!
//! [`RedisServer`] is a redis-server with the module on a unix socket; [`HttpServer`] is the rl-server binary on a free
//! port, [`Load`] sends it requests without a pause, and [`Browser`] is a Chromium that opens its page; [`FaultProxy`]
//! is the network between them. [`FakedClock`] is a wall clock that a test sets for its servers. `RL_REDIS_SERVER`
//! names another redis-server or valkey-server to test with.

mod application;
mod artifacts;
mod axe;
mod bounds;
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
mod overshoot;
mod pipelines;
mod plan;
mod planted;
mod policies_file;
mod process;
mod promises;
mod proxy;
mod readme;
mod redis_server;
mod report;
mod sentinel;
mod stored;
mod version;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use application::Application;
pub use artifacts::{Artifacts, artifacts, project};
pub use axe::AxeResult;
pub use bounds::Bound;
pub use browser::{Browser, PageRequest, Screen};
pub use calls::{Call, named, other};
pub use certificate::Certificate;
pub use cluster::{Cluster, Redirection};
pub use connection::Redis;
pub use faked_clock::FakedClock;
pub use fault_proxy::{Fault, FaultProxy};
pub use history::{History, wait_for_calls};
pub use http::{Answer, HttpServer, connect_from, connect_unix, get, get_with, send};
pub use http2::Http2;
pub use imports::Imports;
pub use load::{By, Figures, Load, TimedAnswer, callers};
pub use meddler::meddler;
pub use overshoot::Overshoot;
pub use pipelines::{Pipelines, Run};
pub use planted::Bug;
pub use policies_file::PoliciesFile;
pub use process::{Port, Process, allow_files, children, cpu_seconds, listens};
pub use proxy::{Program, Proxy, installed};
pub use readme::{
    DOCUMENTS, Example, Fenced, anchor, blocks, broken, document, examples, fenced, headings,
    links, section,
};
pub use redis_server::{RedisServer, Setup};
pub use report::{report, table};
pub use sentinel::Sentinels;
pub use stored::Stored;
pub use version::{program, version};

/// How long a condition may take before a test fails. It is long because a busy machine may stall for many seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A flag that tells threads to stop. It is set even if the test fails, so that the test does not wait for its threads
/// for ever.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Whether the threads should stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `body`, and sets the flag when it returns or panics.
    pub fn after<T>(&self, body: impl FnOnce() -> T) -> T {
        struct SetOnDrop<'a>(&'a AtomicBool);
        impl Drop for SetOnDrop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _guard = SetOnDrop(&self.0);
        body()
    }
}

/// Checks a wait that was `exact_ms` at some moment of this test. The tolerance is large, because a busy machine may
/// have stalled for minutes since or set its clock back a little. Such waits are therefore measured in weeks.
///
/// # Panics
///
/// If the wait is outside the tolerance.
pub fn assert_about(value_ms: i64, exact_ms: i64) {
    let range = exact_ms - 1_000_000..=exact_ms + 1000;
    assert!(range.contains(&value_ms), "{value_ms} is not in {range:?}");
}

/// Waits until `condition` returns a value, and returns it.
///
/// # Panics
///
/// If there is none within [`PATIENCE`]. The message contains `what`.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
