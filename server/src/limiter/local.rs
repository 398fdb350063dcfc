//! Limits in this process alone, by the same arithmetic as in Redis: for as long as Redis does not decide.

use std::time::Instant;

use rl_bucket::{Bucket, Change, Decision, Request, State, UnixMicros};

use super::table::Table;
use crate::limit::LimitRequest;

/// The most callers that are known at once; of more, those that have not called for longest begin anew. Some 20 MB.
const CALLERS: usize = 100_000;

/// The buckets of this process.
pub(super) struct Local {
    buckets: Table<State>,
    /// Where its time begins. Not the wall clock: no state outlives the process, so a clock that is set has no part in it.
    epoch: Instant,
}

impl Local {
    pub(super) fn new() -> Self {
        Self {
            buckets: Table::of(CALLERS),
            epoch: Instant::now(),
        }
    }

    /// Decides what Redis would decide if only this process asked it. `None` never: a cost makes no debt.
    pub(super) fn decide(&self, asked: &LimitRequest) -> Option<Decision> {
        let us = self.epoch.elapsed().as_micros();
        let now = UnixMicros::new(u64::try_from(us).unwrap_or(u64::MAX));
        self.buckets
            .change(&asked.key, |state| decide(asked, state, now))
    }
}

/// A key that held a bucket of the other kind is a new one: here nobody else has put it there.
fn decide(asked: &LimitRequest, state: &mut Option<State>, now: UnixMicros) -> Option<Decision> {
    let (algorithm, policy) = (asked.algorithm, asked.policy);
    let bucket = Bucket::open(*state, algorithm, policy, now);
    let mut bucket = bucket.unwrap_or_else(|_| Bucket::new(algorithm, policy, now));
    let decision = bucket.decide(Request::Cost(asked.cost)).ok()?;
    match bucket.change() {
        Change::Nothing => {}
        Change::Store(new) => *state = Some(new),
        Change::Remove => *state = None,
    }
    Some(decision)
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Algorithm, Capacity, Policy, Rate, Tokens};

    use super::*;

    fn asked(algorithm: Algorithm) -> LimitRequest {
        let policy = Rate::parse(b"1/s").zip(Capacity::new(3));
        LimitRequest {
            algorithm,
            key: "k".to_owned(),
            policy: policy
                .map(|(rate, capacity)| Policy::new(rate, capacity))
                .unwrap(),
            cost: Tokens::ONE,
        }
    }

    #[test]
    fn it_limits_as_redis_does_by_a_time_of_its_own() {
        let (asked, mut state) = (asked(Algorithm::Token), None);
        let mut told = |us| {
            let decision = decide(&asked, &mut state, UnixMicros::new(us)).unwrap();
            (
                decision.allowed,
                decision.remaining,
                decision.retry_after_ms,
            )
        };
        assert_eq!(
            [0, 0, 0]
                .map(&mut told)
                .map(|(allowed, left, _)| (allowed, left)),
            [(1, 2), (1, 1), (1, 0)]
        );
        assert_eq!(told(400_000), (0, 0, Some(600)));
        assert_eq!(told(1_000_000), (1, 0, Some(0)));
    }

    #[test]
    fn a_key_under_the_other_algorithm_is_a_new_bucket() {
        let (mut state, now) = (None, UnixMicros::new(0));
        decide(&asked(Algorithm::Token), &mut state, now).unwrap();
        let decision = decide(&asked(Algorithm::Leaky), &mut state, now).unwrap();
        assert_eq!((decision.allowed, decision.remaining), (1, 2));
    }
}
