//! The threads that serve requests, each with a single-threaded runtime of its own.
//!
//! A connection and everything that its requests need stay on one thread: memory is freed where it was allocated, and
//! no reply of Redis has to wake another thread. So a request costs less than on a runtime that all threads share.
//!
//! A thread runs two kinds of tasks. Those of [`Thread::runtime`] run in the order in which they are woken. Those of
//! [`Thread::spawn_first`] run before them: once they are woken, they wait for at most [`MAX_BEFORE`] others. Under a flood
//! thousands of connections wait to run. The connection to Redis runs first, so Redis does not look slow.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::thread::{self, JoinHandle};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc, oneshot};

/// How many tasks of the runtime run between two looks at the sockets, and so before a task that goes first. About a
/// millisecond. More would cost less, and delay the replies of Redis.
const MAX_BEFORE: u32 = 61;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A thread that serves requests. Clones spawn on the same one. Tasks that are spawned after it ended never run.
#[derive(Clone, Debug)]
pub struct Thread {
    runtime: Handle,
    first: mpsc::UnboundedSender<Task>,
}

impl Thread {
    /// The runtime of the thread, for the tasks that serve connections.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs a task before those of [`Thread::runtime`]. It must not block, and must do little each time it is woken.
    ///
    /// A panic ends the task and not the thread, as it does for tasks of the runtime.
    pub(crate) fn spawn_first(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = AssertUnwindSafe(task).catch_unwind().map(drop);
        // Fails only after the thread ended.
        let _ = self.first.send(Box::pin(task));
    }
}

/// All threads that serve requests. Dropping it ends them, with the tasks that still run there.
#[derive(Debug)]
pub struct Threads(Vec<(Thread, Running)>);

/// Ends its thread when it is dropped.
#[derive(Debug)]
struct Running {
    /// Dropping the sender ends the thread. Empty only in [`Drop`].
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts this many threads, named `http-0`, `http-1` and so on.
    ///
    /// # Errors
    ///
    /// If the system cannot start a thread or its runtime.
    pub fn start(count: usize) -> io::Result<Self> {
        let threads: io::Result<_> = (0..count).map(start).collect();
        threads.map(Self).map_err(|error| {
            let reason =
                format!("cannot start {count} threads: {error}; choose fewer with -threads");
            io::Error::new(error.kind(), reason)
        })
    }

    /// The threads, always in the same order.
    pub fn iter(&self) -> impl Iterator<Item = &Thread> {
        self.0.iter().map(|(thread, _running)| thread)
    }
}

fn start(index: usize) -> io::Result<(Thread, Running)> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(MAX_BEFORE)
        .build()?;
    let (first, tasks) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let thread = Thread {
        runtime: runtime.handle().clone(),
        first,
    };
    let joined = thread::Builder::new()
        .name(format!("http-{index}"))
        .spawn(move || run(runtime, tasks, stopped))?;
    let running = Running {
        stop: Some(stop),
        thread: Some(joined),
    };
    Ok((thread, running))
}

/// Runs the tasks of both kinds until `stopped`.
///
/// Those that go first are part of the one future that the runtime polls before its tasks.
fn run(runtime: Runtime, tasks: mpsc::UnboundedReceiver<Task>, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        tokio::select! {
            // An error: the sender was dropped.
            _ = stopped => {}
            never = run_first(tasks) => match never {},
        }
    });
    // Does not wait for lookups.
    runtime.shutdown_background();
}

async fn run_first(mut tasks: mpsc::UnboundedReceiver<Task>) -> Infallible {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(task) = tasks.recv() => running.push(task),
            Some(()) = running.next() => {}
            // Nothing runs, and nothing can be spawned any more.
            else => pending().await,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // An error is a panic of the thread, which has been logged.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_panic_of_a_first_task_does_not_end_its_thread() {
        let threads = Threads::start(1).unwrap();
        let thread = threads.iter().next().unwrap();
        thread.spawn_first(async { panic!("on purpose") });
        let (sender, receiver) = channel();
        let of_first = sender.clone();
        thread.spawn_first(async move { of_first.send("first").unwrap() });
        assert_eq!(receiver.recv(), Ok("first"));
        thread.runtime().spawn(async move { sender.send("other") });
        assert_eq!(receiver.recv(), Ok("other"));
    }

    #[test]
    fn dropping_the_threads_drops_their_tasks() {
        let threads = Threads::start(2).unwrap();
        let (sender, receiver) = channel::<()>();
        for thread in threads.iter() {
            let held = sender.clone();
            thread.spawn_first(async move {
                let _held = held;
                pending::<()>().await;
            });
        }
        drop((sender, threads));
        assert!(receiver.recv().is_err(), "no task holds the sender");
    }
}
