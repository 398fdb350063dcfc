use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::Value;
use rl_tests::{Cluster, Redis, RedisServer, artifacts, version};

/// What RL.TOP replies: keys, each with its estimate and its overestimate.
type List = Vec<(String, u64, u64)>;

fn top(redis: &mut Redis, options: &str) -> List {
    redis.line(&format!("RL.TOP {options}"))
}

fn list(keys: &[(&str, u64, u64)]) -> List {
    let owned = |(key, estimate, over): &(&str, u64, u64)| (String::from(*key), *estimate, *over);
    keys.iter().map(owned).collect()
}

#[test]
fn the_key_that_is_denied_most_comes_first() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    assert_eq!(top(&mut redis, ""), []);
    for (line, calls) in [
        ("RL.TOKEN a 1/1000d 1", 4),
        ("RL.LEAKY b 1/1000d 1", 3),
        ("RL.THROTTLE c 0 1 86400000", 2),
        ("RL.TOKEN allowed 1/1000d 20", 9),
        ("RL.TOKEN never 1/1000d 1 COST 2", 9),
    ] {
        for _ in 0..calls {
            redis.value(line);
        }
    }
    let both = "RL.MULTI allowed TOKEN 1/1000d 20 1 b LEAKY 1/1000d 1 1";
    for _ in 0..5 {
        redis.value(both);
    }
    let all = list(&[("b", 7, 0), ("a", 3, 0), ("c", 1, 0)]);
    assert_eq!(top(&mut redis, ""), all);
    assert_eq!(top(&mut redis, "COUNT 2"), all[..2]);
    assert_eq!(top(&mut redis, "count 1000 reset"), all);
    assert_eq!(top(&mut redis, "RESET"), []);
    redis.value("RL.TOKEN a 1/1000d 1");
    assert_eq!(top(&mut redis, ""), list(&[("a", 1, 0)]));
}

#[test]
fn the_list_is_empty_after_the_module_is_loaded_again() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for _ in 0..2 {
        redis.value("RL.TOKEN k 1/1000d 1");
    }
    assert_eq!(top(&mut redis, "").len(), 1);
    redis.value("MODULE UNLOAD rl");
    redis.value(&format!("MODULE LOAD {}", artifacts().module.display()));
    assert_eq!(top(&mut redis, ""), []);
    redis.value("RL.TOKEN k 1/1000d 1");
    assert_eq!(top(&mut redis, ""), list(&[("k", 1, 0)]));
}

#[test]
fn a_key_may_hold_any_bytes() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let key = b"\xff\x00 \r\n".as_slice();
    for _ in 0..2 {
        let words: [&[u8]; 4] = [b"RL.TOKEN", key, b"1/1000d", b"1"];
        redis.try_run::<Value>(&words).expect("a decision");
    }
    let keys: Vec<(Vec<u8>, u64, u64)> = redis.line("RL.TOP");
    assert_eq!(keys, [(key.to_vec(), 1, 0)]);
}

#[test]
fn only_users_with_the_command_see_the_keys() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.value("ACL SETUSER operator on nopass resetkeys +rl.top");
    // Before 7.2 no category has commands of modules.
    let forbidden = if version() < [7, 2] {
        "-rl.top"
    } else {
        "-@dangerous"
    };
    redis.value(&format!(
        "ACL SETUSER careful on nopass ~* +@all {forbidden}"
    ));
    redis.value("ACL SETUSER caller on nopass ~* +rl.token +@write +@read +@fast");
    let category = redis.try_line::<Value>("ACL SETUSER caller +@ratelimit");
    assert!(category.is_ok() || version() < [7, 4], "{category:?}");
    redis.value("AUTH operator x");
    assert_eq!(top(&mut redis, ""), []);
    for user in ["careful", "caller"] {
        redis.value(&format!("AUTH {user} x"));
        assert_eq!(redis.limit("RL.TOKEN k 1/1000d 1")[1], 1);
        let error = redis.try_line::<Value>("RL.TOP").expect_err(user);
        assert!(error.starts_with("NOPERM "), "{error}");
    }
}

/// The primary that denied lists the key. Its replica and other primaries do not.
#[test]
fn each_node_of_a_cluster_lists_its_own_denials() {
    let cluster = Cluster::start(60_000);
    let key = format!("{{k{}}}", cluster.keys(0, 0)[0]);
    let [primary, replica] = cluster.at_rest(0);
    for _ in 0..3 {
        primary
            .connect()
            .value(&format!("RL.TOKEN {key} 1/1000d 1"));
    }
    assert_eq!(top(&mut primary.connect(), ""), list(&[(&key, 2, 0)]));
    assert_eq!(top(&mut replica.connect(), ""), []);
    assert_eq!(top(&mut cluster.at_rest(1)[0].connect(), ""), []);
}

/// Denies each key once, and then deletes it: a bucket takes memory, a denial does not.
fn deny_each(redis: &mut Redis, numbers: std::ops::Range<usize>) {
    let lines = numbers.flat_map(|n| {
        let call = format!("RL.TOKEN {n:016} 1/1000d 1");
        [call.clone(), call, format!("DEL {n:016}")]
    });
    for reply in redis.run_all(lines) {
        assert!(!matches!(reply, Value::ServerError(_)), "{reply:?}");
    }
}

fn bytes(redis: &mut Redis, field: &str) -> i64 {
    let text = redis.info("memory", field).expect("a field of INFO");
    text.parse().expect("a number of bytes")
}

#[test]
fn a_million_denied_keys_take_no_more_memory() {
    const KEYS: usize = 1_000_000;
    // Small, so that the buffers of the connection are.
    const CHUNK: usize = 1000;
    let server = RedisServer::start();
    let mut redis = server.connect();
    let fields = ["used_memory", "used_memory_rss"];
    let mut before = None;
    for first in (0..KEYS).step_by(CHUNK) {
        deny_each(&mut redis, first..first + CHUNK);
        let lines = std::iter::repeat_n("RL.TOKEN frequent 1/1000d 1".to_owned(), CHUNK / 100);
        redis.run_all(lines);
        before = before.or_else(|| Some(fields.map(|field| bytes(&mut redis, field))));
    }
    let after = fields.map(|field| bytes(&mut redis, field));
    println!("bytes after {CHUNK} denied keys: {before:?}; after {KEYS}: {after:?}");
    // A leak of one small allocation for each key would be 32 MB.
    let before = before.expect("the first chunk");
    let grown = before.iter().zip(after).map(|(old, new)| new - old);
    assert!(grown.max() < Some(4 << 20), "{before:?} {after:?}");
    let keys = top(&mut redis, "COUNT 256");
    let (key, estimate, overestimate) = &keys[0];
    assert_eq!(key, "frequent");
    assert!(
        estimate - overestimate <= 10_000 && *estimate >= 4000,
        "{keys:?}"
    );
}

/// Exact counts of denials, which decay as those of the module do.
struct Exact {
    counts: HashMap<usize, f64>,
    started: Instant,
}

impl Exact {
    /// A count grows, so that the older ones need not shrink: forward decay.
    fn weight(&self) -> f64 {
        2_f64.powf(self.started.elapsed().as_secs_f64() / 60.0)
    }

    fn ranking(&self) -> Vec<(usize, f64)> {
        let weight = self.weight();
        let mut all: Vec<_> = self
            .counts
            .iter()
            .map(|(key, n)| (*key, n / weight))
            .collect();
        all.sort_by(|one, other| other.1.total_cmp(&one.1));
        all
    }
}

/// A rank from 0 to 999,999, where the chance of a rank is in proportion to 1 / (rank + 1), by inversion of its sum.
fn zipf(uniform: f64) -> usize {
    const KEYS: f64 = 1_000_000.0;
    (((KEYS + 1.0).ln() * uniform).exp() - 1.0) as usize
}

/// `RL_TOP_SECONDS` says for how long, 20 without it.
#[test]
#[ignore = "takes half a minute, and ten with RL_TOP_SECONDS=600"]
fn estimates_of_zipf_traffic_are_near_the_exact_counts() {
    let seconds = std::env::var("RL_TOP_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(20));
    let server = RedisServer::start();
    let mut redis = server.connect();
    let mut exact = Exact {
        counts: HashMap::new(),
        started: Instant::now(),
    };
    let before = bytes(&mut redis, "used_memory_rss");
    let mut random = 1_u64;
    while exact.started.elapsed() < time {
        let keys: Vec<usize> = (0..2000)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                zipf((random >> 11) as f64 / (1_u64 << 53) as f64)
            })
            .collect();
        let weight = exact.weight();
        let lines = keys.iter().map(|key| format!("RL.TOKEN {key} 1/1000d 1"));
        for (key, reply) in keys.iter().zip(redis.run_all(lines)) {
            let Value::Array(numbers) = reply else {
                panic!("{reply:?}")
            };
            if numbers[0] == Value::Int(0) {
                *exact.counts.entry(*key).or_default() += weight;
            }
        }
    }
    let listed = top(&mut redis, "COUNT 256");
    let ranking = exact.ranking();
    let total: f64 = ranking.iter().map(|(_, count)| count).sum();
    println!(
        "denials {total:.0}, decayed; resident bytes before {before}, after {}",
        bytes(&mut redis, "used_memory_rss")
    );
    for ((key, count), (name, estimate, over)) in ranking.iter().zip(&listed).take(20) {
        println!("exact {key} {count:.0}; RL.TOP {name} {estimate}, at most {over} too many");
    }
    let share = total / 257.0;
    for (key, count) in &ranking {
        let found = listed.iter().find(|(name, ..)| *name == key.to_string());
        assert!(
            found.is_some() || *count < 1.05 * share,
            "{key} {count} of {share}"
        );
        if let Some((_, estimate, over)) = found {
            // The two read their clocks at other times, and a second is 1.2 % of a count.
            assert!(
                1.03 * *estimate as f64 + 2.0 >= *count,
                "{key} {count} {estimate}"
            );
            assert!(
                0.97 * (*estimate - over) as f64 <= *count + 2.0,
                "{key} {count} {estimate} {over}"
            );
        }
    }
}
