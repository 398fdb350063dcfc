//! A decision as a status, headers and a body: pure.
//!
//! The RateLimit fields are those of draft-ietf-httpapi-ratelimit-headers-11.

use std::net::IpAddr;
use std::ops::Not;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rl_bucket::{Algorithm, Decision, Policy, Rate};
use serde::Serialize;

use crate::caller;
use crate::limiter::{Answer, Asked};

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The largest integer of a structured field (RFC 9651): fifteen digits.
const LARGEST: u128 = 999_999_999_999_999;

/// The body; its first three fields are fixed, in this order. Where nobody decided there are no numbers.
#[derive(Serialize)]
struct Body {
    allowed: bool,
    ip: IpAddr,
    message: &'static str,
    #[serde(flatten)]
    numbers: Option<Numbers>,
    #[serde(skip_serializing_if = "Not::not")]
    degraded: bool,
}

/// What a decision counted.
#[derive(Serialize)]
struct Numbers {
    limit: u64,
    remaining: u64,
    /// As on the wire: -1 if the request can never pass.
    retry_after_ms: i64,
    reset_after_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
}

impl Numbers {
    fn of(algorithm: Algorithm, decision: &Decision) -> Self {
        let retry_after_ms = decision
            .retry_after_ms
            .and_then(|ms| i64::try_from(ms).ok());
        Self {
            limit: decision.limit,
            remaining: decision.remaining,
            retry_after_ms: retry_after_ms.unwrap_or(-1),
            reset_after_ms: decision.reset_after_ms,
            delay_ms: (algorithm == Algorithm::Leaky).then_some(decision.delay_ms),
        }
    }
}

/// The response to a request that has its answer.
pub(crate) fn decided(asked: &Asked, ip: IpAddr, answer: &Answer) -> Response {
    let decision = answer.decision();
    let allowed = decision.is_none_or(|decision| decision.allowed > 0);
    let (status, message) = if allowed {
        (StatusCode::OK, "Request allowed")
    } else {
        (StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded")
    };
    let body = Body {
        allowed,
        ip,
        message,
        numbers: decision.map(|decision| Numbers::of(asked.algorithm, decision)),
        degraded: answer.is_degraded(),
    };
    let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let numbers = decision.map(|decision| headers(asked.algorithm, asked.policy, decision));
    (status, no_store, numbers.unwrap_or_default(), Json(body)).into_response()
}

fn headers(algorithm: Algorithm, policy: Policy, decision: &Decision) -> HeaderMap {
    let name = caller::name(algorithm);
    let rate = policy.rate();
    let window_s = seconds_for(rate, decision.limit);
    let mut headers = HeaderMap::new();
    insert(
        &mut headers,
        RATELIMIT_POLICY,
        &format!("\"{name}\";q={};w={window_s}", decision.limit),
    );
    let effective_window = match effective_window_s(rate, decision) {
        Some(t) => format!(";t={t}"),
        None => String::new(),
    };
    insert(
        &mut headers,
        RATELIMIT,
        &format!("\"{name}\";r={}{effective_window}", decision.remaining),
    );
    if decision.allowed == 0
        && let Some(wait_s) = retry_after_s(decision)
    {
        insert(&mut headers, RETRY_AFTER, &wait_s.to_string());
    }
    headers
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Seconds within which the caller may use no more than what remains: the draft's `t`.
///
/// A denied one is told its Retry-After. An allowed one is told how long its remaining tokens take to come back, so that a
/// caller that spreads them over `t` is never denied; with none remaining, how long the next whole token takes. `None` for
/// a request that can never pass.
fn effective_window_s(rate: Rate, decision: &Decision) -> Option<u128> {
    match (decision.allowed, decision.remaining) {
        (0, _) => retry_after_s(decision),
        (_, 0) => {
            let (count, period_us) = (u128::from(rate.count()), u128::from(rate.period_us()));
            let until_new = u128::from(decision.reset_after_ms) * 1000 * count;
            let all_but_one = u128::from(decision.limit.saturating_sub(1)) * period_us;
            Some(in_field(
                until_new
                    .saturating_sub(all_but_one)
                    .div_ceil(count * 1_000_000),
            ))
        }
        (_, remaining) => Some(seconds_for(rate, remaining)),
    }
}

/// The wait in whole seconds, rounded up and at least 1: 0 would invite to hammer. `None` if no wait helps.
fn retry_after_s(decision: &Decision) -> Option<u128> {
    decision
        .retry_after_ms
        .map(|ms| in_field(u128::from(ms).div_ceil(1000)))
}

/// Seconds in which so many tokens come back, rounded up and at least 1.
fn seconds_for(rate: Rate, tokens: u64) -> u128 {
    let units = u128::from(tokens) * u128::from(rate.period_us());
    in_field(units.div_ceil(u128::from(rate.count()) * 1_000_000))
}

fn in_field(seconds: u128) -> u128 {
    seconds.clamp(1, LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rl_bucket::Tokens;

    fn told(rate: &str, burst: u64, decision: Decision) -> (String, String, Option<String>) {
        let rate = Rate::parse(rate.as_bytes()).unwrap();
        let policy = Policy::new(rate, Tokens::new(burst).unwrap()).unwrap();
        let headers = headers(
            Algorithm::Token,
            policy,
            &Decision {
                limit: burst,
                ..decision
            },
        );
        let text = |name: &HeaderName| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        (
            text(&RATELIMIT_POLICY).unwrap(),
            text(&RATELIMIT).unwrap(),
            text(&RETRY_AFTER),
        )
    }

    fn allowed(remaining: u64, reset_after_ms: u64) -> Decision {
        Decision {
            allowed: 1,
            limit: 0,
            remaining,
            retry_after_ms: Some(0),
            reset_after_ms,
            delay_ms: 0,
        }
    }

    fn denied(remaining: u64, retry_after_ms: Option<u64>) -> Decision {
        Decision {
            allowed: 0,
            retry_after_ms,
            ..allowed(remaining, 0)
        }
    }

    #[test]
    fn the_window_of_a_policy_is_what_its_burst_takes_to_come_back() {
        assert_eq!(told("10", 20, allowed(19, 100)).0, "\"token\";q=20;w=2");
        assert_eq!(told("5/30s", 5, allowed(4, 6000)).0, "\"token\";q=5;w=30");
        assert_eq!(told("1000", 1, allowed(0, 1)).0, "\"token\";q=1;w=1");
        assert_eq!(
            told("1/3257d", Tokens::MAX.get(), allowed(0, 0)).0,
            "\"token\";q=281474976710655;w=999999999999999"
        );
    }

    #[test]
    fn an_allowed_caller_is_told_when_its_remaining_tokens_come_back() {
        assert_eq!(told("10", 20, allowed(19, 100)).1, "\"token\";r=19;t=2");
        assert_eq!(told("10", 20, allowed(1, 1900)).1, "\"token\";r=1;t=1");
    }

    #[test]
    fn with_none_remaining_it_is_told_when_the_next_whole_one_comes() {
        assert_eq!(told("0.1", 1, allowed(0, 10_000)).1, "\"token\";r=0;t=10");
        assert_eq!(told("0.1", 3, allowed(0, 27_500)).1, "\"token\";r=0;t=8");
        assert_eq!(told("10", 20, allowed(0, 2000)).1, "\"token\";r=0;t=1");
    }

    #[test]
    fn a_denied_caller_reads_one_number_everywhere() {
        let (_, field, retry_after) = told("0.1", 1, denied(0, Some(9001)));
        assert_eq!(
            (field.as_str(), retry_after.as_deref()),
            ("\"token\";r=0;t=10", Some("10"))
        );
        let (_, field, retry_after) = told("10", 20, denied(0, Some(1)));
        assert_eq!(
            (field.as_str(), retry_after.as_deref()),
            ("\"token\";r=0;t=1", Some("1"))
        );
    }

    #[test]
    fn one_that_can_never_pass_is_told_no_time() {
        let (_, field, retry_after) = told("10", 20, denied(20, None));
        assert_eq!((field.as_str(), retry_after), ("\"token\";r=20", None));
    }
}
