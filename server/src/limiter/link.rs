//! A link to one Redis server: it connects, reconnects when a connection ends, and fails requests at once while the
//! server is gone.
//!
//! One task per link, [`maintain`], makes the connections and is the only place that changes the [`LinkState`].
//! Requests read that state and make their calls over the current [`LiveConnection`], which measures them and reports
//! when the connection must be given up. Requests never connect, and no call is sent twice.

use std::sync::Arc;
use std::time::Duration;

use rl_bucket::Decision;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::breaker::{DisconnectReason, LinkState};
use super::client::{CallError, ConnectError};
use super::endpoint::Endpoint;
use super::live_connection::LiveConnection;
use super::slots::Slots;
use crate::limit::{LimitRequest, Unavailable};
use crate::metrics::{Breaker, CallMetrics};
use crate::redis_address::Node;

/// How long one attempt to connect may take, once a Sentinel has named the server. Redis must decide again within a
/// second of its return, so this and [`MIN_CONNECT_INTERVAL`] together are well below that.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

/// The shortest time from the start of one attempt to connect to the start of the next.
const MIN_CONNECT_INTERVAL: Duration = Duration::from_millis(100);

/// What all links of a limiter have in common.
#[derive(Clone, Debug)]
pub(super) struct LinkConfig {
    /// How long a call may take.
    pub(super) deadline: Duration,
    pub(super) metrics: Arc<CallMetrics>,
    /// Runs the tasks of the links.
    pub(super) runtime: Handle,
}

/// Maintains the connection to one server. Dropping the link closes the connection.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Receiver<LinkState<Arc<LiveConnection>>>,
    /// Aborts the task when dropped.
    _task: JoinSet<()>,
}

impl Link {
    /// Starts to connect, and returns at once.
    pub(super) fn start(endpoint: Endpoint, config: LinkConfig) -> Self {
        let (state_sender, state) = watch::channel(LinkState::Connecting);
        let runtime = config.runtime.clone();
        let mut task = JoinSet::new();
        task.spawn_on(maintain(endpoint, config, state_sender), &runtime);
        Self { state, _task: task }
    }

    /// Sends the request once and waits for its decision until `deadline`.
    ///
    /// # Errors
    ///
    /// At once if the server is gone or too many calls wait for it; otherwise by the deadline.
    pub(super) async fn decide(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decision, CallError> {
        let connection = self.ready(deadline).await?;
        connection.decide(request, deadline).await
    }

    /// Like [`Link::decide`], for a node that is still importing the slot of the key.
    pub(super) async fn decide_importing(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decision, CallError> {
        let connection = self.ready(deadline).await?;
        connection.decide_importing(request, deadline).await
    }

    /// Asks this server, the cluster node `node`, which node serves which slots.
    pub(super) async fn slots(
        &self,
        node: &Node,
        deadline: Instant,
    ) -> Result<Slots<Node>, CallError> {
        let connection = self.ready(deadline).await?;
        connection.slots(node, deadline).await
    }

    /// Whether requests fail at once.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Gone(_))
    }

    async fn ready(&self, deadline: Instant) -> Result<Arc<LiveConnection>, CallError> {
        ready(&self.state, deadline)
            .await
            .map_err(CallError::Undecided)
    }
}

/// Returns what is connected. Waits until `deadline` only while an attempt to connect is running.
pub(super) async fn ready<C: Clone>(
    state: &watch::Receiver<LinkState<C>>,
    deadline: Instant,
) -> Result<C, Unavailable> {
    if let Some(outcome) = state.borrow().outcome() {
        return outcome;
    }
    let mut state = state.clone();
    let is_known = |state: &LinkState<C>| state.outcome().is_some();
    let wait = timeout_at(deadline, state.wait_for(is_known));
    let outcome = wait.await.ok().and_then(|state| state.ok()?.outcome());
    outcome.unwrap_or(Err(Unavailable::NoAnswer))
}

/// Connects, waits until the connection must be given up, and connects again, for ever.
async fn maintain(
    endpoint: Endpoint,
    config: LinkConfig,
    state: watch::Sender<LinkState<Arc<LiveConnection>>>,
) {
    let mut breaker = Breaker::new(config.metrics.clone());
    let mut set_state = |new: LinkState<_>| {
        breaker.set(new.breaker_state());
        state.send_replace(new)
    };
    loop {
        let started = Instant::now();
        match connect(&endpoint, &config).await {
            Ok((connection, mut disconnected)) => {
                info!("connected to Redis at {endpoint}");
                let connection = Arc::new(connection);
                set_state(LinkState::Connected(Arc::clone(&connection)));
                let reason = tokio::select! {
                    reason = disconnected.recv() => reason.unwrap_or(DisconnectReason::Lost),
                    never = connection.check_repeatedly(config.deadline) => match never {},
                };
                warn!("Redis at {endpoint}: {reason}");
                set_state(reason.next_state());
            }
            Err(ConnectError { reason, detail }) => {
                let previous = set_state(LinkState::Gone(reason.clone()));
                // Attempts go on every 100 ms, so only a new reason is logged.
                if !matches!(previous, LinkState::Gone(old) if old == reason) {
                    warn!("no connection to Redis at {endpoint}: {detail}");
                }
            }
        }
        sleep_until(started + MIN_CONNECT_INTERVAL).await;
    }
}

/// Makes one attempt to connect. The receiver gets the reason when the connection must be given up.
async fn connect(
    endpoint: &Endpoint,
    config: &LinkConfig,
) -> Result<(LiveConnection, mpsc::Receiver<DisconnectReason>), ConnectError> {
    let server = endpoint.server().await?;
    let open = LiveConnection::open(&server, config.deadline, config.metrics.clone());
    timeout(CONNECT_TIMEOUT, open)
        .await
        .unwrap_or_else(|_elapsed| Err(ConnectError::timed_out(CONNECT_TIMEOUT)))
}
