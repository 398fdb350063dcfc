use redis::Value;
use rl_tests::RedisServer;

pub(crate) const RATE: &str = "ERR invalid rate: expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
     units are ms, s, sec, m, min, h, hour, d and day";
const NUMBER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";
const KIND: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// Each command with the full text of its error. A command with missing arguments is in lower case, because Redis 6.2
/// repeats the name as it was written. `live` holds a token bucket, `queue` a leaky one, `list` a list and `text` a
/// string that is not a bucket.
pub(crate) const TABLE: &[(&str, &str)] = &[
    (
        "rl.token",
        "ERR wrong number of arguments for 'rl.token' command",
    ),
    (
        "rl.token k",
        "ERR wrong number of arguments for 'rl.token' command",
    ),
    (
        "rl.token k 10",
        "ERR wrong number of arguments for 'rl.token' command",
    ),
    (
        "rl.leaky k 10",
        "ERR wrong number of arguments for 'rl.leaky' command",
    ),
    (
        "rl.peek",
        "ERR wrong number of arguments for 'rl.peek' command",
    ),
    ("RL.TOKEN k 0 20", RATE),
    ("RL.TOKEN k -1 20", RATE),
    ("RL.TOKEN k 1e3 20", RATE),
    ("RL.TOKEN k 10/30 20", RATE),
    ("RL.TOKEN k 1/0s 20", RATE),
    ("RL.LEAKY k 1/S 20", RATE),
    ("RL.LEAKY k 1/second 20", RATE),
    ("RL.LEAKY k 1/3258d 20", RATE),
    ("RL.TOKEN k 10 x", NUMBER),
    ("RL.TOKEN k 10 -1", NUMBER),
    ("RL.TOKEN k 10 1.5", NUMBER),
    ("RL.TOKEN k 10 020", NUMBER),
    ("RL.TOKEN k 10 281474976710656", NUMBER),
    ("RL.TOKEN k 10 20 COST 281474976710656", NUMBER),
    ("RL.TOKEN k 10 20 COST -1", NUMBER),
    ("RL.TOKEN k 10 20 FORCE x", NUMBER),
    ("RL.TOKEN k 10 20 REFUND 18446744073709551617", NUMBER),
    ("RL.PEEK k COST x", NUMBER),
    ("RL.TOKEN k 10 0", "ERR invalid burst in 'rl.token' command"),
    (
        "RL.LEAKY k 10 0",
        "ERR invalid capacity in 'rl.leaky' command",
    ),
    (
        "RL.TOKEN k 10 20 COST 0 PARTIAL",
        "ERR invalid cost in 'rl.token' command",
    ),
    (
        "RL.LEAKY k 10 20 COST 0 PARTIAL",
        "ERR invalid cost in 'rl.leaky' command",
    ),
    (
        "RL.TOKEN k 10 20 FORCE 0",
        "ERR invalid force in 'rl.token' command",
    ),
    (
        "RL.LEAKY k 10 20 REFUND 0",
        "ERR invalid refund in 'rl.leaky' command",
    ),
    ("RL.TOKEN k 10 20 COST", SYNTAX),
    ("RL.TOKEN k 10 20 5", SYNTAX),
    ("RL.TOKEN k 10 20 PARTIAL", SYNTAX),
    ("RL.TOKEN k 10 20 NOPE 1", SYNTAX),
    ("RL.TOKEN k 10 20 COST 1 COST 1", SYNTAX),
    ("RL.TOKEN k 10 20 COST 1 PARTIAL PARTIAL", SYNTAX),
    ("RL.TOKEN k 10 20 COST 1 FORCE 1", SYNTAX),
    ("RL.TOKEN k 10 20 FORCE 1 PARTIAL", SYNTAX),
    ("RL.TOKEN k 10 20 REFUND 1 1", SYNTAX),
    ("RL.PEEK k COST", SYNTAX),
    ("RL.PEEK k FORCE 1", SYNTAX),
    ("RL.PEEK k COST 1 1", SYNTAX),
    ("RL.TOP 5", SYNTAX),
    ("RL.TOP COUNT", SYNTAX),
    ("RL.TOP RESET COUNT 5", SYNTAX),
    ("RL.TOP COUNT x", NUMBER),
    ("RL.TOP COUNT 0", "ERR invalid count in 'rl.top' command"),
    ("RL.TOKEN list 10 20", KIND),
    ("RL.TOKEN text 10 20", KIND),
    ("RL.PEEK list", KIND),
    ("RL.PEEK text", KIND),
    (
        "RL.LEAKY live 10 20",
        "WRONGTYPE Key holds a token bucket, not a leaky bucket",
    ),
    (
        "RL.TOKEN queue 10 20",
        "WRONGTYPE Key holds a leaky bucket, not a token bucket",
    ),
    ("RL.TOKEN debt 1/1000d 20 FORCE 281474976710655", NUMBER),
];

#[test]
fn each_error_has_its_text_and_changes_nothing() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for line in [
        "RL.TOKEN live 1/1000d 20",
        "RL.LEAKY queue 1/1000d 20",
        "RL.TOKEN debt 1/1000d 20 FORCE 1",
        "RPUSH list a",
        "SET text hello",
    ] {
        redis.value(line);
    }
    let digest: String = redis.line("DEBUG DIGEST");
    let changes = redis.info("persistence", "rdb_changes_since_last_save");
    for (line, text) in TABLE {
        assert_eq!(
            redis.try_line::<Value>(line),
            Err((*text).to_owned()),
            "{line}"
        );
    }
    assert_eq!(redis.line::<String>("DEBUG DIGEST"), digest);
    assert_eq!(
        redis.info("persistence", "rdb_changes_since_last_save"),
        changes
    );
}

#[test]
fn memory_limits_and_permissions_apply() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 5");
    let before = redis.stored("k");
    redis.value("CONFIG SET maxmemory 1");
    let error = redis
        .try_line::<Value>("RL.TOKEN k 1/1000d 5")
        .expect_err("out of memory");
    assert!(error.starts_with("OOM "), "{error}");
    assert_eq!(redis.limit("RL.PEEK k COST 0")[..3], [1, 5, 4]);
    // Out of memory, Redis refuses the transaction in `stored` too.
    redis.value("CONFIG SET maxmemory 0");
    assert_eq!(redis.stored("k"), before);
    redis.value("ACL SETUSER someone on nopass ~mine:* +rl.token");
    redis.value("AUTH someone x");
    assert_eq!(redis.limit("RL.TOKEN mine:k 10 20")[0], 1);
    let error = redis
        .try_line::<Value>("RL.TOKEN k 10 20")
        .expect_err("no permission");
    assert!(error.starts_with("NOPERM "), "{error}");
}
