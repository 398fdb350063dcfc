//! Many callers' calls on few keys, recorded as the callers saw them. What they must fulfil is in [`crate::promises`].

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use redis::{Value, from_redis_value};

use crate::redis_server::time_us;
use crate::{Redis, RedisServer, Stop, Stored, eventually, promises, version};

/// More callers than a server has threads.
const CALLERS: u64 = 6;

/// The most that a call costs or gives back.
pub(crate) const LARGEST_COST: i128 = 10;

/// A rate as count and period, and a capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) count: i128,
    pub(crate) period_us: i128,
    pub(crate) capacity: i128,
}

impl Policy {
    /// A full bucket, in units.
    pub(crate) fn full(self) -> i128 {
        self.capacity * self.period_us
    }
}

/// The policies that meet on key `n`: on even keys one, on odd ones three.
pub(crate) fn policies(key: u64) -> &'static [Policy] {
    const fn policy(count: i128, period_us: i128, capacity: i128) -> Policy {
        Policy {
            count,
            period_us,
            capacity,
        }
    }
    const ALL: [Policy; 4] = [
        policy(2000, 1_000_000, 50),
        policy(1, 3000, 7),
        policy(700, 1_000_000, 300),
        policy(1, 1_000_000_000, 40),
    ];
    let first = usize::try_from(key / 2).expect("few keys") % ALL.len();
    if key.is_multiple_of(2) {
        &ALL[first..=first]
    } else {
        &ALL[..3]
    }
}

/// What a call asks of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cost,
    Partial,
    Force,
    Refund,
    Peek,
    Multi,
}

impl Kind {
    fn chosen(number: u64) -> Self {
        match number {
            0 => Self::Partial,
            1 => Self::Force,
            2 => Self::Refund,
            3 => Self::Peek,
            4 => Self::Multi,
            _ => Self::Cost,
        }
    }
}

/// One call as its caller saw it, between two readings of the server's clock.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Which primary's history it belongs to: each promotion begins another.
    pub(crate) generation: String,
    /// Orders the calls of one key: counted in the same transaction.
    pub(crate) number: i64,
    pub(crate) kind: Kind,
    /// Read by whoever reads of a broken promise.
    #[expect(dead_code, reason = "Debug shows it")]
    pub(crate) policy: Policy,
    pub(crate) cost: i128,
    pub(crate) before_us: i128,
    pub(crate) after_us: i128,
    /// The limit's reply; empty where there was no bucket to peek at.
    pub(crate) told: Vec<i64>,
    pub(crate) bytes: Option<Vec<u8>>,
    /// `None` if the server left it open.
    pub(crate) deadline_ms: Option<i64>,
}

impl Event {
    fn stored(&self) -> Option<Stored> {
        self.bytes.as_deref().map(Stored::read)
    }

    /// The bucket's instant after the call.
    pub(crate) fn updated_us(&self) -> Option<i128> {
        Some(self.stored()?.updated_us.into())
    }

    /// That instant, if it may have been read from the clock in this call.
    pub(crate) fn read_us(&self) -> Option<i128> {
        self.updated_us()
            .filter(|at_us| (self.before_us..=self.after_us).contains(at_us))
    }

    /// Whether these tokens are all that is used of the bucket: it was as new before.
    pub(crate) fn used_alone(&self, tokens: i128) -> bool {
        self.stored().is_none_or(|stored| {
            i128::try_from(stored.used) == Ok(tokens * i128::from(stored.period_us))
        })
    }

    /// What the call took of its bucket: below 0 if it gave back, though perhaps less than that.
    pub(crate) fn tokens(&self) -> i128 {
        match self.kind {
            Kind::Force => self.cost,
            Kind::Refund => -self.cost,
            _ => self.admitted(),
        }
    }

    /// What the call gave its caller, in tokens.
    pub(crate) fn admitted(&self) -> i128 {
        match self.kind {
            Kind::Cost | Kind::Multi => self.cost * i128::from(self.told[0]),
            Kind::Partial => self.told[0].into(),
            Kind::Force | Kind::Refund | Kind::Peek => 0,
        }
    }
}

/// What a caller is about to do.
struct Plan {
    key: u64,
    kind: Kind,
    policy: Policy,
    cost: i128,
}

impl Plan {
    /// The next of the calls that `random` gives: most of them plain, one in eight after a pause.
    fn next(random: &mut u64, keys: u64) -> Self {
        *random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut pick = *random >> 20;
        let mut choose = |n: u64| {
            let chosen = pick % n;
            pick /= n;
            chosen
        };
        if choose(8) == 0 {
            thread::sleep(Duration::from_micros(choose(16) * 500));
        }
        let key = choose(keys);
        let all = policies(key);
        Self {
            key,
            policy: all[usize::try_from(choose(all.len() as u64)).expect("few")],
            cost: i128::from(choose(4) * choose(4) + 1),
            kind: Kind::chosen(choose(20)),
        }
    }

    /// Every fourth key is a leaky bucket.
    fn line(&self) -> String {
        let Self { key, cost, .. } = self;
        let Policy {
            count,
            period_us,
            capacity,
        } = self.policy;
        let rate = format!("{count}/{}ms", period_us / 1000);
        let algorithm = if key % 4 == 2 { "LEAKY" } else { "TOKEN" };
        match self.kind {
            Kind::Cost => format!("RL.{algorithm} {{k{key}}} {rate} {capacity} COST {cost}"),
            Kind::Partial => {
                format!("RL.{algorithm} {{k{key}}} {rate} {capacity} COST {cost} PARTIAL")
            }
            Kind::Force => format!("RL.{algorithm} {{k{key}}} {rate} {capacity} FORCE {cost}"),
            Kind::Refund => format!("RL.{algorithm} {{k{key}}} {rate} {capacity} REFUND {cost}"),
            Kind::Peek => format!("RL.PEEK {{k{key}}} COST {cost}"),
            Kind::Multi => format!("RL.MULTI {{k{key}}} {algorithm} {rate} {capacity} {cost}"),
        }
    }

    /// Makes the call, in one transaction with its number and what it leaves behind.
    fn call(self, (redis, generation): &mut (Redis, String)) -> Result<Event, String> {
        let before = redis.try_line("TIME")?;
        let key = self.key;
        let (number, told, bytes, told_before, deadline, after): (_, Value, _, _, _, _) = redis
            .try_transaction(&[
                &format!("INCR {{k{key}}}:calls"),
                &self.line(),
                &format!("GET {{k{key}}}"),
                "TIME",
                &format!("{} {{k{key}}}", version::deadline_command()),
                "TIME",
            ])?;
        let (before_us, told_us, after_us) =
            (time_us(before), time_us(told_before), time_us(after));
        Ok(Event {
            generation: generation.clone(),
            number,
            kind: self.kind,
            policy: self.policy,
            cost: self.cost,
            // The clock may have gone back between the two.
            before_us: before_us.min(after_us),
            after_us: before_us.max(after_us),
            told: told_of(self.kind, told),
            bytes,
            deadline_ms: version::deadline_ms(deadline, told_us, after_us),
        })
    }
}

/// RL.MULTI's reply holds that of its only bucket.
fn told_of(kind: Kind, reply: Value) -> Vec<i64> {
    match (kind, reply) {
        (Kind::Peek, Value::Nil) => Vec::new(),
        (Kind::Multi, Value::Array(parts)) => from_redis_value(parts[2].clone()).expect("a reply"),
        (_, reply) => from_redis_value(reply).expect("a reply"),
    }
}

/// All calls, by key.
#[derive(Debug)]
pub struct History(HashMap<u64, Vec<Event>>);

/// What failovers gave on top, in tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overshoot {
    /// Admitted by a primary, and unknown to the one that came after it.
    pub lost: i128,
    /// The most that any span admitted above capacity and rate.
    pub tokens: i128,
}

impl History {
    /// Records while `trouble` is made. `connect` gives a connection to the primary of a key, `None` while there is none;
    /// a caller whose call failed asks it again.
    pub fn record(
        keys: u64,
        connect: impl Fn(u64) -> Option<Redis> + Sync,
        trouble: impl FnOnce(),
    ) -> Self {
        let (stop, connect) = (Stop::default(), &connect);
        let mut all = HashMap::<u64, Vec<Event>>::new();
        thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|seed| {
                    let stop = &stop;
                    scope.spawn(move || record(seed, keys, connect, stop))
                })
                .collect();
            stop.after(trouble);
            for (key, event) in callers
                .into_iter()
                .flat_map(|caller| caller.join().expect("a caller"))
            {
                all.entry(key).or_default().push(event);
            }
        });
        Self(all)
    }

    /// As [`History::record`], on one server. A caller waits while it is down.
    pub fn of(server: &RedisServer, keys: u64, trouble: impl FnOnce()) -> Self {
        Self::record(keys, |_| Some(server.connect()), trouble)
    }

    /// How many calls were answered.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Checks every line of history: P1 to P4 of each primary, with what it knew of those before it.
    ///
    /// # Panics
    ///
    /// At the first call that breaks a promise, with that call and the one before it.
    pub fn check(&self) {
        for (key, events) in &self.0 {
            let mut lines = lines(events);
            // One that lost nothing is the beginning of the next.
            let last = lines.pop().expect("a key with calls");
            lines.retain(|line| !line.lost.is_empty());
            for line in lines.iter().chain([&last]) {
                promises::check(*key, &line.known);
            }
        }
    }

    /// What each key of one policy gave on top at failovers.
    #[must_use]
    pub fn overshoots(&self) -> Vec<Overshoot> {
        let overshoot = |(key, events): (&u64, &Vec<Event>)| {
            let [policy] = policies(*key) else {
                return None;
            };
            let lost = lines(events)
                .iter()
                .flat_map(|line| &line.lost)
                .map(Event::admitted)
                .sum();
            Some(Overshoot {
                lost,
                tokens: promises::overshoot(events, *policy),
            })
        };
        self.0.iter().filter_map(overshoot).collect()
    }
}

fn record(
    seed: u64,
    keys: u64,
    connect: impl Fn(u64) -> Option<Redis>,
    stop: &Stop,
) -> Vec<(u64, Event)> {
    let (mut random, mut events, mut connections) = (seed, Vec::new(), HashMap::new());
    while !stop.is_told() {
        let plan = Plan::next(&mut random, keys);
        let key = plan.key;
        let Some(mut connection) = connections
            .remove(&key)
            .or_else(|| connect(key).and_then(with_generation))
        else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        // A connection whose call failed is dropped.
        if let Ok(event) = plan.call(&mut connection) {
            events.push((key, event));
            connections.insert(key, connection);
        }
    }
    events
}

/// The primary's replication id changes with each promotion.
fn with_generation(mut redis: Redis) -> Option<(Redis, String)> {
    let generation = redis.info("replication", "master_replid")?;
    Some((redis, generation))
}

/// What one primary knew in the end of the calls of a key.
struct Line {
    known: Vec<Event>,
    /// Those of them that the next primary never heard of.
    lost: Vec<Event>,
}

/// Splits the calls of one key at failovers. The next primary knows those that came before its own first.
fn lines(events: &[Event]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for own in by_generation(events) {
        let mut known = Vec::new();
        if let Some(line) = lines.last_mut() {
            let first = own[0].number;
            let knows = |event: &&Event| event.number < first;
            known = line.known.iter().filter(knows).cloned().collect();
            line.lost = line.known[known.len()..].to_vec();
        }
        known.extend(own);
        lines.push(Line {
            known,
            lost: Vec::new(),
        });
    }
    lines
}

fn by_generation(events: &[Event]) -> Vec<Vec<Event>> {
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| event.before_us);
    let mut generations: Vec<Vec<Event>> = Vec::new();
    for event in sorted {
        let of_it = |own: &&mut Vec<Event>| own[0].generation == event.generation;
        match generations.iter_mut().find(of_it) {
            Some(own) => own.push(event.clone()),
            None => generations.push(vec![event.clone()]),
        }
    }
    for own in &mut generations {
        own.sort_by_key(|event| event.number);
    }
    generations
}

/// Waits until each of `keys` was called `more` times again. `connect` is that of [`History::record`].
pub fn wait_for_calls(keys: u64, more: i64, connect: impl Fn(u64) -> Option<Redis>) {
    for key in 0..keys {
        let mut redis = None;
        let mut calls = || {
            let connection: &mut Redis = match &mut redis {
                Some(connection) => connection,
                None => redis.insert(connect(key)?),
            };
            let calls = connection.try_line(&format!("GET {{k{key}}}:calls"));
            // None yet is no number either; another connection does no harm.
            calls.inspect_err(|_| redis = None).ok()
        };
        let before: i64 = calls().unwrap_or(0);
        eventually("more calls", || (calls()? >= before + more).then_some(()));
    }
}
