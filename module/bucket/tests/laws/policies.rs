//! A rate or a capacity that changes under a live bucket.

use proptest::prelude::*;
use rl_bucket::{Algorithm, Change, Request};

use crate::{Kept, NOON_US, policy, small_policy, tokens};

proptest! {
    #[test]
    fn a_changed_policy_locks_nobody_out_for_longer_than_retry_after(
        old in small_policy(), new in small_policy(), used in 1..13_u64, later_us in 0..20_000_u64, cost in 1..13_u64,
    ) {
        let mut kept = Kept::default();
        kept.ask(Algorithm::Token, old, Request::Partial(tokens(used)), NOON_US);
        let now_us = NOON_US + later_us;
        let told = kept.take(new, cost, now_us);
        if let (0, Some(wait_ms)) = (told.allowed, told.retry_after_ms) {
            let mut early = kept;
            prop_assert_eq!(early.take(new, cost, now_us + (wait_ms - 1) * 1000).allowed, 0);
            prop_assert_eq!(kept.take(new, cost, now_us + wait_ms * 1000).allowed, 1);
        }
    }

    #[test]
    fn a_denial_under_another_capacity_changes_nothing(old in small_policy(), capacity in 1..13_u64, cost in 1..13_u64) {
        let new = policy(old.rate().count(), old.rate().period_us(), capacity);
        let mut kept = Kept::default();
        kept.ask(Algorithm::Token, old, Request::Partial(tokens(12)), NOON_US);
        let (decision, change) = kept.try_ask(Algorithm::Token, new, Request::Cost(tokens(cost)), NOON_US).unwrap();
        prop_assert_eq!(decision.allowed == 0, change == Change::Nothing);
    }
}

#[test]
fn time_until_now_counts_at_the_old_rate_and_from_now_on_at_the_new_one() {
    let (fast, slow) = (policy(10, 1_000_000, 20), policy(1, 1_000_000, 20));
    let mut kept = Kept::default();
    kept.take(fast, 20, NOON_US);
    let told = kept.take(slow, 20, NOON_US + 1_000_000);
    assert_eq!(
        (told.allowed, told.remaining, told.retry_after_ms),
        (0, 10, Some(10_000))
    );
    assert_eq!(kept.take(slow, 0, NOON_US + 2_000_000).remaining, 11);
}

#[test]
fn a_larger_capacity_gives_the_difference_at_once_and_a_smaller_one_takes_it_back() {
    let (small, large) = (policy(1, 1_000_000, 5), policy(1, 1_000_000, 8));
    let mut kept = Kept::default();
    kept.take(small, 5, NOON_US);
    assert_eq!(kept.take(large, 3, NOON_US).allowed, 1);
    let told = kept.take(small, 1, NOON_US);
    assert_eq!(
        (told.allowed, told.remaining, told.retry_after_ms),
        (0, 0, Some(4000))
    );
}

#[test]
fn a_coarser_unit_rounds_against_the_caller() {
    let (fine, coarse) = (policy(1, 1000, 10), policy(1, 1, 10));
    let mut kept = Kept::default();
    kept.take(fine, 1, NOON_US);
    // 999/1000 of a token is left used after a microsecond: a whole one in the new unit.
    let told = kept.take(coarse, 10, NOON_US + 1);
    assert_eq!((told.allowed, told.remaining), (0, 9));
}

#[test]
fn an_emptied_bucket_is_new_even_under_another_rate() {
    let mut kept = Kept::default();
    kept.take(policy(1, 1000, 5), 1, NOON_US);
    for request in [Request::Cost(tokens(6)), Request::Refund(tokens(1))] {
        let (_, change) = kept
            .try_ask(
                Algorithm::Token,
                policy(3, 1000, 5),
                request,
                NOON_US + 1000,
            )
            .unwrap();
        assert_eq!(change, Change::Nothing);
    }
}

#[test]
fn a_refund_stops_at_new_and_leaves_no_state() {
    let policy = policy(1, 1_000_000, 5);
    let mut kept = Kept::default();
    let refund = |n| Request::Refund(tokens(n));
    assert_eq!(
        kept.try_ask(Algorithm::Token, policy, refund(3), NOON_US)
            .unwrap()
            .1,
        Change::Nothing
    );
    kept.take(policy, 4, NOON_US);
    assert_eq!(
        kept.ask(Algorithm::Token, policy, refund(3), NOON_US)
            .remaining,
        4
    );
    assert_eq!(
        kept.ask(Algorithm::Token, policy, refund(3), NOON_US)
            .remaining,
        5
    );
    assert_eq!(kept.state, None);
}

#[test]
fn nothing_passes_until_a_debt_is_paid() {
    let policy = policy(1, 1_000_000, 5);
    let mut kept = Kept::default();
    let told = kept.ask(Algorithm::Token, policy, Request::Force(tokens(8)), NOON_US);
    assert_eq!(
        (told.allowed, told.remaining, told.reset_after_ms),
        (1, 0, 8000)
    );
    let told = kept.take(policy, 0, NOON_US);
    assert_eq!((told.allowed, told.retry_after_ms), (0, Some(3000)));
    assert_eq!(
        kept.ask(
            Algorithm::Token,
            policy,
            Request::Partial(tokens(2)),
            NOON_US
        )
        .retry_after_ms,
        Some(4000)
    );
    assert_eq!(kept.take(policy, 0, NOON_US + 3_000_000).allowed, 1);
}

#[test]
fn the_largest_debt_is_2_to_the_48_less_1_tokens_in_all() {
    let largest = rl_bucket::Tokens::MAX;
    let policy = policy(1, largest.get(), 1);
    let mut kept = Kept::default();
    assert_eq!(
        kept.ask(Algorithm::Token, policy, Request::Force(largest), NOON_US)
            .allowed,
        1
    );
    let more = kept.try_ask(Algorithm::Token, policy, Request::Force(tokens(1)), NOON_US);
    assert_eq!(more, Err(rl_bucket::DebtTooLarge));
    // Even so every other period can hold it.
    let told = kept.take(crate::policy(1, 1, 1), 1, NOON_US);
    assert_eq!(told.retry_after_ms, Some(largest.get().div_ceil(1000)));
}
