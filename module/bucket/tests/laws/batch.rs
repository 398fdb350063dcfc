//! Several charges decided together: either all are made, or none.

use proptest::prelude::*;
use rl_bucket::{
    Algorithm, BatchBucket, Bucket, Change, Charge, Decision, Policy, Request, UnixMicros,
    decide_batch,
};

use crate::{START_US, StoredBucket, small_policy, tokens};

fn open(stored: &[StoredBucket], policies: &[Policy], now_us: u64) -> Vec<BatchBucket> {
    stored
        .iter()
        .zip(policies)
        .map(|(stored, policy)| {
            let now = UnixMicros::new(now_us);
            let bucket = Bucket::open(stored.state, Algorithm::Leaky, *policy, now);
            BatchBucket::new(bucket.expect("leaky"))
        })
        .collect()
}

/// Decides charges, each an index and a cost, and returns the first that was denied and all decisions.
fn decide(buckets: &mut [BatchBucket], charges: &[(usize, u64)]) -> (Option<usize>, Vec<Decision>) {
    let charges: Vec<_> = charges
        .iter()
        .map(|(bucket, cost)| Charge {
            bucket: *bucket,
            cost: tokens(*cost),
        })
        .collect();
    let mut decisions = Vec::new();
    let denied = decide_batch(buckets, &charges, |decision| decisions.push(decision));
    (denied, decisions)
}

fn one_by_one(
    stored: &mut [StoredBucket],
    policies: &[Policy],
    charges: &[(usize, u64)],
    now_us: u64,
) -> Vec<Decision> {
    charges
        .iter()
        .map(|(i, cost)| {
            stored[*i].decide(
                Algorithm::Leaky,
                policies[*i],
                Request::Cost(tokens(*cost)),
                now_us,
            )
        })
        .collect()
}

proptest! {
    #[test]
    fn a_batch_charges_all_or_nothing(
        old in [small_policy(), small_policy(), small_policy()],
        new in [small_policy(), small_policy(), small_policy()],
        changed: bool,
        used in [0..13_u64, 0..13, 0..13],
        charges in prop::collection::vec((0..3_usize, 0..5_u64), 1..6),
        moved_us in -3000..20_000_i64,
    ) {
        let policies = if changed { new } else { old };
        let mut stored = [StoredBucket::default(); 3];
        for i in 0..3 {
            stored[i].decide(Algorithm::Leaky, old[i], Request::Partial(tokens(used[i].max(1))), START_US);
        }
        let now_us = START_US.saturating_add_signed(moved_us);
        let mut stored_singly = stored;
        let singly = one_by_one(&mut stored_singly, &policies, &charges, now_us);
        let mut batch = open(&stored, &policies, now_us);
        let (denied, decisions) = decide(&mut batch, &charges);

        prop_assert_eq!(denied, singly.iter().position(|decision| decision.allowed == 0));
        prop_assert_eq!(decisions.len(), charges.len());
        if denied.is_none() {
            prop_assert_eq!(&decisions, &singly);
            for (bucket, (stored, singly)) in batch.iter().zip(stored.iter_mut().zip(&stored_singly)) {
                stored.apply(bucket.change());
                prop_assert_eq!(stored.state, singly.state);
            }
            return Ok(());
        }
        // Nothing is taken. Waiting for the longest retry_after passes, unless one of them is never.
        for (i, bucket) in batch.iter().enumerate() {
            let denies = charges.iter().zip(&decisions).any(|((charged, _), decision)| *charged == i && decision.allowed == 0);
            prop_assert!(denies || bucket.change() == Change::Nothing);
            stored[i].apply(bucket.change());
            let cost_0 = stored[i].try_decide(Algorithm::Leaky, policies[i], Request::Cost(tokens(0)), now_us).unwrap().0;
            for (_, decision) in charges.iter().zip(&decisions).filter(|((charged, _), _)| *charged == i) {
                prop_assert_eq!((decision.remaining, decision.reset_after_ms), (cost_0.remaining, cost_0.reset_after_ms));
            }
        }
        let waits: Option<Vec<u64>> = decisions.iter().map(|decision| decision.retry_after_ms).collect();
        let totals = (0..3).map(|i| charges.iter().filter(|charge| charge.0 == i).map(|charge| charge.1).sum::<u64>());
        let never = totals.zip(&policies).any(|(total, policy)| total > policy.capacity().get());
        prop_assert_eq!(waits.is_none(), never);
        if let Some(wait_ms) = waits.and_then(|waits| waits.into_iter().max()) {
            let at = |ms: u64| decide(&mut open(&stored, &policies, now_us + ms * 1000), &charges).0;
            prop_assert_eq!(at(wait_ms), None);
            prop_assert!(at(wait_ms - 1).is_some());
        }
    }
}

#[test]
fn charges_on_one_bucket_add_up() {
    let policy = crate::policy(1, 1_000_000, 5);
    let stored = [StoredBucket::default()];
    let open = || open(&stored, &[policy], START_US);
    let (denied, decisions) = decide(&mut open(), &[(0, 3), (0, 2)]);
    assert_eq!(
        (
            denied,
            decisions[0].remaining,
            decisions[1].remaining,
            decisions[1].delay_ms
        ),
        (None, 2, 0, 3000)
    );
    let (denied, decisions) = decide(&mut open(), &[(0, 3), (0, 3)]);
    assert_eq!(
        (denied, decisions[0].allowed, decisions[1].allowed),
        (Some(1), 1, 0)
    );
    assert_eq!(
        (
            decisions[0].remaining,
            decisions[1].remaining,
            decisions[1].retry_after_ms
        ),
        (5, 5, None)
    );
}
