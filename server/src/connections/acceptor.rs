//! Accepts connections until shutdown, keeps their number below `-max-connections`, and lets them finish.
//!
//! Each connection is a task that runs [`super::connection`]. Which ones to close for new ones is up to
//! [`super::eviction`].
//!
//! Each connection is served on one thread, that with the fewest connections when it is accepted. So a few long ones do
//! not share a thread while another has none.
//!
//! One task per listener owns everything here, so nothing is locked. While it waits for a slot it accepts nothing;
//! connections that are open are served meanwhile, by their own tasks.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::metrics::counter::Counter;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout_at};
use tracing::{debug, warn};

use super::activity::Activity;
use super::connection::ConnectionServer;
use super::delivery::RESPONSE_TIMEOUT;
use super::eviction::{self, IdleConnection};
use super::listener::{AcceptedStream, Listener};
use crate::client_address::Peer;
use crate::config::ServingFlags;
use crate::log_throttle::LogThrottle;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::site::Site;

/// Open files that are not client connections: the listeners, Redis, the log, the runtime's own.
const OTHER_FILES: u64 = 64;

/// How long to wait before accepting again when files or memory ran out, or when no connection was idle. It bounds how
/// often all connections are looked at in a flood.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// How often all connections are checked for [`RESPONSE_TIMEOUT`]. A client may take up to this much longer.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Serves the connections of `listener` until `shutdown`, each by one of the `sites`, on the runtime beside it. There must
/// be at least one. Then finishes requests in flight, until the deadline of the shutdown.
///
/// It returns once the last connection is closed, or at that deadline, which closes the rest. A process with two
/// listeners calls it once for each, and `-max-connections` then holds for each.
pub async fn serve(
    listener: Listener,
    sites: Vec<(Handle, Site)>,
    flags: &ServingFlags,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) {
    let mut shutdown = shutdown.clone();
    let mut connections = Connections::new(sites, flags, metrics.clone());
    let deadline = tokio::select! {
        deadline = shutdown.stop_deadline() => deadline,
        never = connections.accept_from(&listener) => never,
    };
    // Clients learn of the end by their connections before new ones are refused.
    connections.stop();
    drop(listener);
    connections.finish(deadline).await;
}

/// The open connections of one listener.
struct Connections {
    /// Serve the connections of one thread each.
    servers: Vec<ThreadServer>,
    /// How many connections were opened.
    opened: usize,
    metrics: Arc<Metrics>,
    /// The maximum number of connections: `-max-connections`, or what the limit of open files allows.
    max: usize,
    /// One task for each connection. Connections that are being closed count until their task has ended.
    tasks: JoinSet<()>,
    /// The connections that may be closed, by the id of their task.
    ///
    /// One that is being closed is no longer here, so it is not closed twice.
    open: HashMap<Id, (AbortHandle, Arc<Activity>)>,
    /// Throttles the two warnings below, together.
    throttle: LogThrottle,
    /// Ticks each [`SWEEP_INTERVAL`].
    sweep: Interval,
}

/// Serves connections on one thread.
struct ThreadServer {
    runtime: Handle,
    server: Arc<ConnectionServer>,
    /// Each open connection has a clone.
    open: Arc<()>,
}

impl ThreadServer {
    /// The number of its connections that are open.
    fn open(&self) -> usize {
        Arc::strong_count(&self.open) - 1
    }
}

impl Connections {
    /// No connections yet. Raises the limit of open files if it is too low.
    fn new(sites: Vec<(Handle, Site)>, flags: &ServingFlags, metrics: Arc<Metrics>) -> Self {
        let servers = sites.into_iter().map(|(runtime, site)| ThreadServer {
            runtime,
            server: Arc::new(ConnectionServer::new(site, flags, metrics.clone())),
            open: Arc::default(),
        });
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            servers: servers.collect(),
            opened: 0,
            metrics,
            max: allowed_by_open_files(flags.max_connections),
            tasks: JoinSet::new(),
            open: HashMap::new(),
            throttle: LogThrottle::new(Instant::now().into()),
            sweep,
        }
    }

    /// Accepts and opens connections for ever. It ends only by being dropped.
    ///
    /// A slot is made after a connection was accepted and before it is opened, so one connection more than the maximum
    /// exists for a moment.
    async fn accept_from(&mut self, listener: &Listener) -> ! {
        loop {
            match self.accept(listener).await {
                Ok(accepted) => {
                    self.make_room().await;
                    self.open(accepted);
                }
                Err(error) if is_client_error(&error) => {}
                // Out of files or memory: closing a connection helps, and trying again at once does not.
                Err(error) => {
                    self.warn_throttled(&format!("cannot accept a connection: {error}"));
                    self.free_a_slot().await;
                }
            }
        }
    }

    /// Waits for the next connection. Meanwhile takes note of those that ended, and closes those whose client does not
    /// read.
    async fn accept(&mut self, listener: &Listener) -> io::Result<(AcceptedStream, Peer)> {
        loop {
            tokio::select! {
                accepted = listener.accept() => return accepted,
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
                _ = self.sweep.tick() => self.close_unread(),
            }
        }
    }

    /// Waits until there is room for one more connection. While none is idle, further connections wait in the kernel's
    /// queue.
    async fn make_room(&mut self) {
        while self.tasks.len() >= self.max {
            self.warn_throttled("reached -max-connections: closing idle connections");
            self.free_a_slot().await;
        }
    }

    /// Closes some idle connections, and waits for a short time until one has ended.
    async fn free_a_slot(&mut self) {
        if let Some(ended) = self.tasks.try_join_next_with_id() {
            return self.forget(ended);
        }
        self.close_idle();
        tokio::select! {
            Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
            _ = self.sweep.tick() => self.close_unread(),
            () = sleep(RETRY_AFTER) => {}
        }
    }

    /// Closes the connections that [`eviction`] chooses.
    fn close_idle(&mut self) {
        let idle = self.open.iter().filter_map(|(id, (_, activity))| {
            Some(IdleConnection {
                id: *id,
                idle_since: activity.idle_since()?,
                has_requested: activity.has_requested(),
                unsent_since: activity.unsent_since(),
            })
        });
        for id in eviction::choose(idle, self.max, Instant::now()) {
            self.close(id, &self.metrics.clone().connections.evicted);
        }
    }

    /// Closes connections whose client has not read a response for [`RESPONSE_TIMEOUT`].
    fn close_unread(&mut self) {
        let timed_out = |activity: &Activity| {
            let since = activity.unsent_since();
            since.is_some_and(|since| since.elapsed() >= RESPONSE_TIMEOUT)
        };
        let open = self.open.iter();
        let unread = open.filter(|(_, (_, activity))| timed_out(activity));
        let unread: Vec<Id> = unread.map(|(id, _)| *id).collect();
        for id in unread {
            self.close(id, &self.metrics.clone().connections.response_timeout);
        }
    }

    /// Closes a connection by ending its task, and counts it under `reason`. What is left of a response is not sent.
    fn close(&mut self, id: Id, reason: &Counter) {
        if let Some((task, _)) = self.open.remove(&id) {
            task.abort();
            reason.inc();
        }
    }

    /// Starts to serve an accepted connection.
    fn open(&mut self, (stream, peer): (AcceptedStream, Peer)) {
        // Before the connection can request the metrics.
        self.metrics.connections.open.inc();
        let activity = Arc::new(Activity::new());
        let thread = &self.servers[self.least_loaded()];
        let (server, open) = (thread.server.clone(), thread.open.clone());
        let of_task = activity.clone();
        let serving = async move {
            let _open = open;
            match stream.register() {
                Ok(stream) => server.serve((stream, peer), of_task).await,
                Err(error) => debug!("{peer}: {error}"),
            }
        };
        let task = self.tasks.spawn_on(serving, &thread.runtime);
        self.open.insert(task.id(), (task, activity));
        self.opened = self.opened.wrapping_add(1);
    }

    /// The index of the thread with the fewest connections. The threads with equally many take turns.
    fn least_loaded(&self) -> usize {
        let threads = self.servers.len();
        let turns = (0..threads).map(|turn| (self.opened + turn) % threads);
        let least = turns.min_by_key(|index| self.servers[*index].open());
        least.expect("there is at least one thread")
    }

    /// Takes note of a connection whose task has ended, by itself, by [`Connections::close`] or by a panic.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.open.remove(&id);
        self.metrics.connections.open.dec();
    }

    /// Tells all connections to finish their requests in flight and to close.
    fn stop(&self) {
        for (_task, activity) in self.open.values() {
            activity.stop();
        }
    }

    /// Waits until all connections have ended, at most until `deadline`. Dropping `self` closes those that are left.
    async fn finish(mut self, deadline: Instant) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            warn!(
                "closed {} connections with requests in flight: -drain-deadline is over",
                self.tasks.len()
            );
        }
    }

    /// Logs at most once in ten seconds, since clients that open connections could otherwise fill the log.
    fn warn_throttled(&self, message: &str) {
        if self.throttle.claim(Instant::now().into()) {
            warn!("{message}");
        }
    }
}

/// Whether only this connection failed: the client closed it before it was accepted.
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Raises the process's limit of open files for this many connections, as far as the hard limit allows. Returns how
/// many connections the limit allows, at least 1.
///
/// A limit that cannot be raised is no error: the server then serves fewer connections and logs a warning.
fn allowed_by_open_files(connections: usize) -> usize {
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_FILES);
    let Ok((mut soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return connections;
    };
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() {
        soft = wanted.min(hard);
    }
    let allowed = usize::try_from(soft.saturating_sub(OTHER_FILES))
        .unwrap_or(usize::MAX)
        .max(1);
    if allowed < connections {
        warn!(
            "accepting at most {allowed} connections instead of {connections}: the limit of open files is {soft}"
        );
    }
    allowed.min(connections)
}
