//! What a decision says in the body. Pure.

use std::net::IpAddr;
use std::ops::Not;

use rl_bucket::{Algorithm, Decision};
use serde::Serialize;

use crate::limit::Answer;

/// The body; its first three fields are fixed, in this order. Where nobody decided there are no numbers.
#[derive(Serialize)]
pub(crate) struct Body {
    pub(crate) allowed: bool,
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

impl Body {
    /// The body of an answer to the caller at `ip`. Where there is no decision the request is allowed.
    pub(crate) fn of(algorithm: Algorithm, ip: IpAddr, answer: &Answer) -> Self {
        let decision = answer.decision();
        let allowed = decision.is_none_or(|decision| decision.allowed > 0);
        Self {
            allowed,
            ip,
            message: if allowed {
                "Request allowed"
            } else {
                "Rate limit exceeded"
            },
            numbers: decision.map(|decision| Numbers::of(algorithm, decision)),
            degraded: answer.is_degraded(),
        }
    }
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
