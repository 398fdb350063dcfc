//! Keyspace events. They are those of SET and DEL, which is what a replica runs for the same changes.

use rl_tests::{Redis, RedisServer, Setup, meddler};

/// A server with another module that receives every keyspace event.
fn start() -> RedisServer {
    let meddler = meddler().to_str().expect("UTF-8");
    RedisServer::start_as(Setup::with_module(&["--loadmodule", meddler]))
}

/// The events since the last call, each with its key, without `new`, which Redis sends itself.
fn events(redis: &mut Redis) -> Vec<String> {
    let mut events: Vec<String> = redis.line("MEDDLE.EVENTS");
    events.retain(|event| !event.starts_with("new "));
    events
}

#[test]
fn a_change_sends_set_and_a_moved_deadline_expire() {
    let server = start();
    let mut redis = server.connect();
    for command in ["RL.TOKEN", "RL.LEAKY"] {
        let on = |call: &str| format!("{command} {command} 1/1000d 800{call}");
        redis.value(&on(" COST 1"));
        assert_eq!(
            events(&mut redis),
            [format!("set {command}"), format!("expire {command}")]
        );
        redis.value(&on(" COST 1"));
        assert_eq!(events(&mut redis), [format!("set {command}")]);
        redis.value(&on(" COST 500"));
        assert_eq!(
            events(&mut redis),
            [format!("set {command}"), format!("expire {command}")]
        );
    }
    redis.value("RL.THROTTLE t 15 30 60000");
    assert_eq!(events(&mut redis), ["set t", "expire t"]);
}

#[test]
fn multi_sends_the_events_of_every_key_that_changes() {
    let server = start();
    let mut redis = server.connect();
    redis.value("RL.TOKEN b 1/1000d 800");
    events(&mut redis);
    redis.value("RL.MULTI b TOKEN 1/1000d 800 1 a LEAKY 1/1000d 800 1 c TOKEN 1/1000d 800 0");
    let mut sent = events(&mut redis);
    sent.sort();
    assert_eq!(sent, ["expire a", "set a", "set b"]);
}

#[test]
fn a_refund_to_full_sends_del() {
    let server = start();
    let mut redis = server.connect();
    for command in ["RL.TOKEN", "RL.LEAKY"] {
        redis.value(&format!("{command} k 1/1000d 20 COST 5"));
        events(&mut redis);
        redis.value(&format!("{command} k 1/1000d 20 REFUND 5"));
        assert_eq!(events(&mut redis), ["del k"]);
        assert_eq!(redis.line::<i64>("EXISTS k"), 0);
    }
}

#[test]
fn a_call_that_changes_nothing_sends_nothing() {
    let server = start();
    let mut redis = server.connect();
    redis.value("RL.TOKEN k 1/1000d 20 COST 20");
    redis.value("SET text hello");
    events(&mut redis);
    for call in [
        "RL.TOKEN k 1/1000d 20",
        "RL.TOKEN k 1/1000d 20 COST 0",
        "RL.TOKEN full 1/1000d 20 REFUND 1",
        "RL.TOKEN text 1/1000d 20",
        "RL.PEEK k",
        "RL.INFO k",
        "RL.THROTTLE k 19 1 86400000",
        "RL.MULTI full TOKEN 1/1000d 20 1 k TOKEN 1/1000d 20 1",
    ] {
        let _ = redis.try_line::<redis::Value>(call);
        assert!(events(&mut redis).is_empty(), "{call}");
    }
}
