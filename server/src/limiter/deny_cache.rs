//! The deny cache (`-deny-cache`): repeats a denial without a call to Redis for as long as it would stay the same.
//! Pure.
//!
//! A denial takes no tokens, so repeating it changes nothing. It ends before a request could pass, or after a second,
//! so that a refund or DEL made in Redis itself is seen within that time.

use std::time::{Duration, Instant};

use rl_bucket::{Algorithm, Decision, Policy, Request};

use super::table::Table;
use crate::limit::{Decisions, Limit, LimitRequest};

/// The longest time that a denial is cached.
const MAX_AGE: Duration = Duration::from_secs(1);

/// A cached denial and the request that it answers.
struct Denial {
    algorithm: Algorithm,
    /// The policy of the first limit, whose key is the key of the table.
    policy: Policy,
    more_limits: Vec<Limit>,
    charge: Request,
    decisions: Decisions,
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
    pub(super) fn get(&self, request: &LimitRequest, now: Instant) -> Option<Decisions> {
        self.0.update(request.key(), request.key(), |cached| {
            cached.take_if(|denial| !denial.applies_to(request, now));
            cached.as_ref().map(|denial| denial.decisions_at(now))
        })
    }

    /// Caches the decisions if they are a denial that is still valid at `received`, when it arrived. Its request was sent
    /// at `sent`.
    pub(super) fn insert(
        &self,
        request: &LimitRequest,
        decisions: &Decisions,
        sent: Instant,
        received: Instant,
    ) {
        let expires = sent + lifetime(decisions);
        if decisions.are_allowed() || expires <= received {
            return;
        }
        let denial = Denial {
            algorithm: request.algorithm,
            policy: request.limits.head.policy,
            more_limits: request.limits.tail.clone(),
            charge: request.charge,
            decisions: decisions.clone(),
            received,
            expires,
        };
        self.0.update(request.key(), request.key(), |cached| {
            *cached = Some(denial);
        });
    }
}

impl Denial {
    fn applies_to(&self, request: &LimitRequest, now: Instant) -> bool {
        let is_same = (self.algorithm, self.policy, self.charge)
            == (
                request.algorithm,
                request.limits.head.policy,
                request.charge,
            );
        is_same && self.more_limits == request.limits.tail && now < self.expires
    }

    /// The decisions with their waits counted down from the arrival of the reply. Redis decided some time before that,
    /// so no wait is too short.
    fn decisions_at(&self, now: Instant) -> Decisions {
        let elapsed = now.saturating_duration_since(self.received).as_millis();
        let elapsed_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        let counted_down = |decision: &Decision| Decision {
            retry_after_ms: match decision.allowed {
                0 => decision
                    .retry_after_ms
                    .map(|ms| ms.saturating_sub(elapsed_ms).max(1)),
                _ => decision.retry_after_ms,
            },
            reset_after_ms: decision.reset_after_ms.saturating_sub(elapsed_ms),
            ..*decision
        };
        Decisions(self.decisions.0.as_ref().map(counted_down))
    }
}

/// How long Redis would repeat the denial, counted from when its request was sent: a millisecond less than the shortest
/// `retry_after_ms` of the buckets that denied, which is rounded up, and at most [`MAX_AGE`].
fn lifetime(decisions: &Decisions) -> Duration {
    let denied = decisions.0.iter().filter(|decision| decision.allowed == 0);
    let waits_ms = denied.filter_map(|decision| decision.retry_after_ms);
    let shortest = waits_ms
        .min()
        .map(|ms| Duration::from_millis(ms.saturating_sub(1)));
    shortest.map_or(MAX_AGE, |wait| wait.min(MAX_AGE))
}

#[cfg(test)]
mod tests {
    use nonempty::NonEmpty;
    use rl_bucket::{Capacity, Rate, Tokens};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn request(rate: &str, capacity: u64, cost: u64) -> LimitRequest {
        let policy = Rate::parse(rate.as_bytes()).zip(Capacity::new(capacity));
        let policy = policy.map(|(rate, capacity)| Policy::new(rate, capacity));
        let charge = Request::Cost(Tokens::new(cost).unwrap());
        LimitRequest::single(Algorithm::Token, "k".to_owned(), policy.unwrap(), charge)
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
        cache.insert(
            &request,
            &denial(retry_after_ms).into(),
            sent,
            sent + 10 * MS,
        );
        (cache, request, sent)
    }

    #[test]
    fn a_repeated_denial_counts_its_waits_down() {
        let (cache, request, sent) = cache_with(Some(700));
        let get = |ms| cache.get(&request, sent + ms * MS);
        assert_eq!(get(10), Some(denial(Some(700)).into()));
        let waits = |ms| {
            let denial = get(ms)?.0.head;
            Some((denial.retry_after_ms, denial.reset_after_ms))
        };
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
            assert_eq!(
                repeated.0.head.retry_after_ms,
                retry_after_ms.map(|ms| ms - 989)
            );
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
        let mut other = request.clone();
        other.limits.head.key = "l".to_owned();
        let allowed = Decision {
            allowed: 1,
            ..denial(Some(0))
        };
        cache.insert(&other, &allowed.into(), sent, sent);
        assert_eq!(cache.get(&other, sent), None);
        assert!(cache.get(&request, sent).is_some());
    }

    #[test]
    fn a_denial_by_several_limits_ends_with_the_shortest_wait() {
        let (cache, sent) = (DenyCache::with_capacity(9), Instant::now());
        let mut request = request("1/s", 5, 2);
        let (first, second) = (denial(Some(700)), denial(Some(500)));
        let third = Decision {
            allowed: 1,
            ..denial(Some(0))
        };
        for key in ["second", "third"] {
            let policy = request.limits.head.policy;
            request.limits.push(Limit {
                key: key.to_owned(),
                policy,
            });
        }
        let decisions = Decisions(NonEmpty::from((first, vec![second, third])));
        cache.insert(&request, &decisions, sent, sent);
        let waits = |ms| {
            let decisions = cache.get(&request, sent + ms * MS)?.0;
            Some(Vec::from(decisions.map(|decision| decision.retry_after_ms)))
        };
        assert_eq!(waits(100), Some(vec![Some(600), Some(400), Some(0)]));
        assert_eq!(waits(499), None);
    }

    #[test]
    fn other_limits_of_the_same_first_key_remove_the_denial() {
        let (cache, mut request, sent) = cache_with(Some(700));
        let policy = request.limits.head.policy;
        request.limits.push(Limit {
            key: "second".to_owned(),
            policy,
        });
        assert_eq!(cache.get(&request, sent), None);
    }
}
