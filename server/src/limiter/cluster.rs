//! A cluster: a link to each primary, and the way to the one that serves a key.
//!
//! The crate's own cluster client is not used: it sends again what was sent, and all its callers wait while it asks an
//! unresponsive node for the others. Here each primary has a breaker of its own, and only a call that a node refused
//! unexecuted, by MOVED or ASK, goes on to another.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rl_bucket::Decision;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::breaker::LinkState;
use super::client::CallError;
use super::endpoint::Endpoint;
use super::link::{Calls, Link, known};
use super::slots::Slots;
use crate::limit::LimitRequest;
use crate::limit::Unavailable;
use crate::redis_address::Node;
use crate::redis_address::{Server, node, with_host_port};

/// How often one request may be sent on. Each time costs a round trip of its deadline.
const REDIRECTIONS: usize = 5;

/// From one question for the slots to the next, at least.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one node may take to name the slots.
const ANSWER: Duration = Duration::from_millis(200);

/// A node that is or was a primary.
#[derive(Debug)]
struct Primary {
    node: Node,
    link: Link,
}

type Primaries = Slots<Arc<Primary>>;

/// Asks the primary that serves the key.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Arc<Nodes>,
    slots: watch::Receiver<LinkState<Arc<Primaries>>>,
    _keeper: JoinSet<()>,
}

/// What is known of the cluster.
#[derive(Debug)]
struct Nodes {
    /// Those that were named to us. A link to each is kept, since they may be found when all others have gone.
    seeds: HashSet<Node>,
    /// How to reach one of them, and so the others.
    example: Server,
    calls: Calls,
    primaries: Mutex<HashMap<Node, Arc<Primary>>>,
    /// Told by calls that found no primary where it was thought to be.
    outdated: Notify,
}

impl Cluster {
    /// Begins to look for the primaries. `None` if no seed is named.
    pub(super) fn of(seeds: &[Server], calls: Calls) -> Option<Self> {
        let nodes = Arc::new(Nodes {
            seeds: seeds.iter().filter_map(node).collect(),
            example: seeds.first()?.clone(),
            calls,
            primaries: Mutex::default(),
            outdated: Notify::new(),
        });
        for seed in &nodes.seeds {
            nodes.primary(seed);
        }
        let (told, slots) = watch::channel(LinkState::Connecting);
        let mut _keeper = JoinSet::new();
        _keeper.spawn_on(keep(Arc::clone(&nodes), told), &nodes.calls.runtime);
        Some(Self {
            nodes,
            slots,
            _keeper,
        })
    }

    /// Sends the request to who serves its key, and on from there as told, and waits for its decision until `deadline`.
    pub(super) async fn ask(
        &self,
        asked: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decision, CallError> {
        let decision = self.follow(asked, deadline).await;
        let is_overloaded = matches!(
            decision,
            Err(CallError::Undecided(Unavailable::Overloaded(_)))
        );
        if decision.is_err() && !is_overloaded {
            self.nodes.outdated.notify_one();
        }
        decision
    }

    async fn follow(&self, asked: &LimitRequest, deadline: Instant) -> Result<Decision, CallError> {
        let mut primary = self.who_serves(&asked.key, deadline).await?;
        let mut reply = primary.link.ask(asked, deadline).await;
        for _ in 0..REDIRECTIONS {
            match reply {
                Err(CallError::Moved(to)) => {
                    self.nodes.outdated.notify_one();
                    primary = self.nodes.primary(&to.or_host_of(&primary.node));
                    reply = primary.link.ask(asked, deadline).await;
                }
                Err(CallError::Ask(to)) => {
                    primary = self.nodes.primary(&to.or_host_of(&primary.node));
                    reply = primary.link.ask_importing(asked, deadline).await;
                }
                reply => return reply,
            }
        }
        reply
    }

    async fn who_serves(&self, key: &str, deadline: Instant) -> Result<Arc<Primary>, CallError> {
        let slots = known(&self.slots, deadline)
            .await
            .map_err(CallError::Undecided)?;
        let nobody = || CallError::Undecided(Unavailable::Refused("CLUSTERDOWN".to_owned()));
        slots.of(key.as_bytes()).cloned().ok_or_else(nobody)
    }
}

impl Nodes {
    /// The node, with a link to it.
    fn primary(&self, node: &Node) -> Arc<Primary> {
        let primary = || {
            let server = with_host_port(&self.example, &node.host, node.port);
            let link = Link::to(Endpoint::Server(server), self.calls.clone());
            let node = node.clone();
            Arc::new(Primary { node, link })
        };
        let mut primaries = self.locked();
        Arc::clone(primaries.entry(node.clone()).or_insert_with(primary))
    }

    /// Who serves which slots, by the word of the first node that answers. Each turn begins with another, so that one which
    /// is cut off from the others does not mislead for ever.
    async fn ask_for_slots(&self, turn: usize) -> Result<Slots<Node>, Unavailable> {
        let mut all: Vec<_> = self.locked().values().cloned().collect();
        let first = turn.checked_rem(all.len()).unwrap_or_default();
        all.rotate_left(first);
        let mut last = Unavailable::NoAnswer;
        for asked in all {
            let deadline = Instant::now() + ANSWER;
            match asked.link.slots(&asked.node, deadline).await {
                Ok(slots) if slots.servers().next().is_some() => return Ok(slots),
                Ok(_nobody) => last = Unavailable::Refused("CLUSTERDOWN".to_owned()),
                Err(fault) => last = fault.into(),
            }
        }
        Err(last)
    }

    /// The links to those who serve. Those to others end, unless they are of use yet.
    fn serving(&self, slots: &Slots<Node>) -> Primaries {
        let named: HashSet<&Node> = slots.servers().chain(&self.seeds).collect();
        self.locked()
            .retain(|node, primary| named.contains(node) || !primary.link.is_gone());
        slots.map(|node| self.primary(node))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Node, Arc<Primary>>> {
        self.primaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks who serves which slots, and again whenever that seems to have changed.
async fn keep(nodes: Arc<Nodes>, told: watch::Sender<LinkState<Arc<Primaries>>>) {
    let mut last = None;
    for turn in 0.. {
        let begun = Instant::now();
        match nodes.ask_for_slots(turn).await {
            Ok(slots) => {
                told.send_replace(LinkState::Connected(Arc::new(nodes.serving(&slots))));
                if last.as_ref() != Some(&slots) {
                    info!("the slots of the cluster are served by {}", list(&slots));
                    last = Some(slots);
                }
                nodes.outdated.notified().await;
            }
            Err(reason) if last.is_none() => _ = told.send_replace(LinkState::Gone(reason)),
            Err(_) => {}
        }
        sleep_until(begun + PAUSE).await;
    }
}

fn list(slots: &Slots<Node>) -> String {
    let names: BTreeSet<String> = slots.servers().map(Node::to_string).collect();
    Vec::from_iter(names).join(", ")
}
