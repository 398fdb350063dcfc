//! What a request for a decision asks, and what comes of it: the words that the HTTP edge, the limiter and the metrics share.
//!
//! Nothing here decides anything: [`crate::limiter`] does.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use rl_bucket::{Algorithm, Capacity, Decision, Policy, Rate, Tokens};

/// The key of a bucket that is never made.
const PROBE: &str = "rl:probe";

/// The least capacity of a unique probe: half of the largest, so that few policies have such a one.
const UNIQUE_CAPACITY: u64 = 1 << 47;

/// What one request asks for: so much of the bucket in this key, under this policy.
#[derive(Clone, Debug)]
pub struct LimitRequest {
    /// Which kind of bucket.
    pub algorithm: Algorithm,
    /// Its key.
    pub key: String,
    /// Its policy.
    pub policy: Policy,
    /// How many tokens of it.
    pub cost: Tokens,
}

impl LimitRequest {
    /// Asks for none of the tokens of a bucket that is never made.
    pub(crate) fn probe(policy: Policy) -> Self {
        Self {
            algorithm: Algorithm::Token,
            key: PROBE.to_owned(),
            policy,
            cost: Tokens::ZERO,
        }
    }

    /// The same under a policy of its own, with which no other call is likely to be made, so that its reply fits no other.
    pub(crate) fn unique_probe() -> Self {
        let random = RandomState::new().hash_one(());
        let capacity = UNIQUE_CAPACITY | (random % UNIQUE_CAPACITY);
        let policy = Rate::new(1, 1_000_000).zip(Capacity::new(capacity));
        let policy = policy.map(|(rate, capacity)| Policy::new(rate, capacity));
        Self::probe(policy.expect("a rate of 1 and a capacity below 2^48"))
    }
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Redis decided.
    Decided(Decision),
    /// Redis could not: this process decided by itself, or, with `None`, let the request pass and counted nothing.
    Degraded(Option<Decision>),
}

impl Answer {
    /// The decision, if there is one.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Decided(decision) => Some(decision),
            Self::Degraded(decision) => decision.as_ref(),
        }
    }

    /// Whether Redis had no part in it.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(self, Self::Degraded(_))
    }
}

/// Redis could not decide. It is never a denial: the caller has done nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No answer within the deadline, or no connection.
    NoAnswer,
    /// Redis answers, but does not know our commands.
    NoModule,
    /// Redis refused the call, with this error code, such as OOM or READONLY.
    Refused(String),
    /// Redis answers, but too many requests wait for it. `-on-outage` does not apply.
    Overloaded(Overload),
}

/// The bound that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Its caller waits for as many calls as one caller may.
    Caller,
    /// As many calls wait for this Redis server as may.
    Server,
    /// The call was sent and waited for the whole deadline behind others. Its tokens may be spent.
    Deadline,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "too many requests of this caller wait for Redis",
            Self::Server => "too many requests wait for Redis",
            Self::Deadline => "the request waited for Redis for too long",
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
