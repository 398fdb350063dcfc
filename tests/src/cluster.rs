//! A cluster of real servers: three primaries, each with a replica.

use std::time::Duration;

use redis::Value;

use crate::failover::{cut, follows, is_primary, retry_until};
use crate::{Redis, RedisServer, eventually};

const SHARDS: usize = 3;
const SLOTS: usize = 16384;

/// A node has given up a failover or a migration after this time.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// A redirection of a client by a cluster node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirection {
    /// MOVED: the node on this port serves the slot.
    Moved(u16),
    /// ASK: the key may already be on the node on this port. The client retries there after ASKING.
    Ask(u16),
}

impl Redirection {
    /// Parses an error such as `MOVED 3999 127.0.0.1:6381`.
    #[must_use]
    pub fn of(error: &str) -> Option<Self> {
        let (code, address) = error.split_once(' ')?;
        let port = address.rsplit_once(':')?.1.parse().ok()?;
        match code {
            "MOVED" => Some(Self::Moved(port)),
            "ASK" => Some(Self::Ask(port)),
            _ => None,
        }
    }
}

/// A cluster. Shard `n` consists of the servers `n` and `n` + 3, either of which may be the primary. Each shard has a
/// third of the slots until one is moved.
#[derive(Debug)]
pub struct Cluster(Vec<RedisServer>);

impl Cluster {
    /// Starts a cluster, with all slots served and every replica in sync. A primary that does not answer for the
    /// timeout is failed over.
    #[must_use]
    pub fn start(node_timeout_ms: u32) -> Self {
        let args = [
            "--cluster-node-timeout",
            &node_timeout_ms.to_string(),
            "--cluster-replica-validity-factor",
            "0",
            "--cluster-migration-barrier",
            "9",
            "--cluster-require-full-coverage",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let start = |_| RedisServer::start_cluster_node(&args);
        let cluster = Self((0..2 * SHARDS).map(start).collect());
        cluster.meet(SHARDS);
        for shard in 0..SHARDS {
            let primary: String = cluster.0[shard].connect().line("CLUSTER MYID");
            let replicate = format!("CLUSTER REPLICATE {primary}");
            cluster.0[shard + SHARDS].connect().value(&replicate);
        }
        cluster.wait_until_up();
        cluster
    }

    /// Starts `count` primaries without replicas, with all slots served.
    #[must_use]
    pub fn of_primaries(count: usize) -> Self {
        let start = |_| RedisServer::start_cluster_node(&[]);
        let cluster = Self((0..count).map(start).collect());
        cluster.meet(count);
        eventually("the cluster to be up", || {
            let is_up = |node: &RedisServer| {
                let info: String = node.connect().line("CLUSTER INFO");
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            };
            cluster.0.iter().all(is_up).then_some(())
        });
        cluster
    }

    /// Joins all nodes. The first `shards` of them share the slots.
    fn meet(&self, shards: usize) {
        for (number, node) in self.0.iter().enumerate() {
            let mut redis = node.connect();
            redis.value(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
            let own = (0..SLOTS).filter(|slot| slot * shards / SLOTS == number);
            let slots: Vec<String> = own.map(|slot| slot.to_string()).collect();
            if number < shards {
                redis.value(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
            }
            let meet = format!("CLUSTER MEET 127.0.0.1 {}", node.port());
            self.0[0].connect().value(&meet);
        }
        eventually("all nodes to know each other", || {
            let knows_all = |node: &RedisServer| {
                let nodes: String = node.connect().line("CLUSTER NODES");
                nodes.lines().count() == self.0.len() && !nodes.contains("handshake")
            };
            self.0.iter().all(knows_all).then_some(())
        });
    }

    fn wait_until_up(&self) {
        for shard in 0..SHARDS {
            let _ = self.at_rest(shard);
        }
        eventually("the cluster to be up", || {
            let is_up = |node: &RedisServer| {
                let mut redis = node.connect();
                let nodes: String = redis.line("CLUSTER NODES");
                let info: String = redis.line("CLUSTER INFO");
                nodes.matches("slave").count() == SHARDS
                    && info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_ok:16384")
            };
            self.0.iter().all(is_up).then_some(())
        });
    }

    /// All servers.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.0
    }

    /// The server with this port.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn node_at(&self, port: u16) -> &RedisServer {
        let at = |node: &&RedisServer| node.port() == port;
        self.0.iter().find(at).expect("a node's port")
    }

    /// A connection to the node that serves key `n` of a [`crate::History`], located as a client does; `None` while no
    /// node serves it.
    #[must_use]
    pub fn connect(&self, key: u64) -> Option<Redis> {
        self.0.iter().find_map(|node| self.route(key, node))
    }

    /// Follows redirections, starting at `node`.
    fn route(&self, key: u64, node: &RedisServer) -> Option<Redis> {
        let mut redis = node.try_connect()?;
        for _ in 0..5 {
            let Err(error) = redis.try_line::<Value>(&format!("LLEN {{k{key}}}:calls")) else {
                return Some(redis);
            };
            match Redirection::of(&error)? {
                Redirection::Moved(port) => redis = self.node_at(port).try_connect()?,
                Redirection::Ask(port) => redis = self.node_at(port).try_connect()?.asking(),
            }
        }
        None
    }

    /// The slot of key `n`.
    #[must_use]
    pub fn slot_of(&self, key: u64) -> usize {
        self.slot_of_key(&format!("k{key}"))
    }

    /// The slot of a key.
    #[must_use]
    pub fn slot_of_key(&self, key: &str) -> usize {
        let mut redis = eventually("a node", || {
            self.0.iter().find_map(RedisServer::try_connect)
        });
        redis.line(&format!("CLUSTER KEYSLOT {key}"))
    }

    /// The shard of a key, as long as its slot has not moved.
    #[must_use]
    pub fn shard_of_key(&self, key: &str) -> usize {
        shard_of_slot(self.slot_of_key(key))
    }

    /// The primary that reports serving a slot.
    #[must_use]
    pub fn primary_of_slot(&self, slot: usize) -> &RedisServer {
        let serves = |node: &&RedisServer| {
            let nodes: String = node.connect().line("CLUSTER NODES");
            let own = nodes.lines().find(|line| line.contains("myself"));
            own.is_some_and(|own| own.split(' ').skip(8).any(|range| is_in(slot, range)))
        };
        eventually("a primary to serve the slot", || self.0.iter().find(serves))
    }

    /// Keys of a shard, numbered from `first`: one for each policy that is used alone, a second one for the slowest
    /// policy with calls of one kind only, and one with many policies.
    #[must_use]
    pub fn keys(&self, shard: usize, first: u64) -> Vec<u64> {
        let key = |kind: u64| {
            let mut numbers = (first..).filter(|number| number % 16 == kind);
            numbers.find(|number| shard_of_slot(self.slot_of(*number)) == shard)
        };
        [0, 2, 4, 6, 14, 1].into_iter().filter_map(key).collect()
    }

    /// The primary of a shard and its replica, once the link between them is up.
    #[must_use]
    pub fn at_rest(&self, shard: usize) -> [&RedisServer; 2] {
        let (one, other) = (&self.0[shard], &self.0[shard + SHARDS]);
        eventually("a primary and a replica in sync", || {
            let in_order = |[primary, replica]: &[&RedisServer; 2]| {
                is_primary(primary) && follows(replica, primary)
            };
            [[one, other], [other, one]].into_iter().find(in_order)
        })
    }

    /// Makes the replica of a shard take over from its running primary.
    pub fn hand_over(&self, shard: usize) {
        let [_, replica] = self.at_rest(shard);
        let attempt = || {
            let reply = replica.connect().try_line::<Value>("CLUSTER FAILOVER");
            reply.is_ok()
        };
        let is_done = || is_primary(replica);
        retry_until("the replica to take over", GIVEN_UP, attempt, is_done);
    }

    /// Stops replication from the primary of a shard to its replica.
    pub fn cut(&self, shard: usize) {
        let [primary, replica] = self.at_rest(shard);
        cut(primary, &[replica]);
    }

    /// Kills the primary of a shard, waits until its replica has taken over, and restarts it.
    pub fn kill(&self, shard: usize) {
        let nodes = [&self.0[shard], &self.0[shard + SHARDS]];
        let dead = usize::from(!is_primary(nodes[0]));
        nodes[dead].kill();
        eventually("the replica to take over", || {
            is_primary(nodes[1 - dead]).then_some(())
        });
        nodes[dead].restart();
    }

    /// Moves a slot from one primary to another as redis-cli does: all of its keys, then the slot. `meanwhile` runs
    /// when the keys have moved and the slot has not.
    pub fn move_slot(
        &self,
        slot: usize,
        from: &RedisServer,
        to: &RedisServer,
        meanwhile: impl FnOnce(),
    ) {
        let (mut source, mut target) = (from.connect(), to.connect());
        let id = |redis: &mut Redis| redis.line::<String>("CLUSTER MYID");
        let (source_id, target_id) = (id(&mut source), id(&mut target));
        target.value(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"));
        source.value(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"));
        eventually("all keys to have moved", || {
            let keys: Vec<String> = source.line(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let migrate = format!(
                "MIGRATE 127.0.0.1 {} '' 0 60000 KEYS {}",
                to.port(),
                keys.join(" ")
            );
            let words = migrate
                .split(' ')
                .map(|word| if word == "''" { "" } else { word });
            if !keys.is_empty() {
                source.try_run::<Value>(&words.collect::<Vec<_>>()).ok();
            }
            keys.is_empty().then_some(())
        });
        meanwhile();
        let others = (0..SHARDS).map(|shard| self.at_rest(shard)[0].connect());
        for mut redis in [target, source].into_iter().chain(others) {
            redis.value(&format!("CLUSTER SETSLOT {slot} NODE {target_id}"));
        }
    }

    /// Makes the servers migrate the slot of key `n` atomically. Returns false if they do not support it.
    #[must_use]
    pub fn migrate_slot(&self, key: u64, from: &RedisServer, to: &RedisServer) -> bool {
        let (mut source, mut target) = (from.connect(), to.connect());
        let (slot, target_id) = (self.slot_of(key), target.line::<String>("CLUSTER MYID"));
        let migrate = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {target_id}");
        let import = format!("CLUSTER MIGRATION IMPORT {slot} {slot}");
        let mut attempt = || {
            let valkey = source.try_line::<Value>(&migrate);
            valkey.or_else(|_| target.try_line::<Value>(&import))
        };
        if attempt().is_err_and(|error| error.to_lowercase().contains("unknown subcommand")) {
            return false;
        }
        let has_moved = || {
            let keys = to
                .connect()
                .try_line::<i64>(&format!("LLEN {{k{key}}}:calls"));
            keys.is_ok()
        };
        retry_until(
            "the slot to move",
            GIVEN_UP,
            || attempt().is_ok(),
            has_moved,
        );
        true
    }
}

/// Whether a slot is in a range such as `0-5460`, or `7`.
fn is_in(slot: usize, range: &str) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let bounds = first.parse().ok().zip(last.parse().ok());
    bounds.is_some_and(|(first, last): (usize, usize)| (first..=last).contains(&slot))
}

fn shard_of_slot(slot: usize) -> usize {
    slot * SHARDS / SLOTS
}
