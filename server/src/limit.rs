//! A request for a decision and its answer: the types that the HTTP edge, the limiter and the metrics share.
//!
//! Nothing here decides. [`crate::limiter`] does.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use rl_bucket::{Algorithm, Capacity, Decision, Policy, Rate, Tokens};

/// The key of all probes. A probe takes no tokens, so no bucket is ever stored there.
const PROBE_KEY: &str = "rl:probe";

/// The smallest capacity of a unique probe, 2^47. Few configured policies are that large.
const MIN_UNIQUE_CAPACITY: u64 = 1 << 47;

/// A request for a number of tokens from one bucket.
#[derive(Clone, Debug)]
pub struct LimitRequest {
    /// The kind of the bucket.
    pub algorithm: Algorithm,
    /// The Redis key of the bucket.
    pub key: String,
    /// The rate and capacity that the request is decided by.
    pub policy: Policy,
    /// The number of tokens to take: all of them or none.
    pub cost: Tokens,
}

impl LimitRequest {
    /// A request that takes nothing and stores nothing. Its answer shows whether Redis decides.
    pub(crate) fn probe(policy: Policy) -> Self {
        Self {
            algorithm: Algorithm::Token,
            key: PROBE_KEY.to_owned(),
            policy,
            cost: Tokens::ZERO,
        }
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

/// The answer to a [`LimitRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Redis decided.
    Decided(Decision),
    /// Redis did not decide. This process did, or, with `None`, let the request pass without counting it.
    Degraded(Option<Decision>),
}

impl Answer {
    /// The decision. `None` if the request passed uncounted.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Decided(decision) => Some(decision),
            Self::Degraded(decision) => decision.as_ref(),
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
        }
    }
}
