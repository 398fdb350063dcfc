//! Who is a primary, who follows it, and how to keep one from telling its replicas.

use std::time::{Duration, Instant};

use redis::Value;

use crate::{RedisServer, eventually};

fn field(server: &RedisServer, field: &str) -> Option<String> {
    server.try_connect()?.info("replication", field)
}

/// Whether it is a primary by its own account.
pub(crate) fn is_primary(server: &RedisServer) -> bool {
    field(server, "role").is_some_and(|role| role == "master")
}

/// Whether it follows `primary`, and its link is up.
pub(crate) fn follows(replica: &RedisServer, primary: &RedisServer) -> bool {
    let port = field(replica, "master_port");
    port == Some(primary.port().to_string()) && has_link(replica)
}

fn has_link(replica: &RedisServer) -> bool {
    field(replica, "master_link_status").is_some_and(|status| status == "up")
}

/// From now on `primary` tells its replicas nothing, until it is started anew: what it admits will be lost.
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

/// Waits until it is done, and asks for it when `ask` was not taken, or was that long ago: servers give up where the machine
/// is too slow.
pub(crate) fn insist(
    what: &str,
    again: Duration,
    mut ask: impl FnMut() -> bool,
    mut is_done: impl FnMut() -> bool,
) {
    let mut asked: Option<Instant> = None;
    eventually(what, || {
        if is_done() {
            return Some(());
        }
        if asked.is_none_or(|at| at.elapsed() > again) {
            asked = ask().then(Instant::now);
        }
        None
    });
}
