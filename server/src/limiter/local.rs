//! Buckets in the memory of this process: `-on-outage local` decides with them while Redis does not.
//!
//! They use the arithmetic of the module, so that one process applies the same policy on its own.
//! They are not synchronized with Redis: the first request of a caller finds a new bucket.

use std::time::Instant;

use nonempty::NonEmpty;
use rl_bucket::{
    Algorithm, BatchBucket, Bucket, Change, Charge, DebtTooLarge, Decision, Policy, Request, State,
    Tokens, UnixMicros, decide_batch,
};

use super::table::Table;
use crate::limit::{Decisions, LimitRequest};

/// The largest number of buckets. With keys of addresses they take about 20 MB, and at most 90 MB with the longest keys. An
/// evicted bucket starts anew.
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
    ///
    /// # Errors
    ///
    /// If a forced charge would put a bucket into a debt that it cannot hold. Then nothing changes.
    pub(super) fn decide(&self, request: &LimitRequest) -> Result<Decisions, DebtTooLarge> {
        let us = self.epoch.elapsed().as_micros();
        let now = UnixMicros::new(u64::try_from(us).unwrap_or(u64::MAX));
        let group = request.caller();
        if request.limits.tail.is_empty() {
            let decide = |state: &mut Option<State>| decide(request, state, now);
            let decision = self.buckets.update(group, request.key(), decide);
            return decision.map(Decisions::from);
        }
        let keys = request.limits.iter().map(|limit| limit.key.as_str());
        let keys: Vec<&str> = keys.collect();
        self.buckets
            .update_all(group, &keys, |states| decide_all(request, states, now))
    }
}

/// Decides a request to one bucket and updates its state.
fn decide(
    request: &LimitRequest,
    state: &mut Option<State>,
    now: UnixMicros,
) -> Result<Decision, DebtTooLarge> {
    let mut bucket = open(request.algorithm, request.limits.head.policy, *state, now);
    let decision = bucket.decide(request.charge)?;
    apply(bucket.change(), state);
    Ok(decision)
}

/// Decides a request to several buckets and updates their states.
fn decide_all(
    request: &LimitRequest,
    states: &mut [Option<State>],
    now: UnixMicros,
) -> Result<Decisions, DebtTooLarge> {
    let limits = request.limits.iter().zip(states.iter());
    let mut buckets: Vec<Bucket> = limits
        .map(|(limit, state)| open(request.algorithm, limit.policy, *state, now))
        .collect();
    let (decisions, changes) = match request.charge {
        Request::Cost(cost) => charge_all(&buckets, cost),
        // The others are never denied, so each bucket decides alone. If one fails, no state has changed yet.
        charge => {
            let decide = |bucket: &mut Bucket| bucket.decide(charge);
            let decisions = buckets.iter_mut().map(decide).collect::<Result<_, _>>()?;
            (decisions, buckets.iter().map(Bucket::change).collect())
        }
    };
    for (change, state) in changes.into_iter().zip(states) {
        apply(change, state);
    }
    let decisions = NonEmpty::from_vec(decisions);
    Ok(Decisions(decisions.expect("one for each limit")))
}

/// Charges all buckets or none. Returns the decision and the change of each.
fn charge_all(buckets: &[Bucket], cost: Tokens) -> (Vec<Decision>, Vec<Change>) {
    let mut batch: Vec<BatchBucket> = buckets.iter().copied().map(BatchBucket::new).collect();
    let charge = |bucket| Charge { bucket, cost };
    let charges: Vec<Charge> = (0..batch.len()).map(charge).collect();
    let mut decisions = Vec::with_capacity(batch.len());
    decide_batch(&mut batch, &charges, |decision| decisions.push(decision));
    let changes = batch.iter().map(BatchBucket::change).collect();
    (decisions, changes)
}

/// Opens a bucket. A state of the other algorithm is replaced by a new bucket.
fn open(algorithm: Algorithm, policy: Policy, state: Option<State>, now: UnixMicros) -> Bucket {
    Bucket::open(state, algorithm, policy, now)
        .unwrap_or_else(|_| Bucket::new(algorithm, policy, now))
}

fn apply(change: Change, state: &mut Option<State>) {
    match change {
        Change::Nothing => {}
        Change::Store(new) => *state = Some(new),
        Change::Remove => *state = None,
    }
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Capacity, Rate};

    use super::*;
    use crate::limit::Limit;

    fn request(algorithm: Algorithm) -> LimitRequest {
        let policy = Rate::parse(b"1/s").zip(Capacity::new(3));
        let policy = policy.map(|(rate, capacity)| Policy::new(rate, capacity));
        let charge = Request::Cost(Tokens::ONE);
        LimitRequest::single(algorithm, "k".to_owned(), policy.unwrap(), charge)
    }

    /// A reload may change the order of the limits, and which of them is the first.
    #[test]
    fn a_limit_keeps_its_bucket_wherever_it_is_in_the_list() {
        let local = Local::new();
        let mut request = pair(Request::Cost(Tokens::ONE));
        for (limit, name) in request.limits.iter_mut().zip(["first", "second"]) {
            limit.key = format!("rl:{{token:a:192.0.2.1}}:{name}");
        }
        assert_eq!(remaining(&local.decide(&request).unwrap()), [2, 1]);
        let limits = request.limits.iter().rev().cloned().collect();
        request.limits = NonEmpty::from_vec(limits).unwrap();
        assert_eq!(remaining(&local.decide(&request).unwrap()), [0, 1]);
        let second = request.limits.head.clone();
        request.limits = NonEmpty::new(second);
        assert!(!local.decide(&request).unwrap().are_allowed());
    }

    #[test]
    fn a_local_bucket_limits_as_redis_does() {
        let (request, mut state) = (request(Algorithm::Token), None);
        let mut decide_at = |us| {
            let decision = decide(&request, &mut state, UnixMicros::new(us)).unwrap();
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
        decide(&request(Algorithm::Token), &mut state, now).unwrap();
        let decision = decide(&request(Algorithm::Leaky), &mut state, now).unwrap();
        assert_eq!((decision.allowed, decision.remaining), (1, 2));
    }

    /// A request to two buckets, which hold 3 and 2 tokens.
    fn pair(charge: Request) -> LimitRequest {
        let mut request = LimitRequest {
            charge,
            ..request(Algorithm::Token)
        };
        let policy = Policy::new(request.limits.head.policy.rate(), Capacity::new(2).unwrap());
        request.limits.push(Limit {
            key: "second".to_owned(),
            policy,
        });
        request
    }

    fn remaining(decisions: &Decisions) -> Vec<u64> {
        decisions
            .0
            .iter()
            .map(|decision| decision.remaining)
            .collect()
    }

    #[test]
    fn several_limits_are_charged_all_or_none() {
        let local = Local::new();
        let take = |n| {
            let charge = Request::Cost(Tokens::new(n).unwrap());
            local.decide(&pair(charge)).unwrap()
        };
        assert_eq!(remaining(&take(1)), [2, 1]);
        let denied = take(2);
        assert!(!denied.are_allowed());
        assert_eq!(remaining(&denied), [2, 1], "nothing is taken of the first");
        assert_eq!(remaining(&take(1)), [1, 0]);
    }

    #[test]
    fn a_forced_charge_and_a_refund_go_to_every_limit() {
        let local = Local::new();
        let charge = |charge| remaining(&local.decide(&pair(charge)).unwrap());
        assert_eq!(charge(Request::Force(Tokens::ONE)), [2, 1]);
        assert_eq!(charge(Request::Refund(Tokens::ONE)), [3, 2]);
        assert_eq!(charge(Request::Force(Tokens::ONE)), [2, 1]);
        let too_much = local.decide(&pair(Request::Force(Tokens::MAX)));
        assert!(too_much.is_err());
        assert_eq!(charge(Request::Refund(Tokens::ZERO)), [2, 1]);
    }
}
