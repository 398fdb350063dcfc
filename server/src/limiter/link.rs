//! A link to one Redis server: it connects, reconnects when a connection ends, and acts as the circuit breaker that
//! fails requests at once while the server is gone.
//!
//! One task per link, [`maintain`], makes the connections and is the only place that changes the [`LinkState`]; the
//! states and what leads from one to the next are in [`super::breaker`]. Requests read the state and make their calls
//! over the current [`SharedConnection`]. Its [`LiveConnection`] counts and times the calls, and reports to [`maintain`] why the connection
//! cannot be used any longer: it was closed, Redis is silent, a reply does not match its call, or Redis refuses all calls.
//!
//! Requests never connect. No call is sent twice, since Redis may have carried out the first and would take the tokens
//! again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::breaker::{DisconnectReason, LinkState};
use super::call_error::CallError;
use super::client::ConnectError;
use super::coalescing::SharedConnection;
use super::denied_keys::DeniedKey;
use super::endpoint::Endpoint;
use super::link_config::LinkConfig;
use super::live_connection::LiveConnection;
use super::server_state::ServerState;
use super::slots::Slots;
use crate::limit::{Decisions, LimitRequest, Unavailable};
use crate::metrics::Breaker;
use crate::redis_address::Node;

/// How long one attempt to connect may take. It starts when the address is known: [`Endpoint::server`] bounds the time
/// to ask the Sentinels, if there are any, on its own.
///
/// Requests must be decided by Redis again within a second of its return. In the worst case it returns just after an
/// attempt began that then takes all of this time, and the next attempt starts at once.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

/// The shortest time from the start of one attempt to connect to the start of the next.
const MIN_CONNECT_INTERVAL: Duration = Duration::from_millis(100);

/// Maintains the connection to one server. Dropping the link closes the connection once no request uses it.
#[derive(Debug)]
pub(super) struct Link {
    /// Once no receiver is left, the task ends.
    state: watch::Receiver<LinkState<Arc<SharedConnection>>>,
}

impl Link {
    /// Starts to connect, and returns at once.
    pub(super) fn start(endpoint: Endpoint, config: LinkConfig) -> Self {
        let (state_sender, state) = watch::channel(LinkState::Connecting);
        let thread = config.thread.clone();
        let shared = config.servers.of(&endpoint.to_string());
        let linked = shared.link();
        thread.spawn_first(async move {
            let _linked = linked;
            tokio::select! {
                () = state_sender.closed() => {}
                never = maintain(endpoint, config, shared, &state_sender) => match never {},
            }
        });
        Self { state }
    }

    /// Sends the request once and waits for its decision until `deadline`.
    ///
    /// # Errors
    ///
    /// Fails at once while the server is gone, and if the connection already has as many unanswered calls as
    /// [`super::admission`] allows. Every other error comes by the deadline.
    pub(super) async fn decide(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let connection = self.ready(deadline).await?;
        connection.decide(request, deadline).await
    }

    /// Like [`Link::decide`], but sends ASKING before the call. An ASK redirection demands that while this node imports
    /// the hash slot of the request's key.
    pub(super) async fn decide_importing(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let connection = self.ready(deadline).await?;
        connection
            .connection()
            .decide_importing(request, deadline)
            .await
    }

    /// Gets the map of hash slots from this server. `node` is its own address, for replies that leave it out.
    pub(super) async fn slots(
        &self,
        node: &Node,
        deadline: Instant,
    ) -> Result<Slots<Node>, CallError> {
        let connection = self.ready(deadline).await?;
        connection.connection().slots(node, deadline).await
    }

    /// The keys that this server denied most.
    pub(super) async fn denied_keys(&self, deadline: Instant) -> Result<Vec<DeniedKey>, CallError> {
        let connection = self.ready(deadline).await?;
        connection.connection().denied_keys(deadline).await
    }

    /// Whether the last attempt to connect failed or Redis stopped to serve, so that all requests fail at once.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.state.borrow(), LinkState::Gone(_))
    }

    async fn ready(&self, deadline: Instant) -> Result<Arc<SharedConnection>, CallError> {
        ready(&self.state, deadline)
            .await
            .map_err(CallError::Undecided)
    }
}

/// Returns what requests use while the state is [`LinkState::Connected`]: `C` is the connection of a link, or for
/// [`super::cluster`] the map of slots.
///
/// Waits until `deadline` while the state is [`LinkState::Connecting`], and fails at once while it is
/// [`LinkState::Gone`], although attempts to connect are made then too.
pub(super) async fn ready<C: Clone>(
    state: &watch::Receiver<LinkState<C>>,
    deadline: Instant,
) -> Result<C, Unavailable> {
    if let Some(outcome) = state.borrow().outcome() {
        return outcome;
    }
    // Without an outcome either the deadline passed, or the task was aborted because the process stops.
    let mut state = state.clone();
    let is_known = |state: &LinkState<C>| state.outcome().is_some();
    let wait = timeout_at(deadline, state.wait_for(is_known));
    let outcome = wait.await.ok().and_then(|state| state.ok()?.outcome());
    outcome.unwrap_or(Err(Unavailable::NoAnswer))
}

/// Connects, waits until the connection cannot be used any longer, and connects again, until the link is dropped.
///
/// Calls that wait for replies over the old connection end with it: they fail, or their deadline passes.
async fn maintain(
    endpoint: Endpoint,
    config: LinkConfig,
    shared: Arc<ServerState>,
    state: &watch::Sender<LinkState<Arc<SharedConnection>>>,
) -> Infallible {
    let mut gauge = Breaker::new(config.metrics.clone());
    let mut replace_state = |new: LinkState<_>| {
        gauge.set(new.breaker_state());
        state.send_replace(new)
    };
    loop {
        let started = Instant::now();
        match connect(&endpoint, &config, &shared).await {
            Ok((connection, mut disconnected)) => {
                let (_connected, is_news) = shared.connect(config.min_links);
                if is_news {
                    info!("connected to Redis at {endpoint}");
                }
                let connection = Arc::new(SharedConnection::new(connection, &config));
                replace_state(LinkState::Connected(Arc::clone(&connection)));
                // The checks never end: one that fails reports through `disconnected`, as calls do. The channel stays
                // open as long as `connection`, so the receiver gets a reason.
                let reason = tokio::select! {
                    reason = disconnected.recv() => reason.unwrap_or(DisconnectReason::Lost),
                    never = connection.connection().check_repeatedly(config.call_timeout) => match never {},
                };
                warn_once(&shared, &format!("Redis at {endpoint}: {reason}"));
                replace_state(reason.next_state());
            }
            Err(ConnectError { reason, detail }) => {
                let previous = replace_state(LinkState::Gone(reason.clone()));
                // Attempts follow each other every 100 ms or so. A reason that is the same as before, for example the
                // one for which the connection ended, is not logged again.
                if !matches!(previous, LinkState::Gone(old) if old == reason) {
                    warn_once(
                        &shared,
                        &format!("no connection to Redis at {endpoint}: {detail}"),
                    );
                }
            }
        }
        sleep_until(started + MIN_CONNECT_INTERVAL).await;
    }
}

/// Logs a line unless another thread did so in this outage.
fn warn_once(shared: &ServerState, line: &str) {
    if shared.is_news(line) {
        warn!("{line}");
    }
}

/// Makes one attempt to connect. The receiver gets the first reason for which the connection cannot be used any longer;
/// later ones are dropped.
async fn connect(
    endpoint: &Endpoint,
    config: &LinkConfig,
    shared: &Arc<ServerState>,
) -> Result<(LiveConnection, mpsc::Receiver<DisconnectReason>), ConnectError> {
    let server = endpoint.server(&config.thread).await?;
    let open = LiveConnection::open(&server, config, shared.clone());
    timeout(CONNECT_TIMEOUT, open)
        .await
        .unwrap_or_else(|_elapsed| Err(ConnectError::timed_out(CONNECT_TIMEOUT)))
}
