use std::net::Ipv4Addr;
use std::time::Duration;

use nix::sys::signal::Signal;
use rl_tests::{By, Fault, FaultProxy, HttpServer, Load, RedisServer, Stored, eventually};

const KEY: &str = "rl:token:127.0.0.1";

/// A policy so slow that no token is refilled during a test.
const BURST: i64 = 1000;
const POLICY: [&str; 4] = ["-rate", "1/1000d", "-burst", "1000"];

fn start(redis: &RedisServer, address: &str, deadline: &str) -> HttpServer {
    let http =
        HttpServer::start(&[&["-redis", address, "-deadline", deadline], &POLICY[..]].concat());
    assert_eq!(http.get("/token").status, 200);
    assert_eq!(spent(redis), 1);
    http
}

/// Tokens that were taken from the caller's bucket.
fn spent(redis: &RedisServer) -> i64 {
    BURST - redis.connect().limit(&format!("RL.PEEK {KEY} COST 0"))[2]
}

fn wait_until_spent(redis: &RedisServer, tokens: i64) {
    eventually(&format!("{tokens} tokens to be spent"), || {
        (spent(redis) == tokens).then_some(())
    });
}

/// Sends requests until Redis decides one. Returns how many were answered without Redis.
fn wait_for_decision(http: &HttpServer) -> i64 {
    let mut undecided = 0;
    eventually("a decision", || {
        let is_decided = http.get("/token").status == 200;
        undecided += i64::from(!is_decided);
        is_decided.then_some(())
    });
    undecided
}

/// Redis executes a call, and its reply is lost with the connection. The next call has a new connection.
fn a_cut_after_the_write_spends_one_token(redis: &RedisServer, network: &FaultProxy, scheme: &str) {
    let address = format!("{scheme}{}", network.address());
    let http = start(redis, &address, "600s");
    let mut lost = 0;
    for _ in 0..5 {
        let before = spent(redis);
        network.set(Fault::CutReply);
        let status = http.get("/token").status;
        let took = spent(redis) - before;
        // The proxy may cut another reply, such as that to CLUSTER SLOTS.
        assert!(
            (0..=1).contains(&took),
            "{took} tokens for one request, answered {status}"
        );
        lost += i64::from((status, took) == (503, 1));
        network.set(Fault::None);
        wait_for_decision(&http);
    }
    assert!(lost > 0, "the reply of no executed call was lost");
}

#[test]
fn a_lost_reply_spends_one_token() {
    let redis = RedisServer::start_on_tcp(&[]);
    let network = FaultProxy::to(redis.port());
    a_cut_after_the_write_spends_one_token(&redis, &network, "");
}

#[test]
fn a_lost_reply_spends_one_token_in_a_cluster() {
    let network = FaultProxy::to(0);
    let port = network.port().to_string();
    let redis = RedisServer::start_cluster_node(&["--cluster-announce-port", &port]);
    network.forward_to(redis.port());
    let mut connection = redis.connect();
    connection.add_slots();
    eventually("the cluster to be up", || {
        let info: String = connection.line("CLUSTER INFO");
        info.contains("cluster_state:ok").then_some(())
    });
    a_cut_after_the_write_spends_one_token(&redis, &network, "redis-cluster://");
}

/// Too few timeouts for an outage, so that the connection, with the calls sent on it, stays open.
#[test]
fn calls_that_timed_out_run_late_and_once() {
    let redis = RedisServer::start_on_tcp(&[]);
    let address = format!("127.0.0.1:{}", redis.port());
    let http = start(&redis, &address, "100ms");
    redis.signal(Signal::SIGSTOP);
    (0..4).for_each(|_| assert_eq!(http.get("/token").status, 503));
    redis.signal(Signal::SIGCONT);
    wait_until_spent(&redis, 5);
    let requests = 6 + wait_for_decision(&http);
    assert!(
        (6..=requests).contains(&spent(&redis)),
        "{} of {requests}",
        spent(&redis)
    );
}

#[test]
fn slow_replies_time_out_and_cost_at_most_one_token_each() {
    let redis = RedisServer::start_on_tcp(&[]);
    let network = FaultProxy::to(redis.port());
    let http = start(&redis, &network.address(), "100ms");
    network.set(Fault::SlowReplies(Duration::from_millis(50)));
    (0..50).for_each(|_| assert_eq!(http.get("/token").status, 503));
    network.set(Fault::None);
    let requests = 52 + wait_for_decision(&http);
    assert!(
        (2..=requests).contains(&spent(&redis)),
        "{} of {requests}",
        spent(&redis)
    );
}

/// P6 under load: every allowed request took a token, and no request took two.
#[test]
fn calls_under_load_take_their_tokens_at_most_once() {
    let redis = RedisServer::start_on_tcp(&[]);
    let address = format!("127.0.0.1:{}", redis.port());
    let policy = ["-rate", "1/1000d", "-burst", "1000000000"];
    let flags = [&["-redis", &address, "-deadline", "50ms"], &policy[..]].concat();
    let http = HttpServer::start(&flags);
    let caller = Ipv4Addr::LOCALHOST;
    let answers = Load::on(&http, "/token", &[caller; 8], |load| {
        for _ in 0..3 {
            load.wait_for(By::Redis, 20);
            redis.signal(Signal::SIGSTOP);
            load.wait_for(By::Nobody, 200);
            redis.signal(Signal::SIGCONT);
            load.wait_for(By::Redis, 20);
        }
    });
    let allowed = answers
        .iter()
        .filter(|answer| answer.by == By::Redis)
        .count();
    let mut redis = redis.connect();
    let stored = Stored::read(&redis.stored(KEY).0.expect("a bucket"));
    let used = stored.used.div_ceil(stored.period_us.into());
    println!(
        "{allowed} allowed, {used} taken, {} requests",
        answers.len()
    );
    let count = |count: usize| u128::try_from(count).expect("few");
    assert!((count(allowed)..=count(answers.len())).contains(&used));
}
