use redis::Value;
use rl_tests::{Redis, RedisServer, Stored, eventually, version};

const KIND: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// One call of each command that opens a bucket.
const COMMANDS: [&str; 3] = ["RL.TOKEN {} 10 20", "RL.LEAKY {} 10 20", "RL.PEEK {}"];

/// What a client can see of a key. The encoding of a string as long as a bucket is left out, because opening such a
/// string may change it.
fn seen(redis: &mut Redis, key: &str) -> (Vec<u8>, Option<String>) {
    let dump = redis.line(&format!("DUMP {key}"));
    let may_be_a_bucket = redis.try_line(&format!("STRLEN {key}")) == Ok(44);
    let encoding = (!may_be_a_bucket).then(|| redis.line(&format!("OBJECT ENCODING {key}")));
    (dump, encoding)
}

fn assert_wrong_kind(redis: &mut Redis, key: &str) {
    let before = seen(redis, key);
    for command in COMMANDS {
        let line = command.replace("{}", key);
        assert_eq!(
            redis.try_line::<Value>(&line),
            Err(KIND.to_owned()),
            "{line}"
        );
    }
    assert_eq!(seen(redis, key), before, "{key}");
}

#[test]
fn every_other_type_is_rejected_and_not_changed() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for line in [
        "RPUSH list a",
        "SADD set a",
        "SADD intset 1 2",
        "ZADD zset 1 a",
        "HSET hash f v",
        "XADD stream * f v",
        "PFADD hyperloglog a",
        "SETBIT bits 351 1",
        "SET integer 12345",
        "SET empty_looking 0",
        "SET decimal 1700000000000000000 EX 100000",
        "SET embedded_44 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "SETRANGE raw_44 43 a",
        "SETRANGE long 1000 a",
    ] {
        redis.value(line);
    }
    redis
        .try_run::<Value>(&["SET", "nothing", ""])
        .expect("an empty string");
    for key in [
        "list",
        "set",
        "intset",
        "zset",
        "hash",
        "stream",
        "hyperloglog",
        "bits",
        "integer",
        "empty_looking",
        "decimal",
        "embedded_44",
        "raw_44",
        "long",
        "nothing",
    ] {
        assert_wrong_kind(&mut redis, key);
    }
    assert!(server.is_alive());
}

#[test]
fn a_bucket_is_a_string_of_44_bytes() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 20");
    assert_eq!(redis.line::<String>("TYPE k"), "string");
    assert_eq!(redis.line::<i64>("STRLEN k"), 44);
}

#[test]
fn a_bucket_that_another_command_changed_is_wrongtype() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for line in [
        "APPEND {} x",
        "SETRANGE {} 0 X",
        "SETRANGE {} 1 2",
        "SET {} x",
        "SETRANGE {} 26 XXXXXX",
    ] {
        redis.limit("RL.TOKEN k 1/1000d 20");
        redis.value(&line.replace("{}", "k"));
        assert_wrong_kind(&mut redis, "k");
        redis.value("DEL k");
    }
}

#[test]
fn a_copied_renamed_or_restored_bucket_keeps_its_state() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 20 COST 5");
    redis.value("COPY k copy");
    redis.value("RENAME k renamed");
    let dump: Vec<u8> = redis.line("DUMP copy");
    redis
        .try_run::<Value>(&[b"RESTORE".as_slice(), b"restored", b"0", &dump])
        .expect("restored");
    for key in ["copy", "renamed", "restored"] {
        assert_eq!(
            redis.limit(&format!("RL.TOKEN {key} 1/1000d 20"))[..3],
            [1, 20, 14],
            "{key}"
        );
    }
}

#[test]
fn keys_are_bytes() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let long = vec![b'k'; 1_000_000];
    let names: [&[u8]; 6] = [b"", b"\xff\xfe", b"a\0b", b"a\r\nb", b" ", &long];
    for name in names {
        let reply: Vec<i64> = redis
            .try_run(&[b"RL.TOKEN".as_slice(), name, b"1/1000d", b"5"])
            .expect("allowed");
        assert_eq!(reply[..3], [1, 5, 4]);
        let reply: Vec<i64> = redis
            .try_run(&[b"RL.PEEK".as_slice(), name, b"COST", b"0"])
            .expect("a bucket");
        assert_eq!(reply[..3], [1, 5, 4]);
    }
    assert_eq!(redis.line::<i64>("DBSIZE"), 6);
    assert!(server.is_alive());
}

#[test]
fn a_key_expires_soon_after_its_bucket_has_reset() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for (line, resets_after_us) in [
        ("RL.TOKEN k 1/1000s 20 COST 7", 7_000_000_000),
        ("RL.LEAKY k 3/1000s 20 FORCE 30", 10_000_000_000),
    ] {
        redis.value("DEL k");
        redis.limit(line);
        let (bytes, deadline_ms) = redis.stored("k");
        let stored = Stored::read(&bytes.expect("a key"));
        assert!(stored.may_live_until(deadline_ms), "{line}: {deadline_ms}");
        assert_eq!(
            stored.resets_at_us(),
            u128::from(stored.updated_us) + resets_after_us
        );
    }
}

#[test]
fn a_bucket_that_is_full_again_expires() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1000 20 COST 20");
    eventually("the key to expire", || {
        (redis.line::<i64>("EXISTS k") == 0).then_some(())
    });
    assert_eq!(redis.limit("RL.TOKEN k 1000 20"), [1, 20, 19, 0, 1]);
}

/// A deadline computed at the faster rate would be too early at the slower one.
#[test]
fn the_deadline_follows_a_changed_rate() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000s 20 COST 20");
    let fast = redis.stored("k").1;
    redis.limit("RL.TOKEN k 1/1000d 20 COST 9");
    let slow = redis.stored("k").1;
    assert!(fast > 0 && slow > fast + 1_000_000_000_000, "{fast} {slow}");
}

/// P10, over a thousand calls of every kind.
#[test]
fn no_sequence_of_calls_leaves_a_key_without_a_deadline() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let rates = ["1/1000d", "7/3h", "10/s", "3/7m"];
    let how = [
        "",
        " COST 3",
        " COST 9 PARTIAL",
        " FORCE 4",
        " REFUND 2",
        " COST 0",
        " COST 99",
    ];
    let mut random = 1_u64;
    let mut pick = |n: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % n
    };
    for _ in 0..1000 {
        let (key, rate, capacity) = (pick(12), rates[pick(rates.len())], 5 + pick(9));
        let line = match pick(4) {
            0 => format!("RL.LEAKY l{key} {rate} {capacity}{}", how[pick(how.len())]),
            1 => format!(
                "RL.MULTI t{key} TOKEN {rate} {capacity} 2 m{key} TOKEN {rate} {capacity} 1"
            ),
            2 => format!("RL.THROTTLE t{key} {capacity} 30 1000 {}", pick(4)),
            _ => format!("RL.TOKEN t{key} {rate} {capacity}{}", how[pick(how.len())]),
        };
        redis.value(&line);
        for key in redis.line::<Vec<String>>("KEYS *") {
            let (bytes, deadline_ms) = redis.stored(&key);
            let Some(bytes) = bytes else { continue };
            let stored = Stored::read(&bytes);
            assert!(stored.may_live_until(deadline_ms), "{line}: {deadline_ms}");
        }
    }
}

/// From Redis 7.2 on a script sees one time, however long it runs.
#[test]
fn one_script_sees_one_time() {
    // Beyond this limit, five seconds by default, Redis would update its clock.
    let server = RedisServer::start_with(&["--lua-time-limit", "0"]);
    let mut redis = server.connect();
    let script = "redis.call('RL.TOKEN', KEYS[1], '1/1000d', '5') \
                  local n = 0 for i = 1, 3000000 do n = n + i % 7 end \
                  redis.call('RL.TOKEN', KEYS[2], '1/1000d', '5') return n";
    redis
        .try_run::<Value>(&["EVAL", script, "2", "a", "b"])
        .expect("a number");
    assert_at_one_time(&mut redis);
}

#[test]
fn one_transaction_sees_one_time() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis
        .try_transaction::<Value>(&[
            "RL.TOKEN a 1/1000d 5",
            "DEBUG SLEEP 0.02",
            "RL.MULTI b TOKEN 1/1000d 5 1",
        ])
        .expect("three replies");
    assert_at_one_time(&mut redis);
}

/// Asserts that keys `a` and `b` were written at the same instant, on servers with a cached time for modules.
fn assert_at_one_time(redis: &mut Redis) {
    let mut updated_us = |key| Stored::read(&redis.stored(key).0.expect("a key")).updated_us;
    let apart_us = updated_us("b").abs_diff(updated_us("a"));
    if version() < [7, 2] {
        println!("skipped: this server has no cached time for modules ({apart_us} us apart)");
    } else {
        assert_eq!(apart_us, 0);
    }
}

#[test]
fn the_longest_wait_still_has_a_deadline() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let reply = redis.limit("RL.TOKEN k 1/3257d 281474976710655 FORCE 281474976710655");
    assert_eq!(reply, [1, 281_474_976_710_655, 0, 0, 9_007_199_254_740_991]);
    assert_eq!(redis.stored("k").1, i64::MAX);
    // Between 2^63 and 2^64 milliseconds.
    redis.limit("RL.TOKEN ages 1/60s 5 FORCE 281474976710655");
    assert_eq!(redis.stored("ages").1, i64::MAX);
    assert_eq!(redis.limit("RL.PEEK k")[0], 0);
}

#[test]
fn a_denied_or_failed_call_changes_no_byte_deadline_or_watch() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 5 COST 5");
    let before = redis.stored("k");
    let mut other = server.connect();
    for (line, executed) in [
        ("RL.TOKEN k 1/1000d 5", true),
        ("RL.TOKEN k 1/1000d 3", true),
        ("RL.TOKEN k 1/1000d 5 COST 6", true),
        ("RL.PEEK k", true),
        ("RL.INFO k", true),
        ("RL.MULTI other TOKEN 1/1000d 5 1 k TOKEN 1/1000d 5 1", true),
        ("RL.TOKEN k x 5", true),
        ("RL.LEAKY k 1/1000d 5", true),
        ("RL.TOKEN k 1/1000d 5 FORCE 281474976710655", true),
        ("RL.TOKEN k 1/1000d 5 REFUND 1", false),
        ("RL.TOKEN k 1/1000d 5", false),
        ("RL.TOKEN k 1/1000d 5 REFUND 5", false),
    ] {
        redis.value("WATCH k");
        let _ = other.try_line::<Value>(line);
        if executed {
            assert_eq!(other.stored("k"), before, "{line}");
        }
        redis.value("MULTI");
        redis.value("PING");
        assert_eq!(redis.value("EXEC") != Value::Nil, executed, "{line}");
    }
}

/// A client with CLIENT TRACKING receives an invalidation for each change, and no others.
#[test]
fn client_tracking_reports_only_calls_that_change_the_key() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 5 COST 4");
    let mut reader = server.connect();
    let pushes = reader.pushes();
    reader.value("CLIENT TRACKING ON");
    for (line, changes) in [
        ("RL.TOKEN k 1/1000d 5 COST 2", false),
        ("RL.TOKEN k 1/1000d 5 COST 6", false),
        ("RL.TOKEN k 1/1000d 5 COST 0", false),
        ("RL.PEEK k", false),
        ("RL.INFO k", false),
        ("RL.THROTTLE k 4 1 86400000 2", false),
        (
            "RL.MULTI other TOKEN 1/1000d 5 1 k TOKEN 1/1000d 5 2",
            false,
        ),
        ("RL.TOKEN k x 5", false),
        ("RL.LEAKY k 1/1000d 5", false),
        ("RL.TOKEN k 1/1000d 5 FORCE 281474976710655", false),
        ("RL.TOKEN k 1/1000d 5", true),
        ("RL.TOKEN k 1/1000d 5 FORCE 1", true),
        ("RL.TOKEN k 1/1000d 5 REFUND 3", true),
        ("RL.THROTTLE k 4 1 86400000", true),
        ("RL.MULTI other TOKEN 1/1000d 5 1 k TOKEN 1/1000d 5 1", true),
        ("RL.TOKEN k 1/1000d 5 REFUND 9", true),
    ] {
        // Redis reports a key once after each read of it.
        reader.value("GET k");
        let _ = redis.try_line::<Value>(line);
        reader.value("PING");
        let received: Vec<_> = pushes.try_iter().collect();
        let all_are_of_k = received
            .iter()
            .all(|push| push.data == [Value::Array(vec![Value::BulkString(b"k".to_vec())])]);
        assert!(all_are_of_k, "{line}: {received:?}");
        assert_eq!(!received.is_empty(), changes, "{line}");
    }
    assert_eq!(redis.line::<i64>("EXISTS k"), 0);
}

#[test]
fn transactions_and_scripts_limit_as_single_calls_do() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.value("MULTI");
    for _ in 0..3 {
        redis.value("RL.TOKEN k 1/1000d 2");
    }
    let replies: Vec<Vec<i64>> = redis.line("EXEC");
    assert_eq!(
        replies.iter().map(|reply| reply[0]).collect::<Vec<_>>(),
        [1, 1, 0]
    );

    let script =
        "local t = redis.call('RL.TOKEN', KEYS[1], '1/1000d', '2') return {t[1], t[3], #t}";
    let reply: Vec<i64> = redis.try_run(&["EVAL", script, "1", "k"]).expect("a reply");
    assert_eq!(reply, [0, 0, 5]);
    let script = "return redis.pcall('RL.TOKEN', KEYS[1], 'x', '2')";
    let error = redis
        .try_run::<Value>(&["EVAL", script, "1", "k"])
        .expect_err("an error");
    assert!(error.starts_with("ERR invalid rate: "), "{error}");
}
