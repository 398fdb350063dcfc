//! The server to connect to: a fixed address, or the primary that Sentinels name. It is resolved for every connection.
//!
//! So a failover or a changed DNS entry is noticed when the connection ends, and not before. [`super::link`] resolves
//! an endpoint before each attempt. How an address is parsed is in [`crate::redis_address`].

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client::{ConnectError, primary_by_sentinel};
use crate::limit::Unavailable;
use crate::redis_address::{Server, sentinel_logins, with_host_port};
use crate::threads::Thread;

/// How long one Sentinel may take to connect, and then to answer. A Sentinel that requires a login gets two queries.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(100);

/// Where to connect. It is displayed as log lines name it, without a login.
#[derive(Debug)]
pub(super) enum Endpoint {
    /// A fixed address. A host name is looked up for every connection, by the client library.
    Server(Server),
    /// The current primary of these Sentinels.
    Primary(Sentinels),
}

impl Endpoint {
    /// The server to connect to now.
    ///
    /// # Errors
    ///
    /// If no Sentinel names a primary.
    ///
    /// The error of the last Sentinel that was queried. A fixed address never fails here; whether it can be reached is
    /// found when connecting.
    pub(super) async fn server(&self, thread: &Thread) -> Result<Server, ConnectError> {
        match self {
            Self::Server(server) => Ok(server.clone()),
            Self::Primary(sentinels) => sentinels.primary(thread).await,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => server.fmt(f),
            Self::Primary(sentinels) => write!(f, "the primary {}", sentinels.name),
        }
    }
}

/// The Sentinels that monitor one primary.
#[derive(Debug)]
pub(super) struct Sentinels {
    /// At least one. Their logins are those of the servers that they monitor.
    sentinels: Vec<Server>,
    /// The name under which they monitor the primary.
    name: String,
    /// How often the primary was looked up. It chooses the Sentinel to start with.
    lookups: AtomicUsize,
}

impl Sentinels {
    /// Sentinels that monitor the primary `name`. `sentinels` must not be empty.
    pub(super) fn new(sentinels: Vec<Server>, name: String) -> Self {
        Self {
            sentinels,
            name,
            lookups: AtomicUsize::default(),
        }
    }

    /// The primary that the first answering Sentinel names.
    ///
    /// Each lookup starts with another Sentinel. Otherwise one that still names the old primary could keep the server
    /// there for ever.
    async fn primary(&self, thread: &Thread) -> Result<Server, ConnectError> {
        let first = self.lookups.fetch_add(1, Ordering::Relaxed) % self.sentinels.len();
        let (before, from) = self.sentinels.split_at(first);
        let mut last_error = ConnectError::timed_out(SENTINEL_TIMEOUT);
        for sentinel in from.iter().chain(before) {
            match self.query(sentinel, thread).await {
                Ok(primary) => return Ok(primary),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Asks one Sentinel, first without a login, because it need not have the user of the servers that it monitors.
    ///
    /// The address in the answer gets the TLS settings, login and database of the Sentinel's address.
    async fn query(&self, sentinel: &Server, thread: &Thread) -> Result<Server, ConnectError> {
        let [anonymous, logged_in] = sentinel_logins(sentinel);
        let query = |login| primary_by_sentinel(login, &self.name, thread, SENTINEL_TIMEOUT);
        let needs_login = Unavailable::Refused("NOAUTH".to_owned());
        let node = match query(&anonymous).await {
            Err(error) if error.reason == needs_login => query(&logged_in).await,
            answer => answer,
        }?;
        Ok(with_host_port(sentinel, &node.host, node.port))
    }
}
