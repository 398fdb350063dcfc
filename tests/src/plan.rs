//! What the callers of a [`crate::History`] call.

use std::thread;
use std::time::Duration;

use redis::{Value, from_redis_value};

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

    /// What the rate gives in such a time, rounded up: at most a full bucket.
    pub(crate) fn given_in(self, time_us: i128) -> i128 {
        let tokens = (self.count * time_us + self.period_us - 1).div_euclid(self.period_us);
        tokens.min(self.capacity)
    }

    /// As a call gives it: `700/1000ms 300`.
    pub(crate) fn words(self) -> String {
        let (count, period_ms) = (self.count, self.period_us / 1000);
        format!("{count}/{period_ms}ms {}", self.capacity)
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
    let first = index(key / 2) % ALL.len();
    if key.is_multiple_of(2) {
        &ALL[first..=first]
    } else {
        &ALL[..3]
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("few")
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
    /// On every sixteenth key nothing is forced or given back: there all that was admitted stays taken.
    fn chosen(key: u64, number: u64) -> Self {
        match number {
            _ if key % 16 == 14 => Self::Cost,
            0 => Self::Partial,
            1 => Self::Force,
            2 => Self::Refund,
            3 => Self::Peek,
            4 => Self::Multi,
            _ => Self::Cost,
        }
    }
}

/// What a caller is about to do.
pub(crate) struct Plan {
    pub(crate) key: u64,
    pub(crate) kind: Kind,
    pub(crate) policy: Policy,
    pub(crate) cost: i128,
}

impl Plan {
    /// The next of the calls that `random` gives: most of them plain, one in eight after a pause.
    pub(crate) fn next(random: &mut u64, keys: &[u64]) -> Self {
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
        let key = keys[index(choose(keys.len() as u64))];
        let all = policies(key);
        Self {
            key,
            policy: all[index(choose(all.len() as u64))],
            cost: i128::from(choose(4) * choose(4) + 1),
            kind: Kind::chosen(key, choose(20)),
        }
    }

    /// Every fourth key is a leaky bucket.
    pub(crate) fn line(&self) -> String {
        let Self { key, cost, .. } = self;
        let policy = self.policy.words();
        let algorithm = if key % 4 == 2 { "LEAKY" } else { "TOKEN" };
        match self.kind {
            Kind::Cost => format!("RL.{algorithm} {{k{key}}} {policy} COST {cost}"),
            Kind::Partial => {
                format!("RL.{algorithm} {{k{key}}} {policy} COST {cost} PARTIAL")
            }
            Kind::Force => format!("RL.{algorithm} {{k{key}}} {policy} FORCE {cost}"),
            Kind::Refund => format!("RL.{algorithm} {{k{key}}} {policy} REFUND {cost}"),
            Kind::Peek => format!("RL.PEEK {{k{key}}} COST {cost}"),
            Kind::Multi => format!("RL.MULTI {{k{key}}} {algorithm} {policy} {cost}"),
        }
    }
}

/// RL.MULTI's reply holds that of its only bucket.
pub(crate) fn told_of(kind: Kind, reply: Value) -> Vec<i64> {
    match (kind, reply) {
        (Kind::Peek, Value::Nil) => Vec::new(),
        (Kind::Multi, Value::Array(parts)) => from_redis_value(parts[2].clone()).expect("a reply"),
        (_, reply) => from_redis_value(reply).expect("a reply"),
    }
}
