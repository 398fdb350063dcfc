//! A second implementation of the two algorithms, from the documentation and not from the code.
//!
//! Tokens are rationals of any size and time is a plain integer. Nothing is rounded before the reply, except `used`, up
//! to the new unit, when the period changes.

use num_bigint::BigInt;
use num_rational::BigRational;
use rl_bucket::{Algorithm, Decision, Policy, Request, Tokens};

#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    /// Tokens taken and not yet refilled, and the policy and the latest instant at which they were counted.
    bucket: Option<(BigRational, Policy, i128)>,
}

pub(crate) fn integer(n: impl Into<BigInt>) -> BigRational {
    BigRational::from_integer(n.into())
}

/// Tokens per microsecond.
fn rate(policy: Policy) -> BigRational {
    BigRational::new(
        policy.rate().count().into(),
        policy.rate().period_us().into(),
    )
}

fn capacity(policy: Policy) -> BigRational {
    integer(policy.capacity().get())
}

/// A wait in microseconds as the milliseconds of a decision.
fn ms_rounded_up(wait_us: &BigRational) -> u64 {
    let ms = (wait_us / integer(1000)).ceil().to_integer();
    ms.min(Decision::LONGEST_MS.into())
        .try_into()
        .expect("a wait is never negative")
}

impl Oracle {
    pub(crate) const NEW: Self = Self { bucket: None };

    /// Deletes the bucket, which is correct only after it is full (token bucket) or empty (leaky bucket) again.
    pub(crate) fn expire(&mut self, now_us: u64) {
        if let Some((used, policy, updated)) = self.bucket.take() {
            let resets_us = integer(updated) + used / rate(policy);
            assert!(integer(now_us) > resets_us, "expired at {now_us}");
        }
    }

    /// The tokens used now, rounded to the new policy's unit, the instant to keep, and whether rate or clock changed.
    fn at(&self, policy: Policy, now_us: i128) -> (BigRational, i128, bool) {
        let zero = integer(0);
        let Some((used, old, updated)) = &self.bucket else {
            return (zero, now_us, false);
        };
        let passed = (now_us - updated).max(0);
        let mut used = (used - rate(*old) * integer(passed)).max(zero.clone());
        let rate_changed = rate(*old) != rate(policy);
        if rate_changed {
            let unit = integer(policy.rate().period_us());
            used = (used * &unit).ceil() / unit;
        }
        if used == zero {
            return (zero, now_us, false);
        }
        let back = (updated - now_us).max(0);
        let rebased = integer(back) > capacity(policy) / rate(policy);
        let instant = if rebased {
            now_us
        } else {
            now_us.max(*updated)
        };
        (used, instant, rebased || rate_changed)
    }

    /// The decision about one request, or `None` if the debt would be too large.
    pub(crate) fn decide(
        &mut self,
        algorithm: Algorithm,
        policy: Policy,
        request: Request,
        now_us: u64,
    ) -> Option<Decision> {
        let now = i128::from(now_us);
        let (used, instant, rate_or_clock_changed) = self.at(policy, now);
        let (zero, full) = (integer(0), capacity(policy));
        let whole_left = (&full - &used).max(zero.clone()).floor();
        let (allowed, after, wanted) = match request {
            Request::Cost(n) if &used + integer(n.get()) <= full => {
                (1, &used + integer(n.get()), n)
            }
            Request::Cost(n) => (0, used.clone(), n),
            Request::Partial(n) => {
                let granted = whole_left.clone().min(integer(n.get()));
                (
                    granted.to_integer().try_into().expect("small"),
                    &used + granted,
                    Tokens::ONE,
                )
            }
            Request::Force(n) => (1, &used + integer(n.get()), n),
            Request::Refund(n) => (1, (&used - integer(n.get())).max(zero.clone()), n),
        };
        if matches!(request, Request::Force(_)) && after > integer(Tokens::MAX.get()) {
            return None;
        }
        let changed = after != used || rate_or_clock_changed;
        if changed {
            self.bucket = (after != zero).then(|| (after.clone(), policy, instant));
        }
        let wait_us = |tokens: BigRational| {
            if tokens <= zero {
                zero.clone()
            } else {
                integer(instant - now) + tokens / rate(policy)
            }
        };
        let missing = &used + integer(wanted.get()) - &full;
        let waits_in_queue =
            algorithm == Algorithm::Leaky && allowed > 0 && !matches!(request, Request::Refund(_));
        Some(Decision {
            allowed,
            limit: policy.capacity().get(),
            remaining: (&full - &after)
                .max(zero.clone())
                .floor()
                .to_integer()
                .try_into()
                .expect("small"),
            retry_after_ms: match allowed {
                0 if wanted > policy.capacity().into() => None,
                0 => Some(ms_rounded_up(&wait_us(missing))),
                _ => Some(0),
            },
            reset_after_ms: ms_rounded_up(&wait_us(after)),
            delay_ms: if waits_in_queue {
                ms_rounded_up(&wait_us(used.clone()))
            } else {
                0
            },
        })
    }
}
