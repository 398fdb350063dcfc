//! The thread that reads and writes all connections to Redis.
//!
//! Under a flood of HTTP requests the threads that serve them have thousands of tasks to run. A reply of Redis that had
//! to wait behind those would look as if Redis were slow. On a thread of its own it is read when it arrives. One thread
//! also reads and writes many calls at a time, which costs less than a wake-up for each.
//!
//! It runs the tasks of [`super::link`] and [`super::cluster`] and those that the client library spawns for each
//! connection. Nothing may block it. Requests wait for their replies on their own threads.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that look up host names. A slow resolver can block each of them for a long time. They are apart from the one
/// thread of [`IoThread`], which never waits for a lookup.
const LOOKUP_THREADS: usize = 2;

/// A Tokio runtime with one thread. Dropping it stops its tasks and does not wait for lookups.
///
/// It can be dropped inside another runtime, where dropping a [`Runtime`] itself would panic. The option is empty only
/// in [`Drop`].
pub(super) struct IoThread(Option<Runtime>);

impl IoThread {
    /// Starts the thread, named `redis`.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(LOOKUP_THREADS)
            .thread_name("redis")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Spawns tasks on this thread. A handle may outlive it; tasks that are spawned then never run.
    pub(super) fn handle(&self) -> Handle {
        let runtime = self.0.as_ref();
        runtime
            .expect("only drop takes the runtime")
            .handle()
            .clone()
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
