use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rl_tests::{Redis, RedisServer, Stop, eventually, version};

const ALWAYS: [&str; 10] = [
    "--hz",
    "100",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "3600",
    "--repl-backlog-ttl",
    "1",
    "--appendfsync",
    "always",
];

fn start(diskless: &str) -> RedisServer {
    RedisServer::start_on_tcp(&[&ALWAYS[..], &["--repl-diskless-sync", diskless]].concat())
}

/// The first node is new in every round, so that it does not propagate at first. The others are its replicas or take
/// its place.
struct Nodes {
    all: [RedisServer; 3],
    /// The index of the node that receives the calls.
    head: AtomicUsize,
    calls: AtomicU64,
}

impl Nodes {
    fn head(&self) -> usize {
        self.head.load(Ordering::Relaxed)
    }

    /// Makes calls until `stop` is set. Keys are new, so that a change that is not propagated stays missing; some keys
    /// are changed a second time or deleted.
    fn call(&self, caller: u64, stop: &Stop) {
        let mut connections = [const { None::<Redis> }; 3];
        let mut n = 0;
        while !stop.is_set() {
            let head = self.head();
            let redis = connections[head].get_or_insert_with(|| self.all[head].connect());
            n += 1;
            let (key, before) = (format!("c{caller}:{n}"), format!("c{caller}:{}", n - 1));
            let line = match n % 4 {
                0 => format!("RL.TOKEN {before} 1/1000d 5 REFUND 5"),
                1 => format!("RL.MULTI {key} TOKEN 1/1000d 5 1 {before} TOKEN 1/1000d 5 1"),
                2 => format!("RL.LEAKY {key} 1/1000d 5 COST 2"),
                _ => format!("RL.TOKEN {key} 1/1000d 5 COST 3"),
            };
            // A node that has just become a replica returns an error, and so does every fourth call, because its key
            // holds a leaky bucket.
            let _ = redis.try_line::<redis::Value>(&line);
            self.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn wait_for_calls(&self, more: u64) {
        let until = self.calls.load(Ordering::Relaxed) + more;
        eventually("more calls", || {
            (self.calls.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    fn wait_until_propagation_is_off(&self) {
        let mut redis = self.all[self.head()].connect();
        eventually("propagation to be off", || {
            (redis.info("rl", "rl_propagating")? == "0").then_some(())
        });
    }
}

/// Random changes to the topology, and its current state.
struct Trouble<'a> {
    nodes: &'a Nodes,
    random: u64,
    /// Whether each node replicates the head.
    attached: [bool; 3],
    /// Whether the first node has its AOF on.
    has_aof: bool,
}

impl Trouble<'_> {
    fn choose(&mut self, n: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % n
    }

    fn make(&mut self) {
        let others = [0, 1, 2]
            .into_iter()
            .filter(|node| *node != self.nodes.head());
        let skipped = usize::from(self.choose(2) == 1);
        let node = others.clone().nth(skipped).expect("two others");
        match self.choose(6) {
            0 | 1 => self.attach(node),
            2 => self.detach(node),
            3 if self.attached[node] => self.promote(node),
            4 => self.keep_aof(false),
            _ => self.keep_aof(true),
        }
    }

    fn attach(&mut self, node: usize) {
        let port = self.nodes.all[self.nodes.head()].port();
        let mut redis = self.nodes.all[node].connect();
        redis.value(&format!("REPLICAOF 127.0.0.1 {port}"));
        self.attached[node] = true;
    }

    fn detach(&mut self, node: usize) {
        self.nodes.all[node].connect().value("REPLICAOF NO ONE");
        self.attached[node] = false;
    }

    /// Promotes a node to the head. The old head and its replicas replicate it.
    fn promote(&mut self, node: usize) {
        self.detach(node);
        let before = self.nodes.head.swap(node, Ordering::Relaxed);
        self.attached[before] = true;
        for other in 0..3 {
            if self.attached[other] {
                self.attach(other);
            }
        }
    }

    fn keep_aof(&mut self, keep: bool) {
        let value = if keep { "yes" } else { "no" };
        let mut redis = self.nodes.all[0].connect();
        redis.value(&format!("CONFIG SET appendonly {value}"));
        self.has_aof = keep;
    }
}

type Held = Vec<(String, (Option<Vec<u8>>, i64))>;

/// Every key with its bytes and its deadline.
fn held(redis: &mut Redis) -> Held {
    let mut keys: Vec<String> = redis.line("KEYS *");
    keys.sort();
    let stored = |key: String| (key.clone(), redis.stored(&key));
    keys.into_iter().map(stored).collect()
}

fn wait_for_offset(head: &mut Redis, replica: &mut Redis) {
    let offset = |redis: &mut Redis, field| redis.info("replication", field)?.parse::<u64>().ok();
    eventually("the replica to catch up", || {
        let is_up = replica.info("replication", "master_link_status")? == "up";
        let sent = offset(head, "master_repl_offset")?;
        (is_up && offset(replica, "slave_repl_offset")? >= sent).then_some(())
    });
}

fn wait_for_aof(redis: &mut Redis) {
    eventually("the AOF rewrite to end", || {
        // In this order, because a scheduled rewrite is in progress before it is done.
        let fields = ["aof_rewrite_scheduled", "aof_rewrite_in_progress"];
        let mut is_zero = |field| redis.info("persistence", field).as_deref() == Some("0");
        fields.into_iter().all(&mut is_zero).then_some(())
    });
    let status = redis.info("persistence", "aof_last_bgrewrite_status");
    assert_eq!(status.as_deref(), Some("ok"));
}

/// One round: propagation is off, then the topology changes under load. In the end every replica, and the AOF, must
/// hold what the head holds.
fn round(seed: u64, replicas: [RedisServer; 2]) -> [RedisServer; 2] {
    let diskless = if seed.is_multiple_of(2) { "yes" } else { "no" };
    let [one, other] = replicas;
    let mut nodes = Nodes {
        all: [start(diskless), one, other],
        head: AtomicUsize::new(0),
        calls: AtomicU64::new(0),
    };
    let (attached, has_aof) = troubled(seed, &nodes);
    let head = nodes.head();
    let mut redis = nodes.all[head].connect();
    let expected = held(&mut redis);
    for node in (0..3).filter(|node| attached[*node]) {
        let mut replica = nodes.all[node].connect();
        wait_for_offset(&mut redis, &mut replica);
        assert_held(
            &held(&mut replica),
            &expected,
            &format!("seed {seed}, node {node}"),
        );
    }
    if has_aof && head == 0 {
        wait_for_aof(&mut redis);
        nodes.all[0].kill();
        let module = rl_tests::artifacts().module.to_str().expect("UTF-8");
        nodes.all[0].restart_with(&["--loadmodule", module, "--appendonly", "yes"]);
        let loaded = held(&mut nodes.all[0].connect());
        assert_held(&loaded, &expected, &format!("seed {seed}, AOF"));
    }
    for node in &nodes.all[1..] {
        node.connect().value("REPLICAOF NO ONE");
    }
    let [_, one, other] = nodes.all;
    [one, other]
}

fn assert_held(held: &Held, expected: &Held, place: &str) {
    for (actual, expected) in held.iter().zip(expected) {
        assert_eq!(actual, expected, "{place}");
    }
    assert_eq!(held.len(), expected.len(), "{place}");
}

fn troubled(seed: u64, nodes: &Nodes) -> ([bool; 3], bool) {
    let stop = Stop::default();
    std::thread::scope(|scope| {
        for caller in 0..3 {
            let stop = &stop;
            scope.spawn(move || nodes.call(caller, stop));
        }
        stop.after(|| {
            let mut trouble = Trouble {
                nodes,
                random: seed,
                attached: [false; 3],
                has_aof: false,
            };
            nodes.wait_until_propagation_is_off();
            for _ in 0..=trouble.choose(4) {
                nodes.wait_for_calls(trouble.choose(100));
                trouble.make();
            }
            nodes.wait_for_calls(50);
            (trouble.attached, trouble.has_aof)
        })
    })
}

fn rounds(seeds: std::ops::Range<u64>) {
    let replicas = [start("yes"), start("no")];
    seeds.fold(replicas, |replicas, seed| round(seed, replicas));
}

#[test]
fn a_new_replica_or_aof_misses_no_change() {
    rounds(0..12);
}

/// A thousand rounds on the installed server, about four minutes, and as many on all others together.
#[test]
#[ignore = "make test-full"]
fn a_new_replica_or_aof_misses_no_change_in_1000_rounds() {
    let count = if version() == [7, 0] { 1000 } else { 125 };
    rounds(0..count);
}
