//! DenyCache that Redis need not be asked for again: pure.

use std::time::{Duration, Instant};

use rl_bucket::{Algorithm, Decision, Policy, Tokens};

use super::table::Table;
use crate::limit::LimitRequest;

/// The longest that a denial is remembered, and so the longest that a refund made in Redis itself is not seen.
const LONGEST: Duration = Duration::from_secs(1);

/// What one caller was denied, and for how long that holds.
#[derive(Clone, Copy)]
struct Denial {
    algorithm: Algorithm,
    policy: Policy,
    cost: Tokens,
    decision: Decision,
    answered: Instant,
    until: Instant,
}

/// The denials of the callers that were denied last.
pub(super) struct DenyCache(Table<Denial>);

impl DenyCache {
    /// Remembers at most so many.
    pub(super) fn of(most: usize) -> Self {
        Self(Table::of(most))
    }

    /// The denial of just this, as it stands `now`.
    ///
    /// Any other question about the key may change its bucket, and so ends what is remembered of it.
    pub(super) fn recall(&self, asked: &LimitRequest, now: Instant) -> Option<Decision> {
        self.0.change(&asked.key, |known| {
            *known = known.filter(|denial| denial.holds(asked, now));
            known.map(|denial| denial.at(now))
        })
    }

    /// Remembers the answer to a call that was begun at `begun` and answered at `answered`, if it is a denial.
    pub(super) fn note(
        &self,
        asked: &LimitRequest,
        decision: &Decision,
        begun: Instant,
        answered: Instant,
    ) {
        let until = begun + holds_for(decision);
        if decision.allowed > 0 || until <= answered {
            return;
        }
        let denial = Denial {
            algorithm: asked.algorithm,
            policy: asked.policy,
            cost: asked.cost,
            decision: *decision,
            answered,
            until,
        };
        self.0.change(&asked.key, |known| *known = Some(denial));
    }
}

impl Denial {
    fn holds(&self, asked: &LimitRequest, now: Instant) -> bool {
        let same =
            (self.algorithm, self.policy, self.cost) == (asked.algorithm, asked.policy, asked.cost);
        same && now < self.until
    }

    /// What is told `now`: the waits are counted from when the answer was here, not from the call, so that none is too
    /// short.
    fn at(&self, now: Instant) -> Decision {
        let passed = now.saturating_duration_since(self.answered).as_millis();
        let passed_ms = u64::try_from(passed).unwrap_or(u64::MAX);
        Decision {
            retry_after_ms: self
                .decision
                .retry_after_ms
                .map(|ms| ms.saturating_sub(passed_ms).max(1)),
            reset_after_ms: self.decision.reset_after_ms.saturating_sub(passed_ms),
            ..self.decision
        }
    }
}

/// For how long from the call on Redis would deny the same: a millisecond less than its wait, which is rounded up.
fn holds_for(decision: &Decision) -> Duration {
    let retry_after = decision
        .retry_after_ms
        .map(|ms| Duration::from_millis(ms.saturating_sub(1)));
    retry_after.map_or(LONGEST, |wait| wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Capacity, Rate};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn asked(rate: &str, capacity: u64, cost: u64) -> LimitRequest {
        let policy = Rate::parse(rate.as_bytes()).zip(Capacity::new(capacity));
        LimitRequest {
            algorithm: Algorithm::Token,
            key: "k".to_owned(),
            policy: policy
                .map(|(rate, capacity)| Policy::new(rate, capacity))
                .unwrap(),
            cost: Tokens::new(cost).unwrap(),
        }
    }

    fn denied(retry_after_ms: Option<u64>) -> Decision {
        Decision {
            allowed: 0,
            limit: 5,
            remaining: 1,
            retry_after_ms,
            reset_after_ms: 4000,
            delay_ms: 0,
        }
    }

    /// One that was denied so, called at the instant that is returned and answered 10 ms later.
    fn after(retry_after_ms: Option<u64>) -> (DenyCache, LimitRequest, Instant) {
        let (denials, asked, begun) = (DenyCache::of(9), asked("1/s", 5, 2), Instant::now());
        denials.note(&asked, &denied(retry_after_ms), begun, begun + 10 * MS);
        (denials, asked, begun)
    }

    #[test]
    fn a_denial_is_told_again_with_waits_that_count_down_from_when_it_was_here() {
        let (denials, asked, begun) = after(Some(700));
        let told = |ms| denials.recall(&asked, begun + ms * MS);
        assert_eq!(told(10), Some(denied(Some(700))));
        let waits = |ms| told(ms).map(|told| (told.retry_after_ms, told.reset_after_ms));
        assert_eq!(waits(310), Some((Some(400), 3700)));
        assert_eq!(waits(698), Some((Some(12), 3312)));
    }

    #[test]
    fn a_denial_is_forgotten_before_the_same_could_pass_by_any_rounding() {
        let (denials, asked, begun) = after(Some(700));
        assert!(
            denials
                .recall(&asked, begun + 699 * MS - MS / 1000)
                .is_some()
        );
        assert_eq!(denials.recall(&asked, begun + 699 * MS), None);
        assert_eq!(denials.recall(&asked, begun), None, "and then for good");
    }

    #[test]
    fn a_denial_for_long_or_for_ever_is_forgotten_after_a_second() {
        for retry_after_ms in [Some(3_600_000), None] {
            let (denials, asked, begun) = after(retry_after_ms);
            let told = denials.recall(&asked, begun + 999 * MS).unwrap();
            assert_eq!(told.retry_after_ms, retry_after_ms.map(|ms| ms - 989));
            assert_eq!(denials.recall(&asked, begun + 1000 * MS), None);
        }
    }

    #[test]
    fn a_wait_that_was_over_before_the_answer_came_is_not_remembered() {
        let (denials, asked, begun) = after(Some(11));
        assert_eq!(denials.recall(&asked, begun), None);
    }

    #[test]
    fn another_question_about_the_key_is_not_answered_and_ends_the_denial() {
        let leaky = LimitRequest {
            algorithm: Algorithm::Leaky,
            ..asked("1/s", 5, 2)
        };
        let others = [
            asked("1/s", 5, 1),
            asked("1/s", 5, 3),
            asked("2/s", 5, 2),
            asked("1/s", 6, 2),
            leaky,
        ];
        for other in others {
            let (denials, asked, begun) = after(Some(700));
            assert_eq!(denials.recall(&other, begun), None, "{other:?}");
            assert_eq!(
                denials.recall(&asked, begun),
                None,
                "{other:?} may have changed the bucket"
            );
        }
    }

    #[test]
    fn another_key_is_another_matter_and_what_passed_is_not_remembered() {
        let (denials, asked, begun) = after(Some(700));
        let other = LimitRequest {
            key: "l".to_owned(),
            ..asked.clone()
        };
        let allowed = Decision {
            allowed: 1,
            ..denied(Some(0))
        };
        denials.note(&other, &allowed, begun, begun);
        assert_eq!(denials.recall(&other, begun), None);
        assert!(denials.recall(&asked, begun).is_some());
    }
}
