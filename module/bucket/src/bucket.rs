//! The two algorithms: a bucket at one instant, and what becomes of one request.

use crate::decision::Decision;
use crate::policy::Policy;
use crate::state::State;
use crate::time::{UnixMicros, ms_rounded_up};
use crate::tokens::Tokens;

/// Which kind of bucket. Both allow the same requests at equal numbers; a leaky one also tells the delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// A burst at once, then the rate.
    Token,
    /// A queue that is served at the rate, or, for callers that ignore their delay, a meter.
    Leaky,
}

impl Algorithm {
    pub(crate) const fn letter(self) -> u8 {
        match self {
            Self::Token => b'T',
            Self::Leaky => b'L',
        }
    }

    pub(crate) const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'T' => Some(Self::Token),
            b'L' => Some(Self::Leaky),
            _ => None,
        }
    }
}

/// What a caller asks of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// So many tokens or nothing. Zero takes nothing but is answered, and denied in debt.
    Cost(Tokens),
    /// As many whole tokens as there are, at most this many.
    Partial(Tokens),
    /// So many tokens whether or not they are there: the bucket may go into debt.
    Force(Tokens),
    /// So many tokens back, never past new.
    Refund(Tokens),
}

/// What is to be done with the stored state after a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: not a byte of it may change.
    Nothing,
    /// Store this.
    Store(State),
    /// Remove it: the bucket is as new, and a new bucket has no state.
    Remove,
}

/// The stored state is of the other algorithm, which is named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherAlgorithm(pub Algorithm);

/// A forced cost would leave more than [`Tokens::MAX`] tokens used. Nothing has been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebtTooLarge;

/// A bucket brought up to now: the time that has passed is counted, the policy asked for is in force, and nothing has
/// been taken yet.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    state: State,
    now: UnixMicros,
    /// Units used when it was opened.
    found: u128,
    /// The rate or the clock was found changed. That is recorded even by a denial, or its `retry_after` would be a lie.
    shifted: bool,
}

impl Bucket {
    /// An untouched bucket.
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
            found: 0,
            shifted: false,
        }
    }

    /// The stored bucket under the policy that made it: what a peek looks at.
    #[must_use]
    pub fn stored(state: State, now: UnixMicros) -> Self {
        Self::brought_up_to(now, state, state.policy)
    }

    /// The bucket that a request under `policy` finds, whether or not anything is stored of it.
    ///
    /// # Errors
    ///
    /// [`OtherAlgorithm`] if what is stored is a bucket of the other kind.
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
            Some(state) => Ok(Self::brought_up_to(now, state, policy)),
        }
    }

    /// Counts the time until now at the stored rate, then puts `policy` in force.
    ///
    /// A bucket with nothing used is a new one: nothing of its past is worth recording or waiting for.
    #[inline]
    fn brought_up_to(now: UnixMicros, stored: State, policy: Policy) -> Self {
        let (old, new) = (stored.policy.rate(), policy.rate());
        let given_back = old.units_given_back(now.us_since(stored.updated));
        let used = old.convert(stored.used.saturating_sub(given_back), new);
        if used == 0 {
            return Self::new(stored.algorithm, policy, now);
        }
        let us_back = stored.updated.us_since(now);
        let too_far_back = new.units_given_back(us_back) > policy.full();
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
            found: used,
            shifted: too_far_back || old != new,
        }
    }

    /// Decides one request. What is then to be stored is [`Bucket::change`].
    ///
    /// # Errors
    ///
    /// [`DebtTooLarge`], from a forced cost only. The request has then changed nothing, and nothing is to be stored.
    #[inline]
    pub fn decide(&mut self, request: Request) -> Result<Decision, DebtTooLarge> {
        Ok(match request {
            Request::Cost(cost) => match self.used_with(self.units(cost)) {
                used if used <= self.full() => self.grant(1, used),
                used => self.denial(used),
            },
            Request::Partial(most) => match most.min(self.remaining()) {
                Tokens::ZERO => self.denial(self.used_with(self.units(Tokens::ONE))),
                granted => self.grant(granted.get(), self.used_with(self.units(granted))),
            },
            Request::Force(cost) => match self.used_with(self.units(cost)) {
                used if used <= self.units(Tokens::MAX) => self.grant(1, used),
                _ => return Err(DebtTooLarge),
            },
            Request::Refund(tokens) => Decision {
                delay_ms: 0,
                ..self.grant(1, self.state.used.saturating_sub(self.units(tokens)))
            },
        })
    }

    /// Leaves so much used, and answers an allowed request. A leaky bucket's delay is the time of what was in it before.
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

    /// The answer of a request that there is no room for: it would have left so much used.
    #[inline]
    pub(crate) fn denial(&self, used: u128) -> Decision {
        let missing = used.saturating_sub(self.full());
        // More than it could hold even when empty.
        let never = missing > self.state.used;
        let retry_after_ms = (!never).then(|| self.wait_ms(missing));
        self.decision(0, retry_after_ms)
    }

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

    /// What is to be stored of the bucket as it now is.
    #[must_use]
    #[inline]
    pub const fn change(&self) -> Change {
        match self.state.used {
            used if used == self.found && !self.shifted => Change::Nothing,
            0 => Change::Remove,
            _ => Change::Store(self.state),
        }
    }

    #[inline]
    pub(crate) fn units(&self, tokens: Tokens) -> u128 {
        self.state.policy.rate().units(tokens)
    }

    #[inline]
    pub(crate) fn full(&self) -> u128 {
        self.state.policy.full()
    }

    pub(crate) const fn used(&self) -> u128 {
        self.state.used
    }

    /// What is used when so many units more are.
    #[inline]
    pub(crate) fn used_with(&self, units: u128) -> u128 {
        self.state.used.saturating_add(units)
    }

    /// Whole tokens that could be had now, never above the capacity.
    #[inline]
    fn remaining(&self) -> Tokens {
        let room = self.full().saturating_sub(self.state.used);
        let whole = self.state.policy.rate().whole_tokens(room);
        u64::try_from(whole)
            .ok()
            .and_then(Tokens::new)
            .unwrap_or(Tokens::MAX)
    }

    /// How long until so many units are given back; after a clock that went back, counted from now until it is past the
    /// later instant again.
    #[inline]
    fn wait_ms(&self, units: u128) -> u64 {
        if units == 0 {
            return 0;
        }
        let us_back = u128::from(self.state.updated.us_since(self.now));
        let wait_us = us_back.saturating_add(self.state.policy.rate().us_to_give_back(units));
        u64::try_from(ms_rounded_up(wait_us))
            .map_or(Decision::LONGEST_MS, |ms| ms.min(Decision::LONGEST_MS))
    }
}
