//! Another module deletes, overwrites and renames keys in keyspace callbacks while our commands run.

use redis::Value;
use rl_tests::{Redis, RedisServer, Setup, eventually, meddler, version};

use crate::leaks;

const ROUNDS: usize = 1000;

/// What the other module does to a key.
const ACTIONS: [&str; 3] = ["delete", "overwrite", "rename"];

/// What the other module writes: as many bytes as a bucket has.
const FOREIGN: &str = "this value is not of the module under test..";

/// How many keys it sets after each such change.
const FOREIGN_KEYS: usize = 8;

/// A call, and the event of `{k}` during which the other module acts. The calls in `before` prepare the key.
struct Scenario {
    before: &'static [&'static str],
    event: &'static str,
    call: &'static str,
}

impl Scenario {
    const fn new(before: &'static [&'static str], event: &'static str, call: &'static str) -> Self {
        Self {
            before,
            event,
            call,
        }
    }
}

const TOKEN: &str = "RL.TOKEN {k} 1/1000d 20";
const LEAKY: &str = "RL.LEAKY {k} 1/1000d 20";
const THROTTLE: &str = "RL.THROTTLE {k} 19 1 86400000";
/// `{k}` is the second of three keys.
const MULTI: &str =
    "RL.MULTI {k}< TOKEN 1/1000d 20 1 {k} TOKEN 1/1000d 20 1 {k}> LEAKY 1/1000d 20 1";

/// Every event that a call can send, for every call that can send it.
const SCENARIOS: [Scenario; 22] = [
    Scenario::new(&[], "new", TOKEN),
    Scenario::new(&[], "new", LEAKY),
    Scenario::new(&[], "new", THROTTLE),
    Scenario::new(&[], "new", MULTI),
    Scenario::new(&[], "set", TOKEN),
    Scenario::new(&[], "set", LEAKY),
    Scenario::new(&[], "set", THROTTLE),
    Scenario::new(&[], "set", MULTI),
    Scenario::new(&[TOKEN], "set", TOKEN),
    Scenario::new(&[LEAKY], "set", LEAKY),
    Scenario::new(&[THROTTLE], "set", THROTTLE),
    Scenario::new(&[MULTI], "set", MULTI),
    Scenario::new(&[], "expire", TOKEN),
    Scenario::new(&[], "expire", LEAKY),
    Scenario::new(&[], "expire", THROTTLE),
    Scenario::new(&[], "expire", MULTI),
    Scenario::new(&[TOKEN], "del", "RL.TOKEN {k} 1/1000d 20 REFUND 20"),
    Scenario::new(&[LEAKY], "del", "RL.LEAKY {k} 1/1000d 20 REFUND 20"),
    Scenario::new(&[TOKEN, EXPIRE], "expired", TOKEN),
    Scenario::new(&[LEAKY, EXPIRE], "expired", LEAKY),
    Scenario::new(&[THROTTLE, EXPIRE], "expired", THROTTLE),
    Scenario::new(&[MULTI, EXPIRE], "expired", MULTI),
];

/// Long enough that Redis 6.2, which reads the clock twice, does not delete the key immediately.
const EXPIRE: &str = "PEXPIRE {k} 500";

/// Why this server cannot run the scenario, if so: before 7.0 nothing sends `new`, and some servers use the value of a
/// new key after that event, so that a plain SET crashes them (Redis 7.0 asserts that the key still exists, 8.2 and
/// later read its length).
fn skip_reason(event: &str, action: &str, is_valkey: bool) -> Option<&'static str> {
    const CRASHES: &str = "a callback for new that frees the value makes a plain SET crash";
    match version() {
        _ if event != "new" || is_valkey => None,
        [..=6, _] => Some("there is no event new"),
        [7, 0] => (action != "overwrite").then_some(CRASHES),
        version => (version >= [8, 2]).then_some(CRASHES),
    }
}

/// A setup with our module and the meddler.
fn setup() -> Setup {
    let meddler = meddler().to_str().expect("UTF-8");
    Setup::with_module(&["--loadmodule", meddler])
}

fn is_valkey(redis: &mut Redis) -> bool {
    redis.info("server", "valkey_version").is_some()
}

/// Makes keys expire only when they are opened.
fn expire_at_access(redis: &mut Redis) {
    redis.value("DEBUG SET-ACTIVE-EXPIRE 0");
}

/// Waits until the keys of [`EXPIRE`] have expired.
fn wait_for_expiry(redis: &mut Redis) {
    let expired_ms = redis.time_us() / 1000 + 500;
    eventually("the keys to expire", || {
        (redis.time_us() / 1000 > expired_ms).then_some(())
    });
}

/// Runs the scenarios with each action, [`ROUNDS`] rounds in total, and checks that the other module acted in each.
fn run_scenarios(redis: &mut Redis) {
    let is_valkey = is_valkey(redis);
    let all: Vec<_> = SCENARIOS
        .iter()
        .flat_map(|scenario| ACTIONS.map(|action| (scenario, action)))
        .filter(|(scenario, action)| {
            let skip_reason = skip_reason(scenario.event, action, is_valkey);
            skip_reason
                .inspect(|reason| println!("skipped: {action} at {}: {reason}", scenario.event));
            skip_reason.is_none()
        })
        .collect();
    let rounds: Vec<_> = all.iter().cycle().take(ROUNDS).enumerate().collect();
    let on = |round: usize, line: &str| line.replace("{k}", &format!("k{round}"));
    let before = rounds
        .iter()
        .flat_map(|(round, (scenario, _))| scenario.before.iter().map(|line| on(*round, line)));
    redis.run_all(before);
    wait_for_expiry(redis);
    for (round, (scenario, action)) in rounds {
        let victims: &[&str] = match (scenario.call, scenario.event) {
            // The third key is read later, and an overwritten one is an error.
            (MULTI, "expired") => &["a{k}", "{k}"],
            (MULTI, _) => &["a{k}", "{k}", "z{k}"],
            _ => &["{k}"],
        };
        for victim in victims {
            redis.value(&on(
                round,
                &format!("MEDDLE.ON {} {{k}} {action} {victim}", scenario.event),
            ));
        }
        let reply = redis.try_line::<Value>(&on(round, scenario.call));
        if let Err(error) = reply {
            // Redis 6.2 opens the value that a callback stores in place of an expired key.
            let is_refused = error.starts_with("WRONGTYPE") && version() < [7, 0];
            assert!(
                is_refused && (scenario.event, *action) == ("expired", "overwrite"),
                "{error}"
            );
        }
        let acted: usize = redis.line("MEDDLE.OFF");
        let event = scenario.event;
        assert_eq!(
            acted,
            victims.len(),
            "{action} at {event}: {}",
            scenario.call
        );
    }
}

/// How many of the other module's keys do not hold what it wrote.
fn overwritten(redis: &mut Redis, acted: usize) -> usize {
    let keys = (0..acted * FOREIGN_KEYS).map(|n| format!("GET foreign:{n}"));
    let values = redis.run_all(keys);
    values
        .into_iter()
        .filter(|value| *value != Value::BulkString(FOREIGN.into()))
        .count()
}

#[test]
fn no_call_writes_to_memory_that_a_callback_freed() {
    let server = RedisServer::start_as(setup());
    let mut redis = server.connect();
    expire_at_access(&mut redis);
    run_scenarios(&mut redis);
    assert_eq!(overwritten(&mut redis, ROUNDS), 0, "{}", server.log());
}

/// RL.MULTI reads `a`, then `b`, which expires. During that event the other module acts on `a`, and in every second
/// round creates a bucket in `b`, which Redis 6.2 then opens.
fn multi_while_a_key_read_before_changes(redis: &mut Redis) {
    redis.run_all((0..ROUNDS).flat_map(|n| {
        [
            format!("RL.TOKEN {n}a 1/1000d 1000"),
            format!("RL.TOKEN {n}b 1/1000d 1000"),
            format!("RL.TOKEN {n}c 1/1000d 1000"),
            format!("PEXPIRE {n}b 500"),
        ]
    }));
    wait_for_expiry(redis);
    for (n, action) in (0..ROUNDS).zip(ACTIONS.iter().cycle()) {
        // In some rounds the deadline stays, in others it moves.
        let cost = 1 + n / 6 % 2 * 500;
        redis.value(&format!("MEDDLE.ON expired {n}b {action} {n}a"));
        let recreates = n % 2 == 0;
        if recreates {
            redis.value(&format!("MEDDLE.ON expired {n}b limit {n}b"));
        }
        redis.value(&format!(
            "RL.MULTI {n}a TOKEN 1/1000d 1000 {cost} {n}b TOKEN 1/1000d 1000 1 {n}c TOKEN 1/1000d 1000 1"
        ));
        let acted = 1 + usize::from(recreates);
        assert_eq!(redis.line::<usize>("MEDDLE.OFF"), acted, "{action}");
        if *action == "overwrite" {
            assert_eq!(redis.line::<String>(&format!("GET {n}a")), FOREIGN);
        } else {
            let remaining = redis.limit(&format!("RL.PEEK {n}a"))[2];
            assert_eq!(
                remaining,
                998 - i64::try_from(cost).expect("a small number"),
                "{action}"
            );
        }
        let already_taken = i64::from(recreates && version() < [7, 0]);
        let remaining = redis.limit(&format!("RL.PEEK {n}b"))[2];
        assert_eq!(remaining, 998 - already_taken, "{action}");
    }
}

#[test]
fn multi_stores_what_it_decided_though_a_key_was_freed() {
    let server = RedisServer::start_as(setup());
    let mut redis = server.connect();
    expire_at_access(&mut redis);
    multi_while_a_key_read_before_changes(&mut redis);
    assert_eq!(overwritten(&mut redis, ROUNDS), 0, "{}", server.log());
}

#[test]
#[ignore = "make test-full"]
fn address_sanitizer_finds_no_write_to_freed_memory() {
    let Some(setup) = leaks::sanitized(setup()) else {
        return;
    };
    let server = RedisServer::start_as(setup);
    let mut redis = server.connect();
    expire_at_access(&mut redis);
    run_scenarios(&mut redis);
    multi_while_a_key_read_before_changes(&mut redis);
    leaks::assert_no_report_has_our_frames(&server);
}
