//! The random calls of the callers of a [`crate::History`].

use std::thread;
use std::time::Duration;

use redis::{Value, from_redis_value};

/// The maximum cost or refund of a call.
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

    /// The tokens that the rate refills in a time, rounded up: at most a full bucket.
    pub(crate) fn refilled_in(self, time_us: i128) -> i128 {
        let tokens = (self.count * time_us + self.period_us - 1).div_euclid(self.period_us);
        tokens.min(self.capacity)
    }

    /// The arguments of a call: `700/1000ms 300`.
    pub(crate) fn arguments(self) -> String {
        let (count, period_ms) = (self.count, self.period_us / 1000);
        format!("{count}/{period_ms}ms {}", self.capacity)
    }
}

/// The policies that are used on key `n`: one on even keys, three on odd ones.
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
    usize::try_from(number).expect("a small number")
}

/// The kind of a call.
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
    /// One key in sixteen gets neither FORCE nor REFUND: all that is admitted there stays used.
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

/// One call to make.
pub(crate) struct Plan {
    pub(crate) key: u64,
    pub(crate) kind: Kind,
    pub(crate) policy: Policy,
    pub(crate) cost: i128,
}

impl Plan {
    /// The next random call. Most calls follow the last one at once, one in eight after a pause.
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
        let policy = self.policy.arguments();
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

/// The reply of the limit. RL.MULTI's reply contains it.
pub(crate) fn limit_reply(kind: Kind, reply: Value) -> Vec<i64> {
    match (kind, reply) {
        (Kind::Peek, Value::Nil) => Vec::new(),
        (Kind::Multi, Value::Array(parts)) => from_redis_value(parts[2].clone()).expect("a reply"),
        (_, reply) => from_redis_value(reply).expect("a reply"),
    }
}
