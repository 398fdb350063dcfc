//! The thread that talks to Redis.
//!
//! A flood of HTTP requests keeps the threads that serve them busy: whatever is ready waits behind thousands of other tasks.
//! Replies of Redis that waited there too would look like silence. On a thread of their own they are read when they come,
//! and many are read and written at a time, which costs less than a wake-up for each.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads for look-ups of host names, each of which may hang for as long as the resolver likes.
const LOOKUP_THREADS: usize = 2;

/// Runs the tasks of all connections to Redis. Dropping it ends them, and waits for nothing.
pub(super) struct IoThread(Option<Runtime>);

impl IoThread {
    /// # Errors
    ///
    /// If the system has no thread to give.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(LOOKUP_THREADS)
            .thread_name("redis")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Where to spawn tasks that talk to Redis.
    pub(super) fn handle(&self) -> Handle {
        let runtime = self.0.as_ref();
        runtime
            .expect("it is taken only when dropped")
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
