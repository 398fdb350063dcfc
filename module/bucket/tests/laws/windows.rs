//! P1 and P2: what may be admitted in any span of time, computed from the history of admissions and not from a bucket.

use num_rational::BigRational;
use proptest::prelude::*;
use rl_bucket::{Algorithm, Policy, Request};

use crate::oracle::integer;
use crate::{START_US, StoredBucket, policy, small_policy, tokens};

/// Each admitted cost, with the total distance that the clock had moved forward by then.
#[derive(Default)]
struct History(Vec<(u64, u64)>);

impl History {
    fn admit(&mut self, cost: u64, forward_us: u64) {
        self.0.push((cost, forward_us));
    }

    /// Whether `cost` more would exceed capacity + rate x distance in the span since any earlier admission.
    fn would_overflow(
        &self,
        cost: u64,
        forward_us: u64,
        capacity: u64,
        tokens_per_us: &BigRational,
    ) -> bool {
        let mut admitted = cost;
        admitted > capacity
            || self.0.iter().rev().any(|(earlier, since_us)| {
                admitted += earlier;
                integer(admitted)
                    > integer(capacity) + tokens_per_us * integer(forward_us - since_us)
            })
    }
}

fn tokens_per_us(policy: Policy) -> BigRational {
    BigRational::new(
        policy.rate().count().into(),
        policy.rate().period_us().into(),
    )
}

proptest! {
    /// This defines both buckets: a request is allowed exactly if no span that ends now would hold too much. So no
    /// fraction of a token is lost.
    #[test]
    fn a_request_is_allowed_exactly_when_no_span_overflows(
        policy in small_policy(),
        steps in prop::collection::vec((0..30_000_u64, 1..5_u64), 1..80),
    ) {
        let (mut bucket, mut history, mut forward_us) = (StoredBucket::default(), History::default(), 0);
        for (moved_us, cost) in steps {
            forward_us += moved_us;
            bucket.expire(START_US + forward_us);
            let allowed = bucket.take(policy, cost, START_US + forward_us).allowed == 1;
            let overflows = history.would_overflow(cost, forward_us, policy.capacity().get(), &tokens_per_us(policy));
            prop_assert_eq!(allowed, !overflows);
            if allowed {
                history.admit(cost, forward_us);
            }
        }
    }

    /// Whatever policies share one bucket, and however its clock moves, no span admits more than the largest capacity
    /// plus the largest rate times the distance that the clock moved forward. Buckets expire as in Redis.
    #[test]
    fn policy_and_clock_changes_admit_nothing_extra(
        policies in [small_policy(), small_policy()],
        steps in prop::collection::vec((-20_000..30_000_i64, 0..2_usize, 1..5_u64, any::<bool>()), 1..80),
    ) {
        let capacity = policies.iter().map(|policy| policy.capacity().get()).max().unwrap();
        let rate = policies.iter().map(|policy| tokens_per_us(*policy)).max().unwrap();
        let (mut bucket, mut history, mut forward_us, mut now_us) = (StoredBucket::default(), History::default(), 0, START_US);
        for (moved_us, which, cost, partial) in steps {
            now_us = now_us.saturating_add_signed(moved_us);
            forward_us += u64::try_from(moved_us).unwrap_or(0);
            bucket.expire(now_us);
            let request = if partial { Request::Partial(tokens(cost)) } else { Request::Cost(tokens(cost)) };
            let allowed = bucket.decide(Algorithm::Token, policies[which], request, now_us).allowed;
            let admitted = if partial { allowed } else { allowed * cost };
            if admitted > 0 {
                prop_assert!(!history.would_overflow(admitted, forward_us, capacity, &rate));
                history.admit(admitted, forward_us);
            }
        }
    }

    #[test]
    fn cost_n_equals_n_requests_of_cost_1(policy in small_policy(), used in 0..12_u64, n in 1..12_u64, later_us in 0..50_000_u64) {
        let mut one_by_one = StoredBucket::default();
        one_by_one.decide(Algorithm::Token, policy, Request::Partial(tokens(used.max(1))), START_US);
        let mut at_once = one_by_one;
        let now_us = START_US + later_us;
        let all = (0..n).all(|_| one_by_one.take(policy, 1, now_us).allowed == 1);
        prop_assert_eq!(at_once.take(policy, n, now_us).allowed == 1, all);
        if all {
            prop_assert_eq!(at_once.state, one_by_one.state);
        }
    }

    #[test]
    fn both_algorithms_allow_the_same_requests(policy in small_policy(), steps in prop::collection::vec((-9000..30_000_i64, 0..9_u64), 1..60)) {
        let (mut token, mut leaky, mut now_us) = (StoredBucket::default(), StoredBucket::default(), START_US);
        for (moved_us, cost) in steps {
            now_us = now_us.saturating_add_signed(moved_us);
            let taken = token.take(policy, cost, now_us);
            let poured = leaky.decide(Algorithm::Leaky, policy, Request::Cost(tokens(cost)), now_us);
            prop_assert_eq!(taken, rl_bucket::Decision { delay_ms: 0, ..poured });
        }
    }
}

/// One call each microsecond, at a rate that is not a whole number of tokens per microsecond, on a bucket that is never
/// full, so that every fraction counts. Ten million calls, or `RL_CALLS`.
#[test]
fn no_fraction_is_lost_over_many_calls() {
    let policy = policy(333_333, 1_000_000, 2);
    let mut bucket = StoredBucket::default();
    let calls =
        std::env::var("RL_CALLS").map_or(10_000_000, |calls| calls.parse().expect("a number"));
    let admitted: u64 = (0..calls)
        .map(|us| bucket.take(policy, 1, START_US + us).allowed)
        .sum();
    assert_eq!(admitted, 2 + (calls - 1) * 333_333 / 1_000_000);
}
