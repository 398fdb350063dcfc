//! `/top` of `-metrics-addr`: the keys that were denied most.

use std::net::TcpStream;

use rl_tests::{Answer, Cluster, HttpServer, RedisServer, eventually, get};
use serde_json::Value;

use crate::operations::metrics_port;

/// Every request but the first is denied.
const DENY: [&str; 4] = ["-rate", "1/1000d", "-burst", "1"];

/// A server with this Redis, and the port of its operators.
fn start(redis: &str) -> (HttpServer, u16) {
    let flags = [
        "-redis",
        redis,
        "-metrics-addr",
        "127.0.0.1:0",
        "-deadline",
        "1s",
    ];
    let http = HttpServer::start_alone(&[&flags[..], &DENY].concat());
    let port = metrics_port(&http);
    http.wait_for_log("connected to Redis");
    (http, port)
}

fn top(port: u16) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    get(&mut stream, "/top")
}

/// The list, once it has this many keys: a younger one is reused.
fn listed(port: u16, count: usize) -> Value {
    eventually("the list", || {
        let list: Value = serde_json::from_str(&top(port).body).ok()?;
        (list["keys"].as_array()?.len() == count).then_some(list)
    })
}

#[test]
fn denied_callers_are_listed_for_operators_only() {
    let redis = RedisServer::start();
    let (http, port) = start(&redis.url());
    assert_eq!(top(port).body, r#"{"keys":[]}"#);
    let statuses = ["/token", "/token", "/leaky", "/token"].map(|path| http.get(path).status);
    assert_eq!(statuses, [200, 429, 200, 429]);
    listed(port, 1);
    let answer = top(port);
    assert_eq!(answer.status, 200);
    let list = r#"{"keys":[{"key":"rl:token:127.0.0.1","denied":2,"overestimate":0}]}"#;
    assert_eq!(answer.body, list);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(http.get("/top").status, 404);
}

#[test]
fn a_user_without_the_command_is_told_which_rule_to_add() {
    let redis = RedisServer::start_on_tcp(&[]);
    redis
        .connect()
        .value("ACL SETUSER limited on >word ~rl:* +rl.token +rl.leaky +rl.multi");
    let (http, port) = start(&format!("redis://limited:word@127.0.0.1:{}", redis.port()));
    let answer = top(port);
    assert_eq!(answer.status, 503);
    let error = "Redis refused the call: NOPERM: the user of -redis needs the ACL rule +rl.top";
    assert_eq!(answer.body, format!(r#"{{"error":"{error}"}}"#));
    assert_eq!(http.get("/token").status, 200, "Redis still decides");
    redis.connect().value("ACL SETUSER limited +rl.top");
    listed(port, 0);
}

#[test]
fn top_without_redis_is_503() {
    let redis = RedisServer::start();
    let (_http, port) = start(&redis.url());
    redis.kill();
    let answer = eventually("the outage", || {
        Some(top(port)).filter(|answer| answer.status == 503)
    });
    assert_eq!(answer.body, r#"{"error":"Redis does not answer"}"#);
}

#[test]
fn all_primaries_of_a_cluster_are_asked() {
    let cluster = Cluster::start(60_000);
    let node = cluster.nodes()[4].port();
    let (_http, port) = start(&format!("redis-cluster://127.0.0.1:{node}"));
    let shards = [0, 1, 2].map(|shard| cluster.at_rest(shard)[0]);
    for (shard, primary) in shards.iter().enumerate() {
        let key = cluster.keys(shard, 0)[0];
        for _ in 0..2 + shard {
            primary
                .connect()
                .value(&format!("RL.TOKEN {{k{key}}} 1/1000d 1"));
        }
    }
    let list = listed(port, 3);
    let denied = [0, 1, 2].map(|at| list["keys"][at]["denied"].as_u64());
    assert_eq!(denied, [Some(3), Some(2), Some(1)]);
    assert_eq!(list["unavailable"], Value::Null);
    let lost = shards[2].port();
    shards[2].kill();
    let list = listed(port, 2);
    assert_eq!(
        list["unavailable"][0]["primary"],
        format!("127.0.0.1:{lost}")
    );
    assert_eq!(list["unavailable"][0]["error"], "Redis does not answer");
}
