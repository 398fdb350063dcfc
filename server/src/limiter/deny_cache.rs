//! The deny cache (`-deny-cache`): repeats a denial without a call to Redis for as long as it would stay the same.
//! Pure.
//!
//! A denial takes no tokens, so repeating it changes nothing. It ends before a request could pass, or after a second,
//! so that a refund or DEL made in Redis itself is seen within that time.

use std::time::{Duration, Instant};

use rl_bucket::{Algorithm, Decision, Policy, Tokens};

use super::table::Table;
use crate::limit::LimitRequest;

/// The longest time that a denial is cached.
const MAX_AGE: Duration = Duration::from_secs(1);

/// A cached denial and the request that it answers.
#[derive(Clone, Copy)]
struct Denial {
    algorithm: Algorithm,
    policy: Policy,
    cost: Tokens,
    decision: Decision,
    /// When the reply of Redis arrived.
    received: Instant,
    expires: Instant,
}

/// The latest denial of each of the callers that were denied most recently.
pub(super) struct DenyCache(Table<Denial>);

impl DenyCache {
    /// A cache for at most `max` callers.
    pub(super) fn with_capacity(max: usize) -> Self {
        Self(Table::with_capacity(max))
    }

    /// Returns the cached denial of exactly this request, with its waits counted down to `now`.
    ///
    /// Any other request for the same key goes to Redis and may change the bucket, so it removes the denial.
    pub(super) fn get(&self, request: &LimitRequest, now: Instant) -> Option<Decision> {
        self.0.update(&request.key, |cached| {
            *cached = cached.filter(|denial| denial.applies_to(request, now));
            cached.map(|denial| denial.decision_at(now))
        })
    }

    /// Caches the decision if it is a denial that is still valid at `received`, when it arrived. Its request was sent
    /// at `sent`.
    pub(super) fn insert(
        &self,
        request: &LimitRequest,
        decision: &Decision,
        sent: Instant,
        received: Instant,
    ) {
        let expires = sent + lifetime(decision);
        if decision.allowed > 0 || expires <= received {
            return;
        }
        let denial = Denial {
            algorithm: request.algorithm,
            policy: request.policy,
            cost: request.cost,
            decision: *decision,
            received,
            expires,
        };
        self.0.update(&request.key, |cached| *cached = Some(denial));
    }
}

impl Denial {
    fn applies_to(&self, request: &LimitRequest, now: Instant) -> bool {
        let is_same = (self.algorithm, self.policy, self.cost)
            == (request.algorithm, request.policy, request.cost);
        is_same && now < self.expires
    }

    /// The decision with its waits counted down from the arrival of the reply. Redis decided some time before that,
    /// so no wait is too short.
    fn decision_at(&self, now: Instant) -> Decision {
        let elapsed = now.saturating_duration_since(self.received).as_millis();
        let elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        Decision {
            retry_after_ms: self
                .decision
                .retry_after_ms
                .map(|ms| ms.saturating_sub(elapsed_ms).max(1)),
            reset_after_ms: self.decision.reset_after_ms.saturating_sub(elapsed_ms),
            ..self.decision
        }
    }
}

/// How long Redis would repeat the denial, counted from when its request was sent: a millisecond less than
/// `retry_after_ms`, which is rounded up, and at most [`MAX_AGE`].
fn lifetime(decision: &Decision) -> Duration {
    let retry_after = decision
        .retry_after_ms
        .map(|ms| Duration::from_millis(ms.saturating_sub(1)));
    retry_after.map_or(MAX_AGE, |wait| wait.min(MAX_AGE))
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Capacity, Rate};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn request(rate: &str, capacity: u64, cost: u64) -> LimitRequest {
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

    fn denial(retry_after_ms: Option<u64>) -> Decision {
        Decision {
            allowed: 0,
            limit: 5,
            remaining: 1,
            retry_after_ms,
            reset_after_ms: 4000,
            delay_ms: 0,
        }
    }

    /// A cache with one denial, its request, and when the request was sent. The reply arrived 10 ms later.
    fn cache_with(retry_after_ms: Option<u64>) -> (DenyCache, LimitRequest, Instant) {
        let (cache, request) = (DenyCache::with_capacity(9), request("1/s", 5, 2));
        let sent = Instant::now();
        cache.insert(&request, &denial(retry_after_ms), sent, sent + 10 * MS);
        (cache, request, sent)
    }

    #[test]
    fn a_repeated_denial_counts_its_waits_down() {
        let (cache, request, sent) = cache_with(Some(700));
        let get = |ms| cache.get(&request, sent + ms * MS);
        assert_eq!(get(10), Some(denial(Some(700))));
        let waits = |ms| get(ms).map(|denial| (denial.retry_after_ms, denial.reset_after_ms));
        assert_eq!(waits(310), Some((Some(400), 3700)));
        assert_eq!(waits(698), Some((Some(12), 3312)));
    }

    #[test]
    fn a_denial_expires_before_its_request_could_pass() {
        let (cache, request, sent) = cache_with(Some(700));
        let just_before = sent + 699 * MS - MS / 1000;
        assert!(cache.get(&request, just_before).is_some());
        assert_eq!(cache.get(&request, sent + 699 * MS), None);
        assert_eq!(cache.get(&request, sent), None, "it is removed");
    }

    #[test]
    fn a_long_denial_expires_after_a_second() {
        for retry_after_ms in [Some(3_600_000), None] {
            let (cache, request, sent) = cache_with(retry_after_ms);
            let repeated = cache.get(&request, sent + 999 * MS).unwrap();
            assert_eq!(repeated.retry_after_ms, retry_after_ms.map(|ms| ms - 989));
            assert_eq!(cache.get(&request, sent + 1000 * MS), None);
        }
    }

    #[test]
    fn a_denial_that_expired_before_it_arrived_is_not_cached() {
        let (cache, request, sent) = cache_with(Some(11));
        assert_eq!(cache.get(&request, sent), None);
    }

    #[test]
    fn another_request_for_the_key_removes_the_denial() {
        let leaky = LimitRequest {
            algorithm: Algorithm::Leaky,
            ..request("1/s", 5, 2)
        };
        let others = [
            request("1/s", 5, 1),
            request("1/s", 5, 3),
            request("2/s", 5, 2),
            request("1/s", 6, 2),
            leaky,
        ];
        for other in others {
            let (cache, request, sent) = cache_with(Some(700));
            assert_eq!(cache.get(&other, sent), None, "{other:?}");
            let same = cache.get(&request, sent);
            assert_eq!(same, None, "{other:?} may have changed the bucket");
        }
    }

    #[test]
    fn another_key_keeps_the_denial_and_allowances_are_not_cached() {
        let (cache, request, sent) = cache_with(Some(700));
        let other = LimitRequest {
            key: "l".to_owned(),
            ..request.clone()
        };
        let allowed = Decision {
            allowed: 1,
            ..denial(Some(0))
        };
        cache.insert(&other, &allowed, sent, sent);
        assert_eq!(cache.get(&other, sent), None);
        assert!(cache.get(&request, sent).is_some());
    }
}
