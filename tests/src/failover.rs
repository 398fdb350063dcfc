//! Roles of servers, and how to stop replication.

use std::time::{Duration, Instant};

use redis::Value;

use crate::{RedisServer, eventually};

fn field(server: &RedisServer, field: &str) -> Option<String> {
    server.try_connect()?.info("replication", field)
}

/// Whether the server reports that it is a primary.
pub(crate) fn is_primary(server: &RedisServer) -> bool {
    field(server, "role").is_some_and(|role| role == "master")
}

/// Whether the server replicates `primary` and its link is up.
pub(crate) fn follows(replica: &RedisServer, primary: &RedisServer) -> bool {
    let port = field(replica, "master_port");
    port == Some(primary.port().to_string()) && has_link(replica)
}

fn has_link(replica: &RedisServer) -> bool {
    field(replica, "master_link_status").is_some_and(|status| status == "up")
}

/// Stops replication from `primary` until it restarts. Changes that it makes from now on are lost.
pub(crate) fn cut(primary: &RedisServer, replicas: &[&RedisServer]) {
    let mut redis = primary.connect();
    redis.value("ACL SETUSER default -psync -sync");
    redis.value("CLIENT KILL TYPE replica");
    eventually("the links to be down", || {
        let down = replicas.iter().all(|replica| !has_link(replica));
        down.then_some(())
    });
    let count: Value = redis.value("CLIENT LIST TYPE replica");
    assert_eq!(count, Value::BulkString(Vec::new()), "a replica is back");
}

/// Waits until `is_done`. Calls `attempt` at first, and again if it failed or if `retry_after` has passed since it
/// succeeded, because servers give up on a slow machine.
pub(crate) fn retry_until(
    what: &str,
    retry_after: Duration,
    mut attempt: impl FnMut() -> bool,
    mut is_done: impl FnMut() -> bool,
) {
    let mut attempted: Option<Instant> = None;
    eventually(what, || {
        if is_done() {
            return Some(());
        }
        if attempted.is_none_or(|at| at.elapsed() > retry_after) {
            attempted = attempt().then(Instant::now);
        }
        None
    });
}
