//! P4 and what else a caller is told: waits, resets and delays hold to the millisecond.

use proptest::prelude::*;
use rl_bucket::{Algorithm, Policy, Request};

use crate::{Kept, NOON_US, any_policy, policy, small_policy, tokens};

/// A bucket with a past: some costs, some debt, perhaps a clock that has gone back.
fn used_bucket(algorithm: Algorithm, policy: Policy, past: &[(i64, u64, bool)]) -> (Kept, u64) {
    let (mut kept, mut now_us) = (Kept::default(), NOON_US);
    for (moved_us, n, force) in past {
        now_us = now_us.saturating_add_signed(*moved_us);
        let request = if *force {
            Request::Force(tokens(*n))
        } else {
            Request::Cost(tokens(*n))
        };
        kept.ask(algorithm, policy, request, now_us);
    }
    (kept, now_us)
}

fn past() -> impl Strategy<Value = Vec<(i64, u64, bool)>> {
    prop::collection::vec(
        (-9000..20_000_i64, 1..12_u64, prop::bool::weighted(0.2)),
        0..12,
    )
}

proptest! {
    #[test]
    fn waiting_retry_after_passes_and_a_millisecond_less_does_not(
        policy in small_policy(), past in past(), cost in 1..13_u64, partial in any::<bool>(),
    ) {
        let (mut kept, now_us) = used_bucket(Algorithm::Token, policy, &past);
        let request = if partial { Request::Partial(tokens(cost)) } else { Request::Cost(tokens(cost)) };
        let denied = kept.ask(Algorithm::Token, policy, request, now_us);
        prop_assume!(denied.allowed == 0);
        let Some(wait_ms) = denied.retry_after_ms else {
            prop_assert!(!partial && cost > policy.capacity().get());
            return Ok(());
        };
        let at = |ms: u64| {
            let mut later = kept;
            later.ask(Algorithm::Token, policy, request, now_us + ms * 1000).allowed
        };
        prop_assert!(wait_ms >= 1);
        prop_assert!(at(wait_ms) >= 1, "denied after waiting {} ms", wait_ms);
        prop_assert_eq!(at(wait_ms - 1), 0, "allowed after {} of {} ms", wait_ms - 1, wait_ms);
    }

    #[test]
    fn after_reset_after_the_bucket_is_as_new(policy in small_policy(), past in past(), cost in 1..13_u64) {
        let (mut kept, now_us) = used_bucket(Algorithm::Leaky, policy, &past);
        let told = kept.ask(Algorithm::Leaky, policy, Request::Cost(tokens(cost)), now_us);
        let later_us = now_us + told.reset_after_ms * 1000;
        let (mut fresh, mut waited) = (Kept::default(), kept);
        prop_assert_eq!(
            waited.ask(Algorithm::Leaky, policy, Request::Cost(tokens(1)), later_us),
            fresh.ask(Algorithm::Leaky, policy, Request::Cost(tokens(1)), later_us)
        );
        prop_assert_eq!(waited.state, fresh.state);
    }

    #[test]
    fn the_key_lives_until_the_bucket_is_as_new_and_no_millisecond_longer(policy in small_policy(), past in past()) {
        let (kept, now_us) = used_bucket(Algorithm::Token, policy, &past);
        let Some(state) = kept.state else { return Ok(()) };
        let used_at = |at_us| {
            let mut peek = kept;
            peek.ask(Algorithm::Token, policy, Request::Cost(tokens(0)), at_us).reset_after_ms > 0
        };
        let deadline_us = state.as_new_at_ms() * 1000;
        prop_assert!(!used_at(deadline_us));
        prop_assert!(now_us + 1000 > deadline_us || used_at(deadline_us - 1000));
    }

    /// P10: not before the bucket is as new, and at most an eighth of the time from full, and a millisecond, after.
    #[test]
    fn the_deadline_is_at_most_an_eighth_of_the_time_from_full_late(policy in any_policy(), n in any::<u64>()) {
        let mut kept = Kept::default();
        kept.ask(Algorithm::Token, policy, Request::Force(tokens(1 + n % policy.capacity().get())), NOON_US);
        let state = kept.state.expect("something was taken");
        let (as_new_ms, deadline_ms) = (state.as_new_at_ms(), state.deadline_ms());
        let full_us = u128::from(policy.capacity().get()) * u128::from(policy.rate().period_us()) / u128::from(policy.rate().count());
        prop_assert!(deadline_ms >= as_new_ms);
        prop_assert!(u128::from(deadline_ms - as_new_ms) * 8000 <= full_us);
    }

    /// One that moved with every request would have to be written with every request.
    #[test]
    fn the_deadline_of_a_bucket_in_use_seldom_moves(policy in small_policy().prop_filter("long enough", |policy| policy.capacity().get() * policy.rate().period_us() / policy.rate().count() > 64_000)) {
        let full_us = policy.capacity().get() * policy.rate().period_us() / policy.rate().count();
        let (mut kept, mut deadlines) = (Kept::default(), std::collections::BTreeSet::new());
        for us in (0..2 * full_us).step_by(500) {
            kept.take(policy, 1, NOON_US + us);
            deadlines.extend(kept.state.map(|state| state.deadline_ms()));
        }
        prop_assert!(deadlines.len() <= 3 * 32 + 1, "{} deadlines", deadlines.len());
    }

    /// Delays make a queue: each goes out at least the emission intervals of the one before it later.
    #[test]
    fn the_spacing_law(policy in small_policy(), steps in prop::collection::vec((0..20_000_u64, 1..5_u64), 1..60)) {
        let (mut kept, mut now_us) = (Kept::default(), NOON_US);
        let mut before: Option<(u64, u64)> = None;
        for (moved_us, cost) in steps {
            now_us += moved_us;
            let told = kept.ask(Algorithm::Leaky, policy, Request::Cost(tokens(cost)), now_us);
            if told.allowed == 0 {
                prop_assert_eq!(told.delay_ms, 0);
                continue;
            }
            let out_us = now_us + told.delay_ms * 1000;
            if let Some((earlier_us, earlier_cost)) = before {
                let apart_us = earlier_cost * policy.rate().period_us() / policy.rate().count();
                prop_assert!(out_us + 1000 >= earlier_us + apart_us, "{} after {}", out_us, earlier_us);
            }
            before = Some((out_us, cost));
        }
    }

    #[test]
    fn a_denial_changes_nothing(policy in small_policy(), past in past(), cost in 0..13_u64) {
        let (mut kept, now_us) = used_bucket(Algorithm::Token, policy, &past);
        // The first denial records a clock that stepped back too far; a second has nothing more to record.
        kept.take(policy, 0, now_us);
        let before = kept.state;
        if kept.take(policy, cost, now_us).allowed == 0 {
            prop_assert_eq!(kept.state, before);
        }
    }

    #[test]
    fn a_clock_that_goes_back_makes_no_tokens_and_locks_nobody_out_for_longer_than_full_takes(
        policy in small_policy(), used in 1..13_u64, back_us in 0..10_000_000_u64,
    ) {
        let mut kept = Kept::default();
        let before = kept.ask(Algorithm::Token, policy, Request::Partial(tokens(used)), NOON_US).remaining;
        let told = kept.take(policy, policy.capacity().get(), NOON_US - back_us);
        prop_assert_eq!(told.remaining, before);
        let full_us = policy.capacity().get() * policy.rate().period_us() / policy.rate().count() + 1;
        prop_assert!(told.reset_after_ms * 1000 <= 2 * full_us + 999, "{:?}", told);
    }
}

#[test]
fn five_requests_at_once_leave_a_leaky_bucket_evenly() {
    let policy = policy(10, 1_000_000, 5);
    let mut kept = Kept::default();
    let told: Vec<_> = (0..6)
        .map(|_| kept.ask(Algorithm::Leaky, policy, Request::Cost(tokens(1)), NOON_US))
        .collect();
    assert_eq!(
        told.iter().map(|told| told.delay_ms).collect::<Vec<_>>(),
        [0, 100, 200, 300, 400, 0]
    );
    assert_eq!(
        told.iter().map(|told| told.allowed).collect::<Vec<_>>(),
        [1, 1, 1, 1, 1, 0]
    );
    assert_eq!(told[5].retry_after_ms, Some(100));
}

#[test]
fn waits_and_deadlines_between_2_to_the_63_and_2_to_the_64_are_capped() {
    let policy = policy(1, 60_000_000, 5);
    let mut kept = Kept::default();
    let told = kept.ask(
        Algorithm::Leaky,
        policy,
        Request::Force(rl_bucket::Tokens::MAX),
        NOON_US,
    );
    assert_eq!(told.reset_after_ms, rl_bucket::Decision::LONGEST_MS);
    let state = kept.state.unwrap();
    assert_eq!(state.as_new_at_ms(), i64::MAX.unsigned_abs());
    assert_eq!(state.deadline_ms(), i64::MAX.unsigned_abs());
}

#[test]
fn time_that_passes_twice_counts_once() {
    let policy = policy(1, 1_000_000, 5);
    let mut kept = Kept::default();
    kept.take(policy, 3, NOON_US);
    assert_eq!(kept.take(policy, 1, NOON_US - 2_000_000).remaining, 1);
    assert_eq!(kept.take(policy, 0, NOON_US).remaining, 1);
}

#[test]
fn an_hour_forward_gives_one_burst_and_no_more() {
    let policy = policy(10, 1_000_000, 20);
    let mut kept = Kept::default();
    kept.ask(
        Algorithm::Token,
        policy,
        Request::Force(tokens(25)),
        NOON_US,
    );
    let later_us = NOON_US + 3_600_000_000;
    assert_eq!(kept.take(policy, 20, later_us).allowed, 1);
    assert_eq!(kept.take(policy, 1, later_us).allowed, 0);
}

#[test]
fn a_burst_of_one_limits() {
    let policy = policy(1, 1_000_000, 1);
    let mut kept = Kept::default();
    let allowed: u64 = (0..1000)
        .map(|us| kept.take(policy, 1, NOON_US + us).allowed)
        .sum();
    assert_eq!(allowed, 1);
}

#[test]
fn a_partial_request_takes_whole_tokens_and_keeps_the_fraction() {
    let policy = policy(1, 1_000_000, 5);
    let mut kept = Kept::default();
    kept.take(policy, 5, NOON_US);
    let later_us = NOON_US + 1_700_000;
    assert_eq!(
        kept.ask(
            Algorithm::Token,
            policy,
            Request::Partial(tokens(9)),
            later_us
        )
        .allowed,
        1
    );
    assert_eq!(kept.take(policy, 1, later_us + 299_999).allowed, 0);
    assert_eq!(kept.take(policy, 1, later_us + 300_000).allowed, 1);
}

#[test]
fn whole_seconds_gain_no_millisecond() {
    let policy = policy(1, 1_000_000, 1);
    let mut kept = Kept::default();
    assert_eq!(kept.take(policy, 1, NOON_US).reset_after_ms, 1000);
    assert_eq!(kept.take(policy, 1, NOON_US).retry_after_ms, Some(1000));
    assert_eq!(
        kept.take(policy, 1, NOON_US + 999_999).retry_after_ms,
        Some(1)
    );
    assert_eq!(kept.take(policy, 1, NOON_US + 1_000_000).allowed, 1);
}
