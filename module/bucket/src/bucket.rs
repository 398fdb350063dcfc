//! The two algorithms: a bucket at one instant, and what one request does to it.
//!
//! Everything that decides about a single bucket is here: the passage of time, changed policies, the four requests, and
//! what to store. Several buckets at once are in `batch.rs`. The crate's front page has the formulas and an example.

use crate::algorithm::Algorithm;
use crate::decision::Decision;
use crate::policy::Policy;
use crate::state::State;
use crate::time::{UnixMicros, ms_rounded_up};
use crate::tokens::Tokens;

/// What a caller requests of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// This many tokens, or none of them.
    ///
    /// A cost of zero takes nothing. It is answered with the state of the bucket, and denied while the bucket is in
    /// debt.
    Cost(Tokens),
    /// As many whole tokens as are left, at most this many. Denied if there is not one.
    Partial(Tokens),
    /// This many tokens, whether or not they are left, for work that has already been done.
    ///
    /// It is always allowed. A bucket with more used than its capacity is in debt: it denies every request but `Force`
    /// and `Refund` until the debt is refilled (leaked).
    Force(Tokens),
    /// Puts this many tokens back, for work that was not done. Always allowed.
    ///
    /// What exceeds the tokens used is dropped: a bucket never holds more than its capacity, or less than nothing.
    Refund(Tokens),
}

/// What to do with the stored state after a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leave it alone: no byte of it and no deadline changes.
    Nothing,
    /// Store this state in its place.
    Store(State),
    /// Delete it: nothing is used, and a bucket of which nothing is used has no state.
    Remove,
}

/// The stored state belongs to the other algorithm, which is the one named here.
///
/// The two are not converted into each other: that one key serves both is a mistake of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherAlgorithm(pub Algorithm);

/// A forced cost would leave more than [`Tokens::MAX`] tokens used. Nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebtTooLarge;

/// A bucket at one instant, with the time until then counted and the policy of the request in force.
///
/// It is a value, not a handle: it decides any number of requests at its instant, and nothing lasts until the caller
/// stores what [`Bucket::change`] returns. Between opening and storing nobody else may change what is stored.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    state: State,
    now: UnixMicros,
    /// Units used when the bucket was opened, so that [`Bucket::change`] knows whether a request changed them.
    used_at_open: u128,
    /// The rate or the clock differs from the stored one. Even a denial must then be stored: its `retry_after` counts
    /// from now at the new rate, and would be wrong if the next request counted again from the stored instant at the
    /// old one.
    rate_or_clock_changed: bool,
}

impl Bucket {
    /// A bucket that was never used: full (token bucket) or empty (leaky bucket).
    #[must_use]
    pub const fn new(algorithm: Algorithm, policy: Policy, now: UnixMicros) -> Self {
        let state = State {
            algorithm,
            used: 0,
            updated: now,
            policy,
        };
        Self {
            state,
            now,
            used_at_open: 0,
            rate_or_clock_changed: false,
        }
    }

    /// The stored bucket at the instant `now`, under its stored policy. This is for looking at a bucket without naming
    /// a policy.
    #[must_use]
    pub fn stored(state: State, now: UnixMicros) -> Self {
        Self::advanced_to(now, state, state.policy)
    }

    /// The bucket at the instant `now` under `policy`, which need not be the stored one. With nothing stored, a new
    /// bucket.
    ///
    /// # Errors
    ///
    /// [`OtherAlgorithm`] if the stored state is not of this algorithm.
    #[inline]
    pub fn open(
        stored: Option<State>,
        algorithm: Algorithm,
        policy: Policy,
        now: UnixMicros,
    ) -> Result<Self, OtherAlgorithm> {
        match stored {
            None => Ok(Self::new(algorithm, policy, now)),
            Some(state) if state.algorithm != algorithm => Err(OtherAlgorithm(state.algorithm)),
            Some(state) => Ok(Self::advanced_to(now, state, policy)),
        }
    }

    /// Refills (leaks) for the time until `now` at the stored rate, then puts `policy` in force.
    ///
    /// If nothing is used after that, the bucket is a new one. Its past has no effect on any later decision, so neither
    /// a changed rate nor a clock that went back is worth a write.
    #[inline]
    fn advanced_to(now: UnixMicros, stored: State, policy: Policy) -> Self {
        let (old, new) = (stored.policy.rate(), policy.rate());
        let refilled = old.units_refilled(now.us_since(stored.updated));
        let used = old.convert(stored.used.saturating_sub(refilled), new);
        if used == 0 {
            return Self::new(stored.algorithm, policy, now);
        }
        let too_far_back = is_too_far_back(stored.updated, now, policy);
        let updated = if too_far_back {
            now
        } else {
            now.max(stored.updated)
        };
        let state = State {
            used,
            updated,
            policy,
            ..stored
        };
        Self {
            state,
            now,
            used_at_open: used,
            rate_or_clock_changed: too_far_back || old != new,
        }
    }

    /// Decides one request and applies it to this bucket. [`Bucket::change`] then returns what to store.
    ///
    /// # Errors
    ///
    /// [`DebtTooLarge`], for [`Request::Force`] only. The bucket is then as it was before the request.
    #[inline]
    pub fn decide(&mut self, request: Request) -> Result<Decision, DebtTooLarge> {
        Ok(match request {
            Request::Cost(cost) => match self.used_plus(self.units(cost)) {
                used if used <= self.capacity_units() => self.grant(1, used),
                used => self.denial(used),
            },
            Request::Partial(max) => match max.min(self.remaining()) {
                Tokens::ZERO => self.denial(self.used_plus(self.units(Tokens::ONE))),
                granted => self.grant(granted.get(), self.used_plus(self.units(granted))),
            },
            Request::Force(cost) => match self.used_plus(self.units(cost)) {
                used if used <= self.units(Tokens::MAX) => self.grant(1, used),
                _ => return Err(DebtTooLarge),
            },
            Request::Refund(tokens) => Decision {
                delay_ms: 0,
                ..self.grant(1, self.state.used.saturating_sub(self.units(tokens)))
            },
        })
    }

    /// Sets the units used and returns the answer to an allowed request.
    ///
    /// The delay of a leaky bucket is computed first: a request waits for what was in the bucket before it, not for
    /// itself.
    #[inline]
    pub(crate) fn grant(&mut self, allowed: u64, used: u128) -> Decision {
        let delay_ms = match self.state.algorithm {
            Algorithm::Token => 0,
            Algorithm::Leaky => self.wait_ms(self.state.used),
        };
        self.state.used = used;
        Decision {
            delay_ms,
            ..self.decision(allowed, Some(0))
        }
    }

    /// The answer to a denied request, which would have left `used` units used, more than the capacity.
    #[inline]
    pub(crate) fn denial(&self, used: u128) -> Decision {
        let missing = used.saturating_sub(self.capacity_units());
        // Even with nothing used the request would not fit: its cost is above the capacity.
        let never = missing > self.state.used;
        let retry_after_ms = (!never).then(|| self.wait_ms(missing));
        self.decision(0, retry_after_ms)
    }

    /// An answer with the numbers of the bucket as it is now, and no delay.
    #[inline]
    fn decision(&self, allowed: u64, retry_after_ms: Option<u64>) -> Decision {
        Decision {
            allowed,
            limit: self.state.policy.capacity().get(),
            remaining: self.remaining().get(),
            retry_after_ms,
            reset_after_ms: self.wait_ms(self.state.used),
            delay_ms: 0,
        }
    }

    /// What to do with the stored state, given everything that was decided since the bucket was opened.
    ///
    /// [`Change::Nothing`] after a denial, unless the rate differs from the stored one or the clock went back too far.
    /// A changed capacity alone is stored with the next request that takes or gives back tokens, since what is used
    /// does not depend on it.
    #[must_use]
    #[inline]
    pub const fn change(&self) -> Change {
        match self.state.used {
            used if used == self.used_at_open && !self.rate_or_clock_changed => Change::Nothing,
            0 => Change::Remove,
            _ => Change::Store(self.state),
        }
    }

    /// `tokens` in units of the rate in force.
    #[inline]
    pub(crate) fn units(&self, tokens: Tokens) -> u128 {
        self.state.policy.rate().units(tokens)
    }

    /// The capacity in units of the rate in force.
    #[inline]
    pub(crate) fn capacity_units(&self) -> u128 {
        self.state.policy.capacity_units()
    }

    /// Units taken and not yet refilled, or poured in and not yet leaked.
    pub(crate) const fn used(&self) -> u128 {
        self.state.used
    }

    /// The units used after `units` more. Both are at most 2^96 in a single request, so the sum does not saturate
    /// there.
    #[inline]
    pub(crate) fn used_plus(&self, units: u128) -> u128 {
        self.state.used.saturating_add(units)
    }

    /// Whole tokens left, rounded down: 0 to the capacity, and 0 in debt.
    #[inline]
    fn remaining(&self) -> Tokens {
        let left = self.capacity_units().saturating_sub(self.state.used);
        let whole = self.state.policy.rate().whole_tokens(left);
        u64::try_from(whole)
            .ok()
            .and_then(Tokens::new)
            .unwrap_or(Tokens::MAX)
    }

    /// Milliseconds from now until `units` are refilled (leaked), rounded up, at most [`Decision::LONGEST_MS`]. 0 for
    /// none.
    ///
    /// While the clock is behind the bucket's instant nothing is refilled, so the time until it gets there is added.
    #[inline]
    fn wait_ms(&self, units: u128) -> u64 {
        if units == 0 {
            return 0;
        }
        let us_back = u128::from(self.state.updated.us_since(self.now));
        let wait_us = us_back.saturating_add(self.state.policy.rate().us_to_refill(units));
        u64::try_from(ms_rounded_up(wait_us))
            .map_or(Decision::LONGEST_MS, |ms| ms.min(Decision::LONGEST_MS))
    }
}

/// Whether the clock went back from `updated` to `now` by more than the whole capacity takes to refill (leak).
///
/// The new time is then believed. The old one must have been wrong, and waiting until the clock gets there again could
/// lock the caller out for years.
#[inline]
fn is_too_far_back(updated: UnixMicros, now: UnixMicros, policy: Policy) -> bool {
    policy.rate().units_refilled(updated.us_since(now)) > policy.capacity_units()
}
