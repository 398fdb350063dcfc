//! P1 and P2: what may be admitted in any span, decided from the history alone and not from any bucket.

use num_rational::BigRational;
use proptest::prelude::*;
use rl_bucket::{Algorithm, Policy, Request};

use crate::oracle::integer;
use crate::{Kept, NOON_US, policy, small_policy, tokens};

/// What was admitted, and how far the clock had by then moved forward in all.
#[derive(Default)]
struct History(Vec<(u64, u64)>);

impl History {
    fn admit(&mut self, cost: u64, forward_us: u64) {
        self.0.push((cost, forward_us));
    }

    /// Whether `cost` more would pass capacity + rate x distance in the span since any earlier admission.
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
    /// The definition of both buckets: allowed exactly when no span ending now would hold too much. No fraction is lost.
    #[test]
    fn a_request_is_allowed_exactly_when_no_span_overflows(
        policy in small_policy(),
        steps in prop::collection::vec((0..30_000_u64, 1..5_u64), 1..80),
    ) {
        let (mut kept, mut history, mut forward_us) = (Kept::default(), History::default(), 0);
        for (moved_us, cost) in steps {
            forward_us += moved_us;
            kept.expire(NOON_US + forward_us);
            let allowed = kept.take(policy, cost, NOON_US + forward_us).allowed == 1;
            let overflows = history.would_overflow(cost, forward_us, policy.capacity().get(), &tokens_per_us(policy));
            prop_assert_eq!(allowed, !overflows);
            if allowed {
                history.admit(cost, forward_us);
            }
        }
    }

    /// Whatever policies meet on one bucket and wherever its clock goes: never more than the largest capacity and rate
    /// over the distance that the clock moved forward, the key's expiry included.
    #[test]
    fn changing_policies_and_clocks_mint_nothing(
        policies in [small_policy(), small_policy()],
        steps in prop::collection::vec((-20_000..30_000_i64, 0..2_usize, 1..5_u64, any::<bool>()), 1..80),
    ) {
        let capacity = policies.iter().map(|policy| policy.capacity().get()).max().unwrap();
        let rate = policies.iter().map(|policy| tokens_per_us(*policy)).max().unwrap();
        let (mut kept, mut history, mut forward_us, mut now_us) = (Kept::default(), History::default(), 0, NOON_US);
        for (moved_us, which, cost, partial) in steps {
            now_us = now_us.saturating_add_signed(moved_us);
            forward_us += u64::try_from(moved_us).unwrap_or(0);
            kept.expire(now_us);
            let request = if partial { Request::Partial(tokens(cost)) } else { Request::Cost(tokens(cost)) };
            let allowed = kept.ask(Algorithm::Token, policies[which], request, now_us).allowed;
            let admitted = if partial { allowed } else { allowed * cost };
            if admitted > 0 {
                prop_assert!(!history.would_overflow(admitted, forward_us, capacity, &rate));
                history.admit(admitted, forward_us);
            }
        }
    }

    #[test]
    fn cost_n_at_once_is_n_times_one(policy in small_policy(), used in 0..12_u64, n in 1..12_u64, later_us in 0..50_000_u64) {
        let mut one_by_one = Kept::default();
        one_by_one.ask(Algorithm::Token, policy, Request::Partial(tokens(used.max(1))), NOON_US);
        let mut at_once = one_by_one;
        let now_us = NOON_US + later_us;
        let all = (0..n).all(|_| one_by_one.take(policy, 1, now_us).allowed == 1);
        prop_assert_eq!(at_once.take(policy, n, now_us).allowed == 1, all);
        if all {
            prop_assert_eq!(at_once.state, one_by_one.state);
        }
    }

    #[test]
    fn the_mirror_law(policy in small_policy(), steps in prop::collection::vec((-9000..30_000_i64, 0..9_u64), 1..60)) {
        let (mut token, mut leaky, mut now_us) = (Kept::default(), Kept::default(), NOON_US);
        for (moved_us, cost) in steps {
            now_us = now_us.saturating_add_signed(moved_us);
            let taken = token.take(policy, cost, now_us);
            let poured = leaky.ask(Algorithm::Leaky, policy, Request::Cost(tokens(cost)), now_us);
            prop_assert_eq!(taken, rl_bucket::Decision { delay_ms: 0, ..poured });
        }
    }
}

/// A call each microsecond, at a rate that does not divide it, to a bucket that is never full: every fraction counts.
/// Ten million calls, or as many as `RL_CALLS` says.
#[test]
fn no_fraction_is_lost_over_many_calls() {
    let policy = policy(333_333, 1_000_000, 2);
    let mut kept = Kept::default();
    let calls =
        std::env::var("RL_CALLS").map_or(10_000_000, |calls| calls.parse().expect("a number"));
    let admitted: u64 = (0..calls)
        .map(|us| kept.take(policy, 1, NOON_US + us).allowed)
        .sum();
    assert_eq!(admitted, 2 + (calls - 1) * 333_333 / 1_000_000);
}
