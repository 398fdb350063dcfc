//! What all links of a thread share: the links to the nodes of a cluster, or the only one.

use std::sync::Arc;
use std::time::Duration;

use super::server_state::ServerStates;
use crate::metrics::CallMetrics;
use crate::threads::Thread;

/// What a link needs besides its server.
#[derive(Clone, Debug)]
pub(super) struct LinkConfig {
    /// How long the calls that the link makes itself may take: the first call over a connection, and checks. A request
    /// brings the instant of its own deadline.
    pub(super) call_timeout: Duration,
    pub(super) metrics: Arc<CallMetrics>,
    /// What the links of all threads to one server share.
    pub(super) servers: Arc<ServerStates>,
    /// The number of links to the server that are made at the start: one for each thread. 0 for a server that is found
    /// later, by one thread after the other.
    pub(super) min_links: usize,
    /// Runs the tasks of the links.
    pub(super) thread: Thread,
}
