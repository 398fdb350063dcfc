use std::thread;

use redis::{FromRedisValue, Value};
use rl_tests::{Redis, RedisServer, Stop, Stored, eventually};

const CALLERS: u64 = 6;

/// A rate as count and period, and a capacity.
type Policy = (i128, i128, i128);

/// The policies that meet on key `n`: on even keys one, on odd ones three.
fn policies(key: u64) -> &'static [Policy] {
    const ALL: [Policy; 4] = [
        (2000, 1_000_000, 50),
        (1, 3000, 7),
        (700, 1_000_000, 300),
        (1, 1_000_000_000, 40),
    ];
    let first = usize::try_from(key / 2).expect("few keys") % ALL.len();
    if key.is_multiple_of(2) {
        &ALL[first..=first]
    } else {
        &ALL[..3]
    }
}

/// One call as its caller saw it. `number` orders the calls of one key.
#[derive(Clone, Debug)]
struct Event {
    number: i64,
    policy: Policy,
    cost: i128,
    before_us: i128,
    after_us: i128,
    told: Vec<i64>,
    state: (Option<Vec<u8>>, i64),
}

impl Event {
    fn allowed(&self) -> bool {
        self.told[0] == 1
    }

    /// When an allowed call was decided: the stored bytes tell.
    fn decided_us(&self) -> i128 {
        Stored::read(
            self.state
                .0
                .as_ref()
                .expect("an allowed call leaves a bucket"),
        )
        .updated_us
        .into()
    }
}

fn time_us(value: &Value) -> i128 {
    let (seconds, micros): (i128, i128) =
        FromRedisValue::from_redis_value(value.clone()).expect("a time");
    seconds * 1_000_000 + micros
}

/// One call between two readings of the server's clock, with its number, and what it left.
fn call(redis: &mut Redis, key: u64, policy: Policy, cost: i128) -> Result<Event, String> {
    let (count, period_us, capacity) = policy;
    let rate = format!("{}/{}ms", count, period_us / 1000);
    let before_us = time_us(&redis.try_line("TIME")?);
    redis.try_line::<Value>("MULTI")?;
    for line in [
        format!("INCR calls:{key}"),
        format!("RL.TOKEN k{key} {rate} {capacity} COST {cost}"),
        format!("GET k{key}"),
        format!("PEXPIRETIME k{key}"),
        "TIME".to_owned(),
    ] {
        redis.try_line::<Value>(&line)?;
    }
    let (number, told, bytes, deadline_ms, after): (i64, Vec<i64>, Option<Vec<u8>>, i64, Value) =
        redis.try_line("EXEC")?;
    // Wall clocks do go back a little between two readings.
    let (before_us, after_us) = (
        before_us.min(time_us(&after)),
        before_us.max(time_us(&after)),
    );
    Ok(Event {
        number,
        policy,
        cost,
        before_us,
        after_us,
        told,
        state: (bytes, deadline_ms),
    })
}

/// Calls over many keys at random, until told to stop; a caller whose server is gone waits for it.
fn record(server: &RedisServer, seed: u64, keys: u64, stop: &Stop) -> Vec<(u64, Event)> {
    let (mut redis, mut random, mut events) = (server.connect(), seed, Vec::new());
    while !stop.is_told() {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut pick = random >> 33;
        let mut choose = |n: u64| {
            let chosen = pick % n;
            pick /= n;
            chosen
        };
        let key = choose(keys);
        let all = policies(key);
        let policy = all[usize::try_from(choose(all.len() as u64)).expect("few")];
        let cost = i128::from(choose(4) * choose(4) + 1);
        match call(&mut redis, key, policy, cost) {
            Ok(event) => events.push((key, event)),
            Err(_) => redis = server.connect(),
        }
    }
    events
}

/// What is admitted of one key, by the exact instants.
struct Admitted(Vec<(i128, i128)>);

impl Admitted {
    /// Whether `cost` more at `at_us` is more than the capacity and the rate allow in some span that ends there.
    fn would_overflow(
        &self,
        cost: i128,
        at_us: i128,
        (count, period_us, capacity): Policy,
    ) -> bool {
        let mut sum = cost;
        cost > capacity
            || self.0.iter().rev().any(|(since_us, earlier)| {
                sum += earlier;
                sum * period_us > capacity * period_us + count * (at_us - since_us)
            })
    }
}

/// Checks the calls of one key, in order, by the promises alone: no bucket is computed here.
fn check(key: u64, events: &[Event]) {
    let mut admitted = Admitted(Vec::new());
    let mut before: Option<&Event> = None;
    let one_policy = policies(key).len() == 1;
    // Once an answer was lost, tokens may have been taken that nobody counted.
    let mut complete = true;
    let largest = policies(key).iter().copied().reduce(|a, b| {
        let faster = if a.0 * b.1 > b.0 * a.1 { a } else { b };
        (faster.0, faster.1, a.2.max(b.2))
    });
    for event in events {
        let next = before.is_none_or(|before| before.number + 1 == event.number);
        complete &= next;
        if event.allowed() {
            let at_us = event.decided_us();
            // A clock that went back, be it by a microsecond: the bucket keeps the later instant.
            let kept = admitted
                .0
                .last()
                .is_some_and(|(latest_us, _)| at_us == *latest_us);
            let read = event.before_us <= at_us && at_us <= event.after_us;
            assert!(read || kept, "k{key}: {event:?} after {before:?}");
            let overflows = admitted.would_overflow(event.cost, at_us, largest.expect("a policy"));
            assert!(!overflows, "P1, k{key}: {event:?} after {before:?}");
            admitted.0.push((at_us, event.cost));
        } else if one_policy {
            if complete {
                check_denial(key, event, &admitted);
            }
            let same = before.is_none_or(|before| event.state == before.state);
            assert!(
                !next || same || event.state.0.is_none(),
                "P3, k{key}: {event:?} after {before:?}"
            );
        }
        before = Some(event);
    }
}

/// A denial is right if it would have been one at the earlier reading of the clock, and its wait if a millisecond less is
/// too little from the earlier reading on and the wait enough from the later one on.
fn check_denial(key: u64, event: &Event, admitted: &Admitted) {
    let overflows = |at_us| admitted.would_overflow(event.cost, at_us, event.policy);
    assert!(overflows(event.before_us), "P2, k{key}: {event:?}");
    match i128::from(event.told[3]) {
        -1 => assert!(event.cost > event.policy.2, "P4, k{key}: {event:?}"),
        wait_ms => {
            assert!(
                overflows(event.before_us + (wait_ms - 1) * 1000),
                "P4, k{key}, told too long: {event:?}"
            );
            assert!(
                !overflows(event.after_us + wait_ms * 1000),
                "P4, k{key}, told too short: {event:?}"
            );
        }
    }
}

/// Records while `trouble` is made, and checks all keys.
fn record_and_check(server: &RedisServer, keys: u64, trouble: impl FnOnce()) -> usize {
    let stop = Stop::default();
    let mut events: Vec<(u64, Event)> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|seed| {
                let stop = &stop;
                scope.spawn(move || record(server, seed, keys, stop))
            })
            .collect();
        stop.after(trouble);
        callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("a caller"))
            .collect()
    });
    events.sort_by_key(|(key, event)| (*key, event.number));
    for of_one_key in events.chunk_by(|a, b| a.0 == b.0) {
        let calls: Vec<Event> = of_one_key.iter().map(|(_, event)| event.clone()).collect();
        check(of_one_key[0].0, &calls);
    }
    events.len()
}

fn wait_for_calls(server: &RedisServer, more: i64) {
    let mut redis = server.connect();
    let mut calls = || redis.line::<Option<i64>>("GET calls:0").unwrap_or(0);
    let before = calls();
    eventually("more calls", || (calls() >= before + more).then_some(()));
}

#[test]
fn a_history_of_many_callers_keeps_the_promises() {
    let server = RedisServer::start();
    let events = record_and_check(&server, 8, || wait_for_calls(&server, 700));
    assert!(events > 3000, "{events}");
}

#[test]
fn a_history_with_kills_and_restarts_keeps_the_promises() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let events = record_and_check(&server, 8, || {
        for _ in 0..4 {
            wait_for_calls(&server, 100);
            server.kill();
            server.restart();
        }
        wait_for_calls(&server, 100);
    });
    assert!(events > 2000, "{events}");
}
