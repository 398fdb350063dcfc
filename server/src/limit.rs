//! A request for a decision and its answer: the types that the HTTP edge, the limiter and the metrics share.
//!
//! Nothing here decides. [`crate::limiter`] does.

use std::cmp::Reverse;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use nonempty::NonEmpty;
use rl_bucket::{Algorithm, Capacity, Decision, Policy, Rate, Request, Tokens};

/// The key of all probes. A probe takes no tokens, so no bucket is ever stored there.
const PROBE_KEY: &str = "rl:probe";

/// What the keys of named policies begin with, and no other keys do.
const POLICY_KEY_PREFIX: &str = "rl:{";

/// The smallest capacity of a unique probe, 2^47. Few configured policies are that large.
const MIN_UNIQUE_CAPACITY: u64 = 1 << 47;

/// A request to one bucket, or to several that are charged together: all of them or none.
#[derive(Clone, Debug)]
pub struct LimitRequest {
    /// The kind of all buckets.
    pub algorithm: Algorithm,
    /// The buckets. In a cluster all their keys are in one hash slot.
    pub limits: NonEmpty<Limit>,
    /// What is requested of each bucket. With several limits, not [`Request::Partial`].
    pub charge: Request,
}

/// One bucket of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The Redis key of the bucket.
    pub key: String,
    /// The rate and capacity that the request is decided by.
    pub policy: Policy,
}

impl LimitRequest {
    /// A request to one bucket.
    #[must_use]
    pub fn single(algorithm: Algorithm, key: String, policy: Policy, charge: Request) -> Self {
        Self {
            algorithm,
            limits: NonEmpty::new(Limit { key, policy }),
            charge,
        }
    }

    /// The key of the first bucket.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.limits.head.key
    }

    /// What the keys of all limits of one caller and policy have in common: the key up to the end of its hash tag, or the
    /// whole key if it has none. It does not change when the limits of the policy do.
    #[must_use]
    pub fn caller(&self) -> &str {
        let key = self.key();
        match key
            .strip_prefix(POLICY_KEY_PREFIX)
            .and_then(|rest| rest.find('}'))
        {
            Some(end) => &key[..=POLICY_KEY_PREFIX.len() + end],
            None => key,
        }
    }

    /// A request that takes nothing and stores nothing. Its answer shows whether Redis decides.
    pub(crate) fn probe(policy: Policy) -> Self {
        let charge = Request::Cost(Tokens::ZERO);
        Self::single(Algorithm::Token, PROBE_KEY.to_owned(), policy, charge)
    }

    /// A probe with a random capacity. Every reply repeats the capacity of its call, so the reply to this probe fits
    /// no other call, and no other reply fits this probe.
    pub(crate) fn unique_probe() -> Self {
        let random = RandomState::new().hash_one(());
        let capacity = MIN_UNIQUE_CAPACITY | (random % MIN_UNIQUE_CAPACITY);
        let policy = Rate::new(1, 1_000_000).zip(Capacity::new(capacity));
        let policy = policy.map(|(rate, capacity)| Policy::new(rate, capacity));
        Self::probe(policy.expect("the rate is 1 and the capacity is below 2^48"))
    }
}

/// The decisions of all buckets of a request, in the order of its limits.
///
/// If one bucket denied, none was charged. Those that denied answer as to a denied request, the others as to a request of
/// cost 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decisions(pub NonEmpty<Decision>);

impl Decisions {
    /// Whether no bucket denied.
    #[must_use]
    pub fn are_allowed(&self) -> bool {
        self.0.iter().all(|decision| decision.allowed > 0)
    }

    /// The decision that counts for the caller. If the request is denied: that with the longest wait, where a request that
    /// never passes waits longest. If it is allowed: that with the smallest share of its limit remaining. The first one
    /// among equals.
    #[must_use]
    pub fn deciding(&self) -> &Decision {
        &self.0[self.deciding_index()]
    }

    /// The index of [`Decisions::deciding`], below the number of limits.
    #[must_use]
    pub fn deciding_index(&self) -> usize {
        let all = || self.0.iter().enumerate();
        let denied = all().filter(|(_, decision)| decision.allowed == 0);
        // False is less than true, so a wait of None comes first.
        let longest = denied.min_by_key(|(_, decision)| {
            let wait_ms = decision.retry_after_ms;
            (wait_ms.is_some(), Reverse(wait_ms))
        });
        let smallest = || {
            all().min_by(|(_, one), (_, other)| {
                let product =
                    |remaining: u64, limit: u64| u128::from(remaining) * u128::from(limit);
                product(one.remaining, other.limit).cmp(&product(other.remaining, one.limit))
            })
        };
        longest.or_else(smallest).map_or(0, |(index, _)| index)
    }

    /// The largest delay, after which an allowed request may proceed. 0 if it is denied, and for token buckets.
    #[must_use]
    pub fn delay_ms(&self) -> u64 {
        let delays = self.0.iter().map(|decision| decision.delay_ms);
        delays.max().filter(|_| self.are_allowed()).unwrap_or(0)
    }
}

impl From<Decision> for Decisions {
    fn from(decision: Decision) -> Self {
        Self(NonEmpty::new(decision))
    }
}

/// The answer to a [`LimitRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Redis decided.
    Decided(Decisions),
    /// Redis did not decide. This process did, or, with `None`, let the request pass without counting it.
    Degraded(Option<Decisions>),
}

impl Answer {
    /// The decisions. `None` if the request passed uncounted.
    #[must_use]
    pub fn decisions(&self) -> Option<&Decisions> {
        match self {
            Self::Decided(decisions) => Some(decisions),
            Self::Degraded(decisions) => decisions.as_ref(),
        }
    }

    /// Whether the answer was made without Redis.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(self, Self::Degraded(_))
    }
}

/// Why there is no decision. It is never a denial, because the caller did nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// There is no connection to Redis, or no usable reply within the deadline.
    NoAnswer,
    /// Redis replies, but it has not loaded the module.
    NoModule,
    /// Redis refused the call with this error code, such as `OOM` or `READONLY`.
    Refused(String),
    /// Redis replies, but too many requests wait for it. `-on-outage` does not apply.
    Overloaded(Overload),
    /// A forced charge would put a bucket into a debt that it cannot hold. The caller is wrong, and `-on-outage` does not
    /// apply.
    DebtTooLarge {
        /// Whether other limits of the policy were charged: EXEC makes all calls, also if one of them fails.
        others_charged: bool,
    },
}

/// The bound that an overloaded request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// The calls that one caller may wait for at a time. The call was not sent.
    Caller,
    /// The calls that may wait for one Redis server at a time. The call was not sent.
    Server,
    /// The deadline. The call was sent and waited in the queue of Redis all that time; its tokens may be spent.
    Deadline,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "too many requests of this caller wait for Redis",
            Self::Server => "too many requests wait for Redis",
            Self::Deadline => "the request waited too long for Redis",
        })
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("Redis does not answer"),
            Self::NoModule => f.write_str(
                "Redis does not have the rl module: start it with redis-server --loadmodule target/release/librl.so",
            ),
            Self::Refused(code) => write!(f, "Redis refused the call: {code}"),
            Self::Overloaded(overload) => write!(f, "overloaded: {overload}"),
            Self::DebtTooLarge { others_charged } => write!(
                f,
                "force: a bucket holds at most {} tokens of debt; send less{}",
                Tokens::MAX.get(),
                if *others_charged {
                    "; the other limits of the policy were charged"
                } else {
                    ""
                }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(allowed: u64, limit: u64, remaining: u64, retry_after_ms: Option<u64>) -> Decision {
        Decision {
            allowed,
            limit,
            remaining,
            retry_after_ms,
            reset_after_ms: 0,
            delay_ms: remaining,
        }
    }

    fn decisions<const N: usize>(all: [Decision; N]) -> Decisions {
        Decisions(NonEmpty::from_vec(all.to_vec()).unwrap())
    }

    #[test]
    fn all_limits_of_a_caller_and_policy_have_one_caller() {
        let caller = |key: &str| {
            let policy = LimitRequest::unique_probe().limits.head.policy;
            let charge = Request::Cost(Tokens::ONE);
            let request = LimitRequest::single(Algorithm::Token, key.to_owned(), policy, charge);
            request.caller().to_owned()
        };
        assert_eq!(caller("rl:{token:a:::1/64}:hour"), "rl:{token:a:::1/64}");
        assert_eq!(caller("rl:{token:a:b}"), "rl:{token:a:b}");
        assert_eq!(caller("rl:token:key:{a}:b"), "rl:token:key:{a}:b");
        assert_eq!(caller("rl:{"), "rl:{");
    }

    #[test]
    fn the_smallest_share_decides_an_allowed_request() {
        let [half, third] = [decision(1, 10, 5, Some(0)), decision(1, 900, 300, Some(0))];
        for all in [[half, third], [third, half]] {
            assert_eq!(decisions(all).deciding(), &third);
            assert_eq!(decisions(all).delay_ms(), 300);
        }
        let same_share = decision(1, 20, 10, Some(0));
        assert_eq!(decisions([half, same_share]).deciding(), &half);
    }

    #[test]
    fn the_longest_wait_decides_a_denied_request() {
        let allowed = decision(1, 10, 1, Some(0));
        let [short, long] = [Some(5), Some(6)].map(|wait_ms| decision(0, 10, 0, wait_ms));
        let never = decision(0, 10, 10, None);
        assert_eq!(decisions([allowed, short, long]).deciding(), &long);
        assert_eq!(decisions([long, short]).deciding(), &long);
        assert_eq!(decisions([long, never, short]).deciding(), &never);
        assert_eq!(decisions([allowed, short]).delay_ms(), 0);
        assert!(!decisions([allowed, short]).are_allowed());
    }
}
