//! The JSON body of 200 and of a denial. Pure.

use std::net::IpAddr;
use std::ops::Not;

use rl_bucket::{Algorithm, Decision};
use serde::Serialize;

use crate::limit::Answer;

/// The body. The first three fields are fixed, in this order. Without a decision there are no numbers.
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

/// The numbers of a decision.
#[derive(Serialize)]
struct Numbers {
    limit: u64,
    remaining: u64,
    /// -1 if the request can never pass, as in the commands' replies.
    retry_after_ms: i64,
    reset_after_ms: u64,
    /// Of a leaky bucket only.
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
}

impl Body {
    /// The body of an answer to the caller at `ip`. An answer without a decision allows the request.
    pub(crate) fn new(algorithm: Algorithm, ip: IpAddr, answer: &Answer) -> Self {
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
            numbers: decision.map(|decision| Numbers::new(algorithm, decision)),
            degraded: answer.is_degraded(),
        }
    }
}

impl Numbers {
    fn new(algorithm: Algorithm, decision: &Decision) -> Self {
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
