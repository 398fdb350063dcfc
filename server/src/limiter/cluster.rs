//! Redis Cluster: a link to each primary, and the map of slots that finds the one for a key.
//!
//! One task, [`maintain_slots`], keeps the map. Requests use it, and follow redirections. A request that fails or is
//! redirected wakes the task; without such requests the map is not refreshed, and need not be.
//!
//! The cluster client of the `redis` crate is not used: it sends a failed call again, and all its callers wait while it
//! asks an unresponsive node for the slots. Here each primary has its own circuit breaker, and only a call that a node
//! did not execute (MOVED, ASK) is sent to another.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::breaker::LinkState;
use super::call_error::CallError;
use super::denied_keys::DeniedByPrimary;
use super::endpoint::Endpoint;
use super::link::{Link, ready};
use super::link_config::LinkConfig;
use super::slots::Slots;
use crate::limit::{Decisions, LimitRequest, Unavailable};
use crate::redis_address::{Node, Server, node, with_host_port};

/// How many redirections one request follows. Each takes a round trip of its deadline. More than one is unusual: it
/// takes nodes that disagree about a slot.
const MAX_REDIRECTIONS: usize = 5;

/// The shortest time from one refresh of the slots to the next, however many requests fail meanwhile.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// How long one node may take to reply to CLUSTER SLOTS.
const SLOTS_TIMEOUT: Duration = Duration::from_millis(200);

/// A node that is or was a primary, and the link to it. Requests that found it in an old map keep it alive until they
/// end.
#[derive(Debug)]
struct Primary {
    /// The host and port under which the cluster knows it, or those in `-redis`.
    node: Node,
    link: Link,
}

/// The map of slots that requests use.
type Primaries = Slots<Arc<Primary>>;

/// Sends each request to the primary that serves its keys, which are all in one slot. Dropping it ends the task and the
/// links.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Arc<Nodes>,
    /// The latest map. [`LinkState::Gone`] only while none was ever received: a map that may be outdated is better than
    /// none.
    ///
    /// Once no receiver is left, the task ends.
    slots: watch::Receiver<LinkState<Arc<Primaries>>>,
}

/// The known nodes and their links.
#[derive(Debug)]
struct Nodes {
    /// The nodes in `-redis`. The links to them are kept, because they may be reachable when all others are gone.
    seeds: HashSet<Node>,
    /// The first seed. Other nodes are reached with its TLS settings and login.
    template: Server,
    /// What the links share. The task runs on the same thread as they do.
    config: LinkConfig,
    /// The links by node. Locked for a lookup only, and never across an `await`.
    primaries: Mutex<HashMap<Node, Arc<Primary>>>,
    /// Notified by requests that failed or were redirected, so that the slots are refreshed.
    outdated: Notify,
}

impl Cluster {
    /// Starts to connect and to find the primaries, and returns at once. `None` if `seeds` is empty.
    pub(super) fn start(seeds: &[Server], config: LinkConfig) -> Option<Self> {
        let nodes = Arc::new(Nodes {
            seeds: seeds.iter().filter_map(node).collect(),
            template: seeds.first()?.clone(),
            config,
            primaries: Mutex::default(),
            outdated: Notify::new(),
        });
        for seed in &nodes.seeds {
            nodes.primary(seed);
        }
        let (slots_sender, slots) = watch::channel(LinkState::Connecting);
        let maintained = Arc::clone(&nodes);
        nodes.config.thread.spawn_first(async move {
            tokio::select! {
                () = slots_sender.closed() => {}
                () = maintain_slots(&maintained, &slots_sender) => {}
            }
        });
        Some(Self { nodes, slots })
    }

    /// Sends the request to the primary of its key, follows redirections, and waits for the decision until
    /// `deadline`.
    ///
    /// # Errors
    ///
    /// As [`Link::decide`]. [`CallError::Moved`] or [`CallError::Ask`] if there were more than [`MAX_REDIRECTIONS`].
    /// `CLUSTERDOWN` at once if no node serves the slot. Every error but overload makes the slots be refreshed.
    pub(super) async fn decide(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let decision = self.decide_by_primary(request, deadline).await;
        let is_about_the_request = matches!(
            decision,
            Err(CallError::Undecided(
                Unavailable::Overloaded(_) | Unavailable::DebtTooLarge { .. }
            ))
        );
        if decision.is_err() && !is_about_the_request {
            self.nodes.outdated.notify_one();
        }
        decision
    }

    /// Sends the request, and again to each node that a redirection names.
    ///
    /// A redirection says that the node did not execute the call, so sending it to another takes tokens once. ASK is
    /// for this call alone. MOVED is for all later ones as well, so it makes the map be refreshed.
    async fn decide_by_primary(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let mut primary = self.primary_of(request.key(), deadline).await?;
        let mut reply = primary.link.decide(request, deadline).await;
        for _ in 0..MAX_REDIRECTIONS {
            match reply {
                Err(CallError::Moved(to)) => {
                    self.nodes.outdated.notify_one();
                    primary = self.nodes.primary(&to.or_host_of(&primary.node));
                    reply = primary.link.decide(request, deadline).await;
                }
                Err(CallError::Ask(to)) => {
                    primary = self.nodes.primary(&to.or_host_of(&primary.node));
                    reply = primary.link.decide_importing(request, deadline).await;
                }
                reply => return reply,
            }
        }
        reply
    }

    /// The keys that each primary of the latest map denied most, with the host and port of the primary.
    ///
    /// # Errors
    ///
    /// If there is no map until `deadline`.
    pub(super) async fn denied_keys(
        &self,
        deadline: Instant,
    ) -> Result<DeniedByPrimary, CallError> {
        let slots = ready(&self.slots, deadline)
            .await
            .map_err(CallError::Undecided)?;
        let primaries = slots
            .servers()
            .map(|primary| (primary.node.to_string(), primary));
        let primaries: BTreeMap<_, _> = primaries.collect();
        let calls = primaries.into_iter().map(async |(name, primary)| {
            let keys = primary.link.denied_keys(deadline).await;
            (name, keys)
        });
        Ok(join_all(calls).await)
    }

    /// The primary of a key in the latest map. Waits for the first map until `deadline`.
    async fn primary_of(&self, key: &str, deadline: Instant) -> Result<Arc<Primary>, CallError> {
        let slots = ready(&self.slots, deadline)
            .await
            .map_err(CallError::Undecided)?;
        let unserved = || CallError::Undecided(cluster_down());
        slots
            .server_of(key.as_bytes())
            .cloned()
            .ok_or_else(unserved)
    }
}

impl Nodes {
    /// Returns the node with its link, and makes the link if there is none yet. Making one does not wait for the
    /// connection.
    fn primary(&self, node: &Node) -> Arc<Primary> {
        let primary = || {
            let server = with_host_port(&self.template, &node.host, node.port);
            let is_seed = self.seeds.contains(node);
            let min_links = if is_seed { self.config.min_links } else { 0 };
            let config = LinkConfig {
                min_links,
                ..self.config.clone()
            };
            let link = Link::start(Endpoint::Server(server), config);
            let node = node.clone();
            Arc::new(Primary { node, link })
        };
        let mut primaries = self.locked();
        Arc::clone(primaries.entry(node.clone()).or_insert_with(primary))
    }

    /// Asks the nodes for the slots until one names primaries, and returns the error of the last one if none does.
    ///
    /// Each refresh starts with another node. Otherwise one that is cut off from the others could give an old map for
    /// ever.
    ///
    /// Nodes whose links are gone fail at once. The others may take [`SLOTS_TIMEOUT`] each, one after the other.
    ///
    /// # Errors
    ///
    /// The reason of the last node; `CLUSTERDOWN` if it named no primary for any slot.
    async fn fetch_slots(&self, refresh: usize) -> Result<Slots<Node>, Unavailable> {
        let mut primaries: Vec<_> = self.locked().values().cloned().collect();
        let first = refresh.checked_rem(primaries.len()).unwrap_or_default();
        primaries.rotate_left(first);
        let mut last_error = Unavailable::NoAnswer;
        for primary in primaries {
            let deadline = Instant::now() + SLOTS_TIMEOUT;
            match primary.link.slots(&primary.node, deadline).await {
                Ok(slots) if slots.servers().next().is_some() => return Ok(slots),
                Ok(_unserved) => last_error = cluster_down(),
                Err(error) => last_error = error.into(),
            }
        }
        Err(last_error)
    }

    /// Returns the links to the primaries, and drops the links to nodes that serve no slots and are gone.
    ///
    /// A node that lost its slots and still answers keeps its link: it redirects calls, and may get slots again.
    fn link_all(&self, slots: &Slots<Node>) -> Primaries {
        let wanted: HashSet<&Node> = slots.servers().chain(&self.seeds).collect();
        self.locked()
            .retain(|node, primary| wanted.contains(node) || !primary.link.is_gone());
        slots.map(|node| self.primary(node))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Node, Arc<Primary>>> {
        self.primaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refreshes the map of slots, first until a node gives it, and later whenever a request finds it outdated.
async fn maintain_slots(nodes: &Nodes, state: &watch::Sender<LinkState<Arc<Primaries>>>) {
    let mut last_slots = None;
    for refresh in 0.. {
        let started = Instant::now();
        match nodes.fetch_slots(refresh).await {
            Ok(slots) => {
                state.send_replace(LinkState::Connected(Arc::new(nodes.link_all(&slots))));
                if last_slots.as_ref() != Some(&slots) {
                    let primaries = list(&slots);
                    if nodes.config.servers.are_new_primaries(&primaries) {
                        info!("primaries of the cluster: {primaries}");
                    }
                    last_slots = Some(slots);
                }
                nodes.outdated.notified().await;
            }
            Err(reason) if last_slots.is_none() => _ = state.send_replace(LinkState::Gone(reason)),
            // The old map stays in use: many of its primaries may still decide.
            Err(_) => {}
        }
        sleep_until(started + MIN_REFRESH_INTERVAL).await;
    }
}

/// What Redis replies to a call for a slot that no node serves.
fn cluster_down() -> Unavailable {
    Unavailable::Refused("CLUSTERDOWN".to_owned())
}

/// The addresses of the primaries, sorted, each once, for the log.
fn list(slots: &Slots<Node>) -> String {
    let names: BTreeSet<String> = slots.servers().map(Node::to_string).collect();
    Vec::from_iter(names).join(", ")
}
