//! Random sequences: every decision equals the oracle's, whatever came before it.

use proptest::prelude::*;
use rl_bucket::{Algorithm, Policy, Request, Tokens};

use crate::oracle::Oracle;
use crate::{START_US, StoredBucket, any_policy, small_policy, tokens};

/// One step: how far the clock moves (also back), under which of the policies, and the request.
type Step = (i64, usize, Request);

fn request(largest: u64) -> impl Strategy<Value = Request> {
    prop_oneof![
        4 => (0..=largest).prop_map(|n| Request::Cost(tokens(n))),
        1 => (1..=largest).prop_map(|n| Request::Partial(tokens(n))),
        1 => (1..=largest).prop_map(|n| Request::Force(tokens(n))),
        1 => (1..=largest).prop_map(|n| Request::Refund(tokens(n))),
    ]
}

fn steps(far_us: i64, largest: u64) -> impl Strategy<Value = Vec<Step>> {
    let moved_us =
        prop_oneof![2 => Just(0), 4 => 0..=far_us / 50, 2 => 0..=far_us, 1 => -far_us..=0];
    prop::collection::vec((moved_us, 0..3_usize, request(largest)), 1..60)
}

/// Runs the same steps on the crate and the oracle. Buckets expire in both as in Redis.
fn replay(
    algorithm: Algorithm,
    policies: &[Policy; 3],
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let (mut bucket, mut oracle) = (StoredBucket::default(), Oracle::NEW);
    let mut now_us = START_US;
    for (i, (moved_us, which, request)) in steps.iter().enumerate() {
        now_us = now_us.saturating_add_signed(*moved_us);
        if bucket.expire(now_us) {
            oracle.expire(now_us);
        }
        let policy = policies[*which];
        let expected = oracle.decide(algorithm, policy, *request, now_us);
        let result = bucket.try_decide(algorithm, policy, *request, now_us).ok();
        prop_assert_eq!(
            result.map(|(decision, _)| decision),
            expected,
            "step {}: {:?}",
            i,
            request
        );
        if let Some((_, change)) = result {
            bucket.apply(change);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn one_policy_matches_the_oracle(policy in small_policy(), steps in steps(100_000, 14)) {
        replay(Algorithm::Token, &[policy; 3], &steps)?;
        replay(Algorithm::Leaky, &[policy; 3], &steps)?;
    }

    #[test]
    fn alternating_policies_match_the_oracle(
        policies in [small_policy(), small_policy(), small_policy()],
        steps in steps(100_000, 14),
    ) {
        replay(Algorithm::Token, &policies, &steps)?;
        replay(Algorithm::Leaky, &policies, &steps)?;
    }

    #[test]
    fn numbers_near_their_limits_match_the_oracle(
        policies in [any_policy(), any_policy(), any_policy()],
        steps in steps(i64::MAX / 64, Tokens::MAX.get()),
    ) {
        replay(Algorithm::Token, &policies, &steps)?;
        replay(Algorithm::Leaky, &policies, &steps)?;
    }
}
