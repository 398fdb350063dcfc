//! Buckets in the memory of this process: `-on-outage local` decides with them while Redis does not.
//!
//! They use the arithmetic of the module, so that one process applies the same policy on its own.
//! They are not synchronized with Redis: the first request of a caller finds a new bucket.

use std::time::Instant;

use rl_bucket::{Bucket, Change, Decision, Request, State, UnixMicros};

use super::table::Table;
use crate::limit::LimitRequest;

/// The largest number of buckets, about 20 MB. An evicted caller starts with a new bucket.
const MAX_BUCKETS: usize = 100_000;

/// The local buckets of all callers.
pub(super) struct Local {
    buckets: Table<State>,
    /// Time zero of the buckets. A monotonic clock, because no bucket outlives the process and the wall clock can be
    /// set.
    epoch: Instant,
}

impl Local {
    pub(super) fn new() -> Self {
        Self {
            buckets: Table::with_capacity(MAX_BUCKETS),
            epoch: Instant::now(),
        }
    }

    /// Decides as Redis would if this process were its only client.
    pub(super) fn decide(&self, request: &LimitRequest) -> Decision {
        let us = self.epoch.elapsed().as_micros();
        let now = UnixMicros::new(u64::try_from(us).unwrap_or(u64::MAX));
        self.buckets
            .update(&request.key, |state| decide(request, state, now))
    }
}

/// Decides one request and updates the state of its bucket. A state of the other algorithm is replaced by a new
/// bucket.
fn decide(request: &LimitRequest, state: &mut Option<State>, now: UnixMicros) -> Decision {
    let (algorithm, policy) = (request.algorithm, request.policy);
    let bucket = Bucket::open(*state, algorithm, policy, now);
    let mut bucket = bucket.unwrap_or_else(|_| Bucket::new(algorithm, policy, now));
    let decision = bucket.decide(Request::Cost(request.cost));
    match bucket.change() {
        Change::Nothing => {}
        Change::Store(new) => *state = Some(new),
        Change::Remove => *state = None,
    }
    decision.expect("only a forced request can fail")
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Algorithm, Capacity, Policy, Rate, Tokens};

    use super::*;

    fn request(algorithm: Algorithm) -> LimitRequest {
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
    fn a_local_bucket_limits_as_redis_does() {
        let (request, mut state) = (request(Algorithm::Token), None);
        let mut decide_at = |us| {
            let decision = decide(&request, &mut state, UnixMicros::new(us));
            (
                decision.allowed,
                decision.remaining,
                decision.retry_after_ms,
            )
        };
        let at_once = [0, 0, 0].map(&mut decide_at);
        let numbers = at_once.map(|(allowed, remaining, _)| (allowed, remaining));
        assert_eq!(numbers, [(1, 2), (1, 1), (1, 0)]);
        assert_eq!(decide_at(400_000), (0, 0, Some(600)));
        assert_eq!(decide_at(1_000_000), (1, 0, Some(0)));
    }

    #[test]
    fn the_other_algorithm_gets_a_new_bucket() {
        let (mut state, now) = (None, UnixMicros::new(0));
        decide(&request(Algorithm::Token), &mut state, now);
        let decision = decide(&request(Algorithm::Leaky), &mut state, now);
        assert_eq!((decision.allowed, decision.remaining), (1, 2));
    }
}
