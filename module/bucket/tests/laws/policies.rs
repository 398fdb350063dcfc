//! A rate or a capacity that changes under a live bucket.

use proptest::prelude::*;
use rl_bucket::{Algorithm, Change, Request};

use crate::{START_US, StoredBucket, policy, small_policy, tokens};

proptest! {
    #[test]
    fn retry_after_holds_after_a_policy_change(
        old in small_policy(), new in small_policy(), used in 1..13_u64, later_us in 0..20_000_u64, cost in 1..13_u64,
    ) {
        let mut bucket = StoredBucket::default();
        bucket.decide(Algorithm::Token, old, Request::Partial(tokens(used)), START_US);
        let now_us = START_US + later_us;
        let decision = bucket.take(new, cost, now_us);
        if let (0, Some(wait_ms)) = (decision.allowed, decision.retry_after_ms) {
            let mut early = bucket;
            prop_assert_eq!(early.take(new, cost, now_us + (wait_ms - 1) * 1000).allowed, 0);
            prop_assert_eq!(bucket.take(new, cost, now_us + wait_ms * 1000).allowed, 1);
        }
    }

    #[test]
    fn a_denial_under_another_capacity_changes_nothing(old in small_policy(), capacity in 1..13_u64, cost in 1..13_u64) {
        let new = policy(old.rate().count(), old.rate().period_us(), capacity);
        let mut bucket = StoredBucket::default();
        bucket.decide(Algorithm::Token, old, Request::Partial(tokens(12)), START_US);
        let (decision, change) = bucket.try_decide(Algorithm::Token, new, Request::Cost(tokens(cost)), START_US).unwrap();
        prop_assert_eq!(decision.allowed == 0, change == Change::Nothing);
    }
}

#[test]
fn a_new_rate_applies_from_now_on() {
    let (fast, slow) = (policy(10, 1_000_000, 20), policy(1, 1_000_000, 20));
    let mut bucket = StoredBucket::default();
    bucket.take(fast, 20, START_US);
    let decision = bucket.take(slow, 20, START_US + 1_000_000);
    assert_eq!(
        (
            decision.allowed,
            decision.remaining,
            decision.retry_after_ms
        ),
        (0, 10, Some(10_000))
    );
    assert_eq!(bucket.take(slow, 0, START_US + 2_000_000).remaining, 11);
}

#[test]
fn a_capacity_change_applies_at_once() {
    let (small, large) = (policy(1, 1_000_000, 5), policy(1, 1_000_000, 8));
    let mut bucket = StoredBucket::default();
    bucket.take(small, 5, START_US);
    assert_eq!(bucket.take(large, 3, START_US).allowed, 1);
    let decision = bucket.take(small, 1, START_US);
    assert_eq!(
        (
            decision.allowed,
            decision.remaining,
            decision.retry_after_ms
        ),
        (0, 0, Some(4000))
    );
}

#[test]
fn a_coarser_unit_rounds_against_the_caller() {
    let (fine, coarse) = (policy(1, 1000, 10), policy(1, 1, 10));
    let mut bucket = StoredBucket::default();
    bucket.take(fine, 1, START_US);
    // After a microsecond 999/1000 of a token is still used: a whole token in the new unit.
    let decision = bucket.take(coarse, 10, START_US + 1);
    assert_eq!((decision.allowed, decision.remaining), (0, 9));
}

#[test]
fn a_full_bucket_is_new_even_under_another_rate() {
    let mut bucket = StoredBucket::default();
    bucket.take(policy(1, 1000, 5), 1, START_US);
    for request in [Request::Cost(tokens(6)), Request::Refund(tokens(1))] {
        let (_, change) = bucket
            .try_decide(
                Algorithm::Token,
                policy(3, 1000, 5),
                request,
                START_US + 1000,
            )
            .unwrap();
        assert_eq!(change, Change::Nothing);
    }
}

#[test]
fn a_refund_stops_at_full_and_leaves_no_state() {
    let policy = policy(1, 1_000_000, 5);
    let mut bucket = StoredBucket::default();
    let refund = |n| Request::Refund(tokens(n));
    assert_eq!(
        bucket
            .try_decide(Algorithm::Token, policy, refund(3), START_US)
            .unwrap()
            .1,
        Change::Nothing
    );
    bucket.take(policy, 4, START_US);
    assert_eq!(
        bucket
            .decide(Algorithm::Token, policy, refund(3), START_US)
            .remaining,
        4
    );
    assert_eq!(
        bucket
            .decide(Algorithm::Token, policy, refund(3), START_US)
            .remaining,
        5
    );
    assert_eq!(bucket.state, None);
}

#[test]
fn nothing_passes_until_a_debt_is_paid() {
    let policy = policy(1, 1_000_000, 5);
    let mut bucket = StoredBucket::default();
    let decision = bucket.decide(
        Algorithm::Token,
        policy,
        Request::Force(tokens(8)),
        START_US,
    );
    assert_eq!(
        (
            decision.allowed,
            decision.remaining,
            decision.reset_after_ms
        ),
        (1, 0, 8000)
    );
    let decision = bucket.take(policy, 0, START_US);
    assert_eq!((decision.allowed, decision.retry_after_ms), (0, Some(3000)));
    assert_eq!(
        bucket
            .decide(
                Algorithm::Token,
                policy,
                Request::Partial(tokens(2)),
                START_US
            )
            .retry_after_ms,
        Some(4000)
    );
    assert_eq!(bucket.take(policy, 0, START_US + 3_000_000).allowed, 1);
}

#[test]
fn the_largest_debt_is_tokens_max() {
    let largest = rl_bucket::Tokens::MAX;
    let policy = policy(1, largest.get(), 1);
    let mut bucket = StoredBucket::default();
    assert_eq!(
        bucket
            .decide(Algorithm::Token, policy, Request::Force(largest), START_US)
            .allowed,
        1
    );
    let more = bucket.try_decide(
        Algorithm::Token,
        policy,
        Request::Force(tokens(1)),
        START_US,
    );
    assert_eq!(more, Err(rl_bucket::DebtTooLarge));
    // Any other period can represent that debt.
    let decision = bucket.take(crate::policy(1, 1, 1), 1, START_US);
    assert_eq!(decision.retry_after_ms, Some(largest.get().div_ceil(1000)));
}
