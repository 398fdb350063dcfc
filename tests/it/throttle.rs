use redis::Value;
use rl_tests::{Redis, RedisServer, Stored, artifacts, assert_about, eventually};

/// A server whose module has CL.THROTTLE too.
fn start() -> RedisServer {
    let mut server = RedisServer::start();
    let module = artifacts().module.to_str().expect("UTF-8");
    server.restart_with(&["--loadmodule", module, "cl-throttle"]);
    server
}

fn now_us(redis: &mut Redis) -> u64 {
    let (seconds, micros): (u64, u64) = redis.line("TIME");
    seconds * 1_000_000 + micros
}

/// Like [`assert_about`], in redis-cell's whole seconds.
fn assert_about_s(value_s: i64, exact_s: i64) {
    assert_about(value_s * 1000, exact_s * 1000);
}

#[test]
fn replies_are_those_that_redis_cell_documents() {
    let server = start();
    let mut redis = server.connect();
    for command in ["RL.THROTTLE", "CL.THROTTLE"] {
        assert_eq!(
            redis.limit(&format!("{command} {command} 15 30 60")),
            [0, 16, 15, -1, 2]
        );
        // Two million seconds a token, so that none is refilled during the test.
        let mut call = |quantity| {
            let reply = redis.limit(&format!(
                "{command} slow:{command} 15 30 60000000 {quantity}"
            ));
            assert_eq!(reply[1], 16);
            reply
        };
        assert_eq!(call(1), [0, 16, 15, -1, 2_000_000]);
        let reply = call(15);
        assert_eq!((reply[0], reply[2], reply[3]), (0, 0, -1));
        assert_about_s(reply[4], 32_000_000);
        for (quantity, wait_s) in [(1, 2_000_000), (3, 6_000_000)] {
            let reply = call(quantity);
            assert_eq!((reply[0], reply[2]), (1, 0));
            assert_about_s(reply[3], wait_s);
            assert_eq!(reply[4] - reply[3], 32_000_000 - wait_s);
        }
        assert_eq!(call(17)[..4], [1, 16, 0, -1]);
    }
}

#[test]
fn quantity_0_peeks() {
    let server = start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("CL.THROTTLE k 15 30 60 0"), [0, 16, 16, -1, 0]);
    assert_eq!(redis.line::<i64>("EXISTS k"), 0);
    redis.limit("CL.THROTTLE k 15 1 6000000");
    let before = redis.stored("k");
    let reply = redis.limit("CL.THROTTLE k 15 1 6000000 0");
    assert_eq!(reply[..4], [0, 16, 15, -1]);
    assert_about_s(reply[4], 6_000_000);
    assert_eq!(redis.stored("k"), before);
}

#[test]
fn throttle_and_token_limit_the_same_buckets() {
    let server = start();
    let mut redis = server.connect();
    redis.limit("CL.THROTTLE k 15 30 60000000 10");
    assert_eq!(redis.limit("RL.TOKEN k 1/2000000s 16")[..3], [1, 16, 5]);
    assert_eq!(
        redis.limit("RL.THROTTLE k 15 30 60000000 6")[..3],
        [1, 16, 5]
    );
}

#[test]
fn inputs_that_redis_cell_gets_wrong_are_handled() {
    let server = start();
    let mut redis = server.connect();
    let fast = "CL.THROTTLE fast 59999999999 6000 1 60000000000";
    assert_eq!(redis.limit(fast), [0, 60_000_000_000, 0, -1, 10_000_000]);
    let reply = redis.limit(fast);
    assert_eq!(reply[..2], [1, 60_000_000_000]);
    assert_about_s(reply[3], 10_000_000);
    let one = "CL.THROTTLE one 0 1 1000000";
    assert_eq!(redis.limit(one), [0, 1, 0, -1, 1_000_000]);
    let reply = redis.limit(one);
    assert_eq!(reply[..3], [1, 1, 0]);
    assert_about_s(reply[3], 1_000_000);
    let number = "ERR value is not an integer or out of range";
    for (line, error) in [
        ("CL.THROTTLE k 9223372036854775807 30 60", number),
        ("CL.THROTTLE k 281474976710655 30 60", number),
        ("CL.THROTTLE k -1 30 60", number),
        ("CL.THROTTLE k 15 -5 60", number),
        ("CL.THROTTLE k 15 30 -60", number),
        ("CL.THROTTLE k 15 30 60 -1", number),
        ("CL.THROTTLE k 15 1 281474977", number),
        (
            "CL.THROTTLE k 15 0 60",
            "ERR invalid count in 'cl.throttle' command",
        ),
        (
            "RL.THROTTLE k 15 30 0",
            "ERR invalid period in 'rl.throttle' command",
        ),
        ("RL.THROTTLE k 15 30 60 1 1", "ERR syntax error"),
        // Redis 6.2 repeats the name of the command as the client wrote it.
        (
            "cl.throttle k 15 30",
            "ERR wrong number of arguments for 'cl.throttle' command",
        ),
    ] {
        assert_eq!(
            redis.try_line::<Value>(line),
            Err(error.to_owned()),
            "{line}"
        );
    }
    redis.value("RPUSH list a");
    assert!(
        redis
            .try_line::<Value>("CL.THROTTLE list 15 30 60")
            .expect_err("a list")
            .starts_with("WRONGTYPE ")
    );
    redis.value("SET text hello");
    assert!(
        redis
            .try_line::<Value>("CL.THROTTLE text 15 30 60")
            .expect_err("a text")
            .starts_with("WRONGTYPE ")
    );
    let reply: Vec<i64> = redis
        .try_run(&[b"CL.THROTTLE".as_slice(), b"\xff\xfe", b"15", b"30", b"60"])
        .expect("any key");
    assert_eq!(reply, [0, 16, 15, -1, 2]);
    assert!(server.is_alive());
}

/// With retry_after in whole seconds, as redis-cell replies.
#[test]
fn after_waiting_retry_after_seconds_a_call_is_allowed() {
    let server = start();
    let mut redis = server.connect();
    assert_eq!(redis.limit("CL.THROTTLE k 0 1 1"), [0, 1, 0, -1, 1]);
    let mut debt = 0;
    let reply = eventually("a denial", || {
        let reply = redis.limit("CL.THROTTLE k 0 1 1");
        if reply[0] == 1 {
            return Some(reply);
        }
        // More each time, since a pause between the two calls may refill it.
        debt = 2 * debt + 1;
        redis.limit(&format!("RL.TOKEN k 1 1 FORCE {debt}"));
        None
    });
    let wait_s = reply[3];
    assert_eq!(reply, [1, 1, 0, wait_s, wait_s]);
    assert!((1..=debt + 1).contains(&wait_s), "{reply:?}");
    let passed_us = now_us(&mut redis) + u64::try_from(wait_s).expect("a wait") * 1_000_000;
    eventually("the seconds to pass by the server's clock", || {
        (now_us(&mut redis) >= passed_us).then_some(())
    });
    assert_eq!(redis.limit("CL.THROTTLE k 0 1 1"), [0, 1, 0, -1, 1]);
}

#[test]
fn a_limit_in_redis_cell_s_format_is_taken_over() {
    let server = start();
    let mut redis = server.connect();
    // Ten tokens are used, at 30 in 60 million seconds. redis-cell stores the instant at which the bucket is full
    // again.
    let full_us = now_us(&mut redis) + 20_000_000_000_000;
    redis.value(&format!("SET k {}001 EX 20000000", full_us - 1));
    let reply = redis.limit("CL.THROTTLE k 15 30 60000000");
    assert_eq!(reply[..4], [0, 16, 5, -1]);
    assert_about_s(reply[4], 22_000_000);
    let (bytes, deadline_ms) = redis.stored("k");
    let stored = Stored::read(&bytes.expect("a bucket"));
    assert_eq!(
        stored.resets_at_us(),
        u128::from(full_us) + 2_000_000_000_000
    );
    assert!(stored.may_live_until(deadline_ms), "{deadline_ms}");
}

#[test]
fn only_values_of_redis_cell_are_taken_over_and_only_if_enabled() {
    let server = start();
    let mut redis = server.connect();
    for line in [
        "SET no_ttl 1700000000000000000",
        "SET short 170000000000000000 EX 100000",
        "SET zero 0700000000000000000 EX 100000",
        "SET late 9999999999999999999 EX 100000",
        "SET text 17000000000000000x0 EX 100000",
    ] {
        redis.value(line);
        let key = line.split(' ').nth(1).expect("a key");
        let error = redis
            .try_line::<Value>(&format!("CL.THROTTLE {key} 15 30 60"))
            .expect_err(key);
        assert!(error.starts_with("WRONGTYPE "), "{error}");
    }
    redis.value("SET past 1700000000000000000 EX 100000");
    assert!(
        redis.try_line::<Value>("RL.TOKEN past 10 20").is_err(),
        "RL.TOKEN takes over no value of redis-cell"
    );
    assert_eq!(redis.limit("RL.THROTTLE past 15 30 60"), [0, 16, 15, -1, 2]);
    let full_ns = (now_us(&mut redis) + 60_000_000_000) * 1000;
    redis.value(&format!("SET full {full_ns} EX 100000"));
    let before = redis.stored("full");
    assert_eq!(redis.limit("CL.THROTTLE full 15 30 60 17")[0], 1);
    assert_eq!(redis.stored("full"), before, "a denial changes nothing");

    let plain = RedisServer::start();
    let mut redis = plain.connect();
    redis.value("SET past 1700000000000000000 EX 100000");
    assert!(
        redis
            .try_line::<Value>("RL.THROTTLE past 15 30 60")
            .expect_err("a text")
            .starts_with("WRONGTYPE ")
    );
    assert!(
        redis
            .try_line::<Value>("CL.THROTTLE k 15 30 60")
            .expect_err("no alias")
            .starts_with("ERR unknown command")
    );
}

/// A module that registers the name and does nothing.
const TAKES_THE_NAME: &str = r#"
typedef int command(void *ctx, void **argv, int argc);
static int nothing(void *ctx, void **argv, int argc) { return 0; }
int RedisModule_OnLoad(void *ctx, void **argv, int argc) {
    int (*get_api)(const char *, void *) = *(int (**)(const char *, void *))ctx;
    void (*set_attribs)(void *, const char *, int, int);
    int (*create)(void *, const char *, command *, const char *, int, int, int);
    get_api("RedisModule_SetModuleAttribs", &set_attribs);
    get_api("RedisModule_CreateCommand", &create);
    set_attribs(ctx, "taken", 1, 1);
    return create(ctx, "cl.throttle", nothing, "readonly", 0, 0, 0);
}
"#;

#[test]
fn the_module_loads_without_cl_throttle_if_the_name_is_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, taken) = (dir.path().join("taken.c"), dir.path().join("taken.so"));
    std::fs::write(&source, TAKES_THE_NAME).expect("written");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&taken, &source])
        .status();
    assert!(built.is_ok_and(|status| status.success()));
    let mut server = RedisServer::start();
    let taken = taken.to_str().expect("UTF-8");
    server.restart_with(&[
        "--loadmodule",
        taken,
        "--loadmodule",
        artifacts().module.to_str().expect("UTF-8"),
        "cl-throttle",
    ]);
    assert!(
        server.log().contains("cl.throttle is already registered"),
        "{}",
        server.log()
    );
    assert_eq!(
        server.connect().limit("RL.THROTTLE k 15 30 60"),
        [0, 16, 15, -1, 2]
    );
}
