//! P4 and the other times in a decision: waits, resets and delays are exact to the millisecond.

use proptest::prelude::*;
use rl_bucket::{Algorithm, Policy, Request};

use crate::{START_US, StoredBucket, any_policy, policy, small_policy, tokens};

/// A bucket with a past of costs and debts, in which the clock may have gone back.
fn used_bucket(
    algorithm: Algorithm,
    policy: Policy,
    past: &[(i64, u64, bool)],
) -> (StoredBucket, u64) {
    let (mut bucket, mut now_us) = (StoredBucket::default(), START_US);
    for (moved_us, n, force) in past {
        now_us = now_us.saturating_add_signed(*moved_us);
        let request = if *force {
            Request::Force(tokens(*n))
        } else {
            Request::Cost(tokens(*n))
        };
        bucket.decide(algorithm, policy, request, now_us);
    }
    (bucket, now_us)
}

fn past() -> impl Strategy<Value = Vec<(i64, u64, bool)>> {
    prop::collection::vec(
        (-9000..20_000_i64, 1..12_u64, prop::bool::weighted(0.2)),
        0..12,
    )
}

proptest! {
    #[test]
    fn retry_after_is_the_shortest_wait_that_passes(
        policy in small_policy(), past in past(), cost in 1..13_u64, partial in any::<bool>(),
    ) {
        let (mut bucket, now_us) = used_bucket(Algorithm::Token, policy, &past);
        let request = if partial { Request::Partial(tokens(cost)) } else { Request::Cost(tokens(cost)) };
        let denied = bucket.decide(Algorithm::Token, policy, request, now_us);
        prop_assume!(denied.allowed == 0);
        let Some(wait_ms) = denied.retry_after_ms else {
            prop_assert!(!partial && cost > policy.capacity().get());
            return Ok(());
        };
        let at = |ms: u64| {
            let mut later = bucket;
            later.decide(Algorithm::Token, policy, request, now_us + ms * 1000).allowed
        };
        prop_assert!(wait_ms >= 1);
        prop_assert!(at(wait_ms) >= 1, "denied after waiting {} ms", wait_ms);
        prop_assert_eq!(at(wait_ms - 1), 0, "allowed after {} of {} ms", wait_ms - 1, wait_ms);
    }

    #[test]
    fn after_reset_after_the_bucket_equals_a_new_one(policy in small_policy(), past in past(), cost in 1..13_u64) {
        let (mut bucket, now_us) = used_bucket(Algorithm::Leaky, policy, &past);
        let decision = bucket.decide(Algorithm::Leaky, policy, Request::Cost(tokens(cost)), now_us);
        let later_us = now_us + decision.reset_after_ms * 1000;
        let (mut new, mut waited) = (StoredBucket::default(), bucket);
        prop_assert_eq!(
            waited.decide(Algorithm::Leaky, policy, Request::Cost(tokens(1)), later_us),
            new.decide(Algorithm::Leaky, policy, Request::Cost(tokens(1)), later_us)
        );
        prop_assert_eq!(waited.state, new.state);
    }

    #[test]
    fn resets_at_is_exact_to_the_millisecond(policy in small_policy(), past in past()) {
        let (bucket, now_us) = used_bucket(Algorithm::Token, policy, &past);
        let Some(state) = bucket.state else { return Ok(()) };
        let used_at = |at_us| {
            let mut peek = bucket;
            peek.decide(Algorithm::Token, policy, Request::Cost(tokens(0)), at_us).reset_after_ms > 0
        };
        let deadline_us = state.resets_at_ms() * 1000;
        prop_assert!(!used_at(deadline_us));
        prop_assert!(now_us + 1000 > deadline_us || used_at(deadline_us - 1000));
    }

    /// P10: not before the bucket is full again, and late by at most an eighth of the time that the whole capacity
    /// takes.
    #[test]
    fn the_deadline_is_late_by_at_most_an_eighth(policy in any_policy(), n in any::<u64>()) {
        let mut bucket = StoredBucket::default();
        bucket.decide(Algorithm::Token, policy, Request::Force(tokens(1 + n % policy.capacity().get())), START_US);
        let state = bucket.state.expect("something was taken");
        let (resets_ms, deadline_ms) = (state.resets_at_ms(), state.deadline_ms());
        let full_us = u128::from(policy.capacity().get()) * u128::from(policy.rate().period_us()) / u128::from(policy.rate().count());
        prop_assert!(deadline_ms >= resets_ms);
        prop_assert!(u128::from(deadline_ms - resets_ms) * 8000 <= full_us);
    }

    /// A deadline that moved with every request would have to be written with every request.
    #[test]
    fn the_deadline_of_a_busy_bucket_rarely_moves(policy in small_policy().prop_filter("long enough", |policy| policy.capacity().get() * policy.rate().period_us() / policy.rate().count() > 64_000)) {
        let full_us = policy.capacity().get() * policy.rate().period_us() / policy.rate().count();
        let (mut bucket, mut deadlines) = (StoredBucket::default(), std::collections::BTreeSet::new());
        for us in (0..2 * full_us).step_by(500) {
            bucket.take(policy, 1, START_US + us);
            deadlines.extend(bucket.state.map(|state| state.deadline_ms()));
        }
        prop_assert!(deadlines.len() <= 3 * 32 + 1, "{} deadlines", deadlines.len());
    }

    /// Delays make a queue: a request leaves no earlier than the request before it has leaked.
    #[test]
    fn delays_space_requests_at_the_rate(policy in small_policy(), steps in prop::collection::vec((0..20_000_u64, 1..5_u64), 1..60)) {
        let (mut bucket, mut now_us) = (StoredBucket::default(), START_US);
        let mut before: Option<(u64, u64)> = None;
        for (moved_us, cost) in steps {
            now_us += moved_us;
            let decision = bucket.decide(Algorithm::Leaky, policy, Request::Cost(tokens(cost)), now_us);
            if decision.allowed == 0 {
                prop_assert_eq!(decision.delay_ms, 0);
                continue;
            }
            let leaves_us = now_us + decision.delay_ms * 1000;
            if let Some((earlier_us, earlier_cost)) = before {
                let apart_us = earlier_cost * policy.rate().period_us() / policy.rate().count();
                prop_assert!(leaves_us + 1000 >= earlier_us + apart_us, "{} after {}", leaves_us, earlier_us);
            }
            before = Some((leaves_us, cost));
        }
    }

    #[test]
    fn a_denial_changes_nothing(policy in small_policy(), past in past(), cost in 0..13_u64) {
        let (mut bucket, now_us) = used_bucket(Algorithm::Token, policy, &past);
        // The first denial records a clock that stepped back too far; a second has nothing more to record.
        bucket.take(policy, 0, now_us);
        let before = bucket.state;
        if bucket.take(policy, cost, now_us).allowed == 0 {
            prop_assert_eq!(bucket.state, before);
        }
    }

    #[test]
    fn a_clock_set_back_adds_no_tokens_and_bounds_the_wait(
        policy in small_policy(), used in 1..13_u64, back_us in 0..10_000_000_u64,
    ) {
        let mut bucket = StoredBucket::default();
        let before = bucket.decide(Algorithm::Token, policy, Request::Partial(tokens(used)), START_US).remaining;
        let decision = bucket.take(policy, policy.capacity().get(), START_US - back_us);
        prop_assert_eq!(decision.remaining, before);
        let full_us = policy.capacity().get() * policy.rate().period_us() / policy.rate().count() + 1;
        prop_assert!(decision.reset_after_ms * 1000 <= 2 * full_us + 999, "{:?}", decision);
    }
}

#[test]
fn five_leaky_requests_get_evenly_spaced_delays() {
    let policy = policy(10, 1_000_000, 5);
    let mut bucket = StoredBucket::default();
    let decisions: Vec<_> = (0..6)
        .map(|_| bucket.decide(Algorithm::Leaky, policy, Request::Cost(tokens(1)), START_US))
        .collect();
    assert_eq!(
        decisions
            .iter()
            .map(|decision| decision.delay_ms)
            .collect::<Vec<_>>(),
        [0, 100, 200, 300, 400, 0]
    );
    assert_eq!(
        decisions
            .iter()
            .map(|decision| decision.allowed)
            .collect::<Vec<_>>(),
        [1, 1, 1, 1, 1, 0]
    );
    assert_eq!(decisions[5].retry_after_ms, Some(100));
}

#[test]
fn waits_and_deadlines_above_2_to_the_63_are_capped() {
    let policy = policy(1, 60_000_000, 5);
    let mut bucket = StoredBucket::default();
    let decision = bucket.decide(
        Algorithm::Leaky,
        policy,
        Request::Force(rl_bucket::Tokens::MAX),
        START_US,
    );
    assert_eq!(decision.reset_after_ms, rl_bucket::Decision::LONGEST_MS);
    let state = bucket.state.unwrap();
    assert_eq!(state.resets_at_ms(), i64::MAX.unsigned_abs());
    assert_eq!(state.deadline_ms(), i64::MAX.unsigned_abs());
}

#[test]
fn time_that_repeats_counts_once() {
    let policy = policy(1, 1_000_000, 5);
    let mut bucket = StoredBucket::default();
    bucket.take(policy, 3, START_US);
    assert_eq!(bucket.take(policy, 1, START_US - 2_000_000).remaining, 1);
    assert_eq!(bucket.take(policy, 0, START_US).remaining, 1);
}

#[test]
fn an_hour_forward_admits_one_burst_and_no_more() {
    let policy = policy(10, 1_000_000, 20);
    let mut bucket = StoredBucket::default();
    bucket.decide(
        Algorithm::Token,
        policy,
        Request::Force(tokens(25)),
        START_US,
    );
    let later_us = START_US + 3_600_000_000;
    assert_eq!(bucket.take(policy, 20, later_us).allowed, 1);
    assert_eq!(bucket.take(policy, 1, later_us).allowed, 0);
}

#[test]
fn a_burst_of_one_admits_one() {
    let policy = policy(1, 1_000_000, 1);
    let mut bucket = StoredBucket::default();
    let allowed: u64 = (0..1000)
        .map(|us| bucket.take(policy, 1, START_US + us).allowed)
        .sum();
    assert_eq!(allowed, 1);
}

#[test]
fn a_partial_request_takes_whole_tokens_and_keeps_the_fraction() {
    let policy = policy(1, 1_000_000, 5);
    let mut bucket = StoredBucket::default();
    bucket.take(policy, 5, START_US);
    let later_us = START_US + 1_700_000;
    assert_eq!(
        bucket
            .decide(
                Algorithm::Token,
                policy,
                Request::Partial(tokens(9)),
                later_us
            )
            .allowed,
        1
    );
    assert_eq!(bucket.take(policy, 1, later_us + 299_999).allowed, 0);
    assert_eq!(bucket.take(policy, 1, later_us + 300_000).allowed, 1);
}

#[test]
fn exact_seconds_are_not_rounded_up() {
    let policy = policy(1, 1_000_000, 1);
    let mut bucket = StoredBucket::default();
    assert_eq!(bucket.take(policy, 1, START_US).reset_after_ms, 1000);
    assert_eq!(bucket.take(policy, 1, START_US).retry_after_ms, Some(1000));
    assert_eq!(
        bucket.take(policy, 1, START_US + 999_999).retry_after_ms,
        Some(1)
    );
    assert_eq!(bucket.take(policy, 1, START_US + 1_000_000).allowed, 1);
}
