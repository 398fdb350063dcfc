//! Where a server is found, each time anew: at its address, or where Sentinels say that the primary is.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client::{NoConnection, primary};
use crate::limit::Unavailable;
use crate::redis_address::{Server, as_sentinel, with_host_port};

/// How long one Sentinel may take to answer.
const ANSWER: Duration = Duration::from_millis(100);

/// Where to connect to.
#[derive(Debug)]
pub(super) enum Endpoint {
    /// There. A name is looked up at each connection.
    Server(Server),
    /// Where the Sentinels say.
    Primary(Sentinels),
}

impl Endpoint {
    /// The server to connect to now.
    pub(super) async fn server(&self) -> Result<Server, NoConnection> {
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

/// Those who watch one primary.
#[derive(Debug)]
pub(super) struct Sentinels {
    sentinels: Vec<Server>,
    name: String,
    /// How many times the primary was asked for.
    turns: AtomicUsize,
}

impl Sentinels {
    pub(super) fn new(sentinels: Vec<Server>, name: String) -> Self {
        let turns = AtomicUsize::default();
        Self {
            sentinels,
            name,
            turns,
        }
    }

    /// The primary by the word of the first Sentinel that answers. Each turn begins with another, so that one which knows
    /// only the old primary does not lead there for ever.
    async fn primary(&self) -> Result<Server, NoConnection> {
        let first = self.turns.fetch_add(1, Ordering::Relaxed) % self.sentinels.len();
        let (before, from) = self.sentinels.split_at(first);
        let mut last = NoConnection::silent(ANSWER);
        for sentinel in from.iter().chain(before) {
            match self.ask(sentinel).await {
                Ok(primary) => return Ok(primary),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, sentinel: &Server) -> Result<Server, NoConnection> {
        let [stranger, known] = as_sentinel(sentinel);
        let noauth = Unavailable::Refused("NOAUTH".to_owned());
        let node = match primary(&stranger, &self.name, ANSWER).await {
            Err(error) if error.reason == noauth => primary(&known, &self.name, ANSWER).await,
            answer => answer,
        }?;
        Ok(with_host_port(sentinel, &node.host, node.port))
    }
}
