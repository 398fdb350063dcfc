//! MODULE UNLOAD while ACL rules or queued commands refer to the module's commands. The module refuses, since Redis
//! would crash.

use redis::Value;
use rl_tests::{Redis, RedisServer, eventually};

fn assert_refused(redis: &mut Redis) {
    let error = redis
        .try_line::<Value>("MODULE UNLOAD rl")
        .expect_err("a refusal");
    assert!(error.starts_with("ERR Error unloading module"), "{error}");
}

fn assert_unloads(redis: &mut Redis) {
    redis.value("MODULE UNLOAD rl");
    assert!(redis.try_line::<Value>("RL.TOKEN k 1/1000d 20").is_err());
    // Redis before 7.2 crashes here if a rule names a command that no longer exists.
    redis.value("ACL LIST");
}

#[test]
fn unload_fails_while_an_acl_rule_names_a_command() {
    let server = RedisServer::start_with(&["cl-throttle"]);
    let mut redis = server.connect();
    let mut tried = 0;
    for rules in [
        "+rl.token +rl.leaky",
        "+@all -rl.multi",
        "+CL.THROTTLE",
        "(+rl.peek ~x)",
    ] {
        // Redis 6.2 has no selectors.
        if redis
            .try_line::<Value>(&format!("ACL SETUSER app on nopass ~* {rules}"))
            .is_err()
        {
            println!("skipped: this server has no selectors");
            continue;
        }
        assert_refused(&mut redis);
        assert_eq!(redis.limit("RL.TOKEN k 1/1000d 1000")[0], 1, "{rules}");
        redis.value("ACL DELUSER app");
        tried += 1;
    }
    assert!(tried >= 3);
    assert_unloads(&mut redis);
}

#[test]
fn unload_works_while_acl_rules_name_no_command() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.value("ACL SETUSER other on nopass ~rl.token +get +@write");
    let _ = redis.try_line::<Value>("ACL SETUSER app on nopass ~* +@ratelimit");
    assert_unloads(&mut redis);
}

#[test]
fn unload_fails_while_a_client_has_a_command_queued() {
    let server = RedisServer::start();
    let (mut redis, mut other) = (server.connect(), server.connect());
    other.value("MULTI");
    other.value("RL.TOKEN k 1/1000d 20");
    assert_refused(&mut redis);
    assert!(
        server
            .log()
            .contains("not unloaded: a client has queued commands")
    );
    let replies: Vec<Vec<i64>> = other.line("EXEC");
    assert_eq!(replies[0][..3], [1, 20, 19]);
    assert_unloads(&mut redis);
}

#[test]
fn unload_fails_inside_a_transaction() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let lines = ["MULTI", "MODULE UNLOAD rl", "RL.TOKEN k 1/1000d 20", "EXEC"];
    let replies = redis.run_all(lines.into_iter().map(str::to_owned));
    let Some(Value::Array(replies)) = replies.last() else {
        panic!("{replies:?}");
    };
    assert!(matches!(replies[0], Value::ServerError(_)), "{replies:?}");
    assert!(matches!(replies[1], Value::Array(_)), "{replies:?}");
    assert_unloads(&mut redis);
}

/// Valkey unloads its modules during shutdown.
#[test]
fn a_server_can_shut_down_while_unload_would_fail() {
    let server = RedisServer::start();
    let (mut redis, mut other) = (server.connect(), server.connect());
    redis.value("ACL SETUSER app on nopass ~* +rl.token");
    other.value("MULTI");
    other.value("RL.TOKEN k 1/1000d 20");
    let _ = redis.try_line::<Value>("SHUTDOWN NOSAVE");
    eventually("the server to exit", || (!server.is_alive()).then_some(()));
    assert!(!server.log().contains("BUG REPORT"), "{}", server.log());
}
