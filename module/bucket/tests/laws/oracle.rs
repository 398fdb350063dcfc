//! The two algorithms once more, written from the contract and not from the code: tokens are rationals of any size, time
//! is a plain integer, and nothing is rounded before the reply, save `used` to the new unit when the period changes.

use num_bigint::BigInt;
use num_rational::BigRational;
use rl_bucket::{Algorithm, Decision, Policy, Request, Tokens};

#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    /// Tokens taken and not yet given back, and the policy and latest instant they were last counted at.
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

/// Milliseconds to tell for a wait in microseconds.
fn told_ms(wait_us: &BigRational) -> u64 {
    let ms = (wait_us / integer(1000)).ceil().to_integer();
    ms.min(Decision::LONGEST_MS.into())
        .try_into()
        .expect("a wait is never negative")
}

impl Oracle {
    pub(crate) const NEW: Self = Self { bucket: None };

    /// The key is gone, which it may only be once nothing is used any more.
    pub(crate) fn expire(&mut self, now_us: u64) {
        if let Some((used, policy, updated)) = self.bucket.take() {
            let as_new_us = integer(updated) + used / rate(policy);
            assert!(integer(now_us) > as_new_us, "gone at {now_us}");
        }
    }

    /// What is used now in tokens of the new policy's unit, the instant to keep, and whether rate or clock has shifted.
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

    /// The answer to one request, or `None` if the debt would be too large.
    pub(crate) fn ask(
        &mut self,
        algorithm: Algorithm,
        policy: Policy,
        request: Request,
        now_us: u64,
    ) -> Option<Decision> {
        let now = i128::from(now_us);
        let (used, instant, shifted) = self.at(policy, now);
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
        let changed = after != used || shifted;
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
        let waits_for_turn =
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
                0 if wanted > policy.capacity() => None,
                0 => Some(told_ms(&wait_us(missing))),
                _ => Some(0),
            },
            reset_after_ms: told_ms(&wait_us(after)),
            delay_ms: if waits_for_turn {
                told_ms(&wait_us(used.clone()))
            } else {
                0
            },
        })
    }
}
