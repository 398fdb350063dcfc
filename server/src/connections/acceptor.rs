//! Serving until told to stop: accepts connections, holds as many as it may, and lets them finish.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout_at};
use tracing::{debug, warn};

use super::activity::Activity;
use super::connection::Http;
use crate::config::ServingFlags;
use crate::log_throttle::LogThrottle;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::site::Site;

/// Open files that are no connection of a client: the listeners, Redis, the log, the runtime's own.
const OTHER_FILES: u64 = 64;

/// How long to wait after the machine had no means for a connection, and between looks for one that has become idle.
const PAUSE: Duration = Duration::from_millis(20);

/// One in so many connections is closed at a time to make room: to find one takes a look at all of them.
const AT_A_TIME: usize = 64;

/// One in so many connections may be a stranger, who has never asked, before others make room for it.
const ROOM_FOR_STRANGERS: usize = 4;

/// How long a stranger may take to ask before it may be closed for another.
const GRACE: Duration = Duration::from_millis(100);

/// How long a client may take to read an answer. The time that a request waits for its answer does not count.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often all connections are checked for that.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Serves until `shutdown`, then finishes what is in flight, until its deadline.
pub async fn serve(
    listener: TcpListener,
    site: Site,
    flags: &ServingFlags,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) {
    let mut shutdown = shutdown.clone();
    let mut connections = Connections::new(site, flags, metrics.clone(), shutdown.clone());
    let deadline = tokio::select! {
        deadline = shutdown.stop_deadline() => deadline,
        never = connections.accept_from(&listener) => never,
    };
    drop(listener);
    connections.finish(deadline).await;
}

/// The open connections, at most so many of them.
struct Connections {
    http: Arc<Http>,
    metrics: Arc<Metrics>,
    most: usize,
    shutdown: Shutdown,
    tasks: JoinSet<()>,
    /// Those that may be closed to make room.
    open: HashMap<Id, (AbortHandle, Arc<Activity>)>,
    trouble_log: LogThrottle,
    sweep: Interval,
}

impl Connections {
    fn new(site: Site, flags: &ServingFlags, metrics: Arc<Metrics>, shutdown: Shutdown) -> Self {
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            http: Arc::new(Http::new(site, flags, metrics.clone())),
            metrics,
            most: allowed_by_open_files(flags.max_connections),
            shutdown,
            tasks: JoinSet::new(),
            open: HashMap::new(),
            trouble_log: LogThrottle::new(Instant::now().into()),
            sweep,
        }
    }

    async fn accept_from(&mut self, listener: &TcpListener) -> ! {
        loop {
            match self.next(listener).await {
                Ok(accepted) => {
                    self.make_room().await;
                    self.open(accepted);
                }
                Err(error) if is_of_that_connection(&error) => {}
                // Out of files or memory: one connection less helps, and trying on at once does not.
                Err(error) => {
                    self.warn_throttled(&format!("cannot accept a connection: {error}"));
                    self.free_a_slot().await;
                }
            }
        }
    }

    async fn next(&mut self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            tokio::select! {
                accepted = listener.accept() => return accepted,
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
                _ = self.sweep.tick() => self.close_those_that_do_not_read(),
            }
        }
    }

    /// If there are as many as may be, one must go; while none is idle the new one waits, and behind it those that the kernel holds.
    async fn make_room(&mut self) {
        while self.tasks.len() >= self.most {
            self.warn_throttled("as many connections as -max-connections allows");
            self.free_a_slot().await;
        }
    }

    /// Waits a little for a connection to end, and closes some that are idle.
    async fn free_a_slot(&mut self) {
        if let Some(ended) = self.tasks.try_join_next_with_id() {
            return self.forget(ended);
        }
        self.close_the_longest_idle();
        tokio::select! {
            Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
            _ = self.sweep.tick() => self.close_those_that_do_not_read(),
            () = sleep(PAUSE) => {}
        }
    }

    /// Closes those that have asked nothing for longest. First unused, of whom whoever floods has any number, unless they are
    /// few: then there are not enough places to ask from.
    fn close_the_longest_idle(&mut self) {
        let quiet = self.open.iter().filter_map(|(id, (_, activity))| {
            let since = activity.quiet_since()?;
            Some((*id, since, activity.has_asked()))
        });
        let (idle, mut unused): (Vec<_>, Vec<_>) = quiet.partition(|(_, _, has_asked)| *has_asked);
        let are_few = unused.len() <= self.most / ROOM_FOR_STRANGERS;
        unused.retain(|(_, since, _)| since.elapsed() >= GRACE);
        let mut quiet = if are_few && !idle.is_empty() {
            idle
        } else {
            unused
        };
        let count = (self.most / AT_A_TIME).max(1);
        if count < quiet.len() {
            quiet.select_nth_unstable_by_key(count, |(_, since, _)| *since);
        }
        for (id, _, _) in quiet.into_iter().take(count) {
            self.close(id, &self.metrics.clone().connections.evicted);
        }
    }

    /// Closes connections with an answer that the client has not read for [`RESPONSE_TIMEOUT`].
    fn close_those_that_do_not_read(&mut self) {
        let timed_out = |activity: &Activity| {
            let since = activity.unsent_since();
            since.is_some_and(|since| since.elapsed() >= RESPONSE_TIMEOUT)
        };
        let open = self.open.iter();
        let overdue = open.filter(|(_, (_, activity))| timed_out(activity));
        let overdue: Vec<Id> = overdue.map(|(id, _)| *id).collect();
        for id in overdue {
            self.close(id, &self.metrics.clone().connections.response_timeout);
        }
    }

    fn close(&mut self, id: Id, reason: &Counter) {
        if let Some((task, _)) = self.open.remove(&id) {
            task.abort();
            reason.inc();
        }
    }

    fn open(&mut self, (stream, peer): (TcpStream, SocketAddr)) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!("{peer}: TCP_NODELAY: {error}");
        }
        // Before it can ask how many there are.
        self.metrics.connections.open.inc();
        let activity = Arc::new(Activity::new());
        let http = self.http.clone();
        let task =
            self.tasks
                .spawn(http.serve((stream, peer), activity.clone(), self.shutdown.clone()));
        self.open.insert(task.id(), (task, activity));
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.open.remove(&id);
        self.metrics.connections.open.dec();
    }

    async fn finish(mut self, deadline: Instant) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            warn!(
                "{} connections are cut: they did not finish in time",
                self.tasks.len()
            );
        }
    }

    /// Whoever opens connections could otherwise fill the log.
    fn warn_throttled(&self, trouble: &str) {
        if self.trouble_log.claim(Instant::now().into()) {
            warn!("{trouble}");
        }
    }
}

/// Whether the client alone is to blame: its connection was gone before it was accepted.
fn is_of_that_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Raises the limit of open files to what so many connections need, as far as it may be; gives how many it allows.
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
            "{allowed} connections at a time and not {connections}: no more than {soft} files may be open"
        );
    }
    allowed.min(connections)
}
