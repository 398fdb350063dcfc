//! The server to connect to: a fixed address, or the primary that Sentinels name. It is resolved for every
//! connection.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client::{ConnectError, primary_by_sentinel};
use crate::limit::Unavailable;
use crate::redis_address::{Server, sentinel_logins, with_host_port};

/// How long one Sentinel may take to answer.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(100);

/// Where to connect.
#[derive(Debug)]
pub(super) enum Endpoint {
    /// A fixed address. A host name is looked up for every connection.
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
    pub(super) async fn server(&self) -> Result<Server, ConnectError> {
        match self {
            Self::Server(server) => Ok(server.clone()),
            Self::Primary(sentinels) => sentinels.primary().await,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => write!(f, "{}", server.addr()),
            Self::Primary(sentinels) => write!(f, "the primary {}", sentinels.name),
        }
    }
}

/// The Sentinels that monitor one primary.
#[derive(Debug)]
pub(super) struct Sentinels {
    sentinels: Vec<Server>,
    /// The name under which they monitor the primary.
    name: String,
    /// How often the primary was looked up.
    lookups: AtomicUsize,
}

impl Sentinels {
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
    async fn primary(&self) -> Result<Server, ConnectError> {
        let first = self.lookups.fetch_add(1, Ordering::Relaxed) % self.sentinels.len();
        let (before, from) = self.sentinels.split_at(first);
        let mut last_error = ConnectError::timed_out(SENTINEL_TIMEOUT);
        for sentinel in from.iter().chain(before) {
            match self.query(sentinel).await {
                Ok(primary) => return Ok(primary),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// Asks one Sentinel, first without a login, because it need not have the user of the servers that it monitors.
    async fn query(&self, sentinel: &Server) -> Result<Server, ConnectError> {
        let [anonymous, logged_in] = sentinel_logins(sentinel);
        let query = |sentinel| primary_by_sentinel(sentinel, &self.name, SENTINEL_TIMEOUT);
        let needs_login = Unavailable::Refused("NOAUTH".to_owned());
        let node = match query(anonymous).await {
            Err(error) if error.reason == needs_login => query(logged_in).await,
            answer => answer,
        }?;
        Ok(with_host_port(sentinel, &node.host, node.port))
    }
}
