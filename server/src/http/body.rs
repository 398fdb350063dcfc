//! The JSON body of 200 and of a denial. Pure.

use std::net::IpAddr;
use std::ops::Not;

use rl_bucket::{Algorithm, Decision};
use serde::Serialize;

use crate::config::NamedPolicy;
use crate::limit::{Answer, Decisions};

/// The body. The first three fields are fixed, in this order. Without a decision there are no numbers.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    /// Whether the request may proceed. Always true for a policy in dry run.
    pub(crate) allowed: bool,
    ip: IpAddr,
    message: &'static str,
    /// The numbers of the deciding limit.
    #[serde(flatten)]
    numbers: Option<Numbers>,
    /// All limits, if the policy has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitNumbers<'a>>,
    #[serde(skip_serializing_if = "Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Not::not")]
    degraded: bool,
}

/// The numbers of one of several limits.
#[derive(Serialize)]
struct LimitNumbers<'a> {
    name: &'a str,
    #[serde(flatten)]
    numbers: Numbers,
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

impl<'a> Body<'a> {
    /// The body of an answer to the caller at `ip`. An answer without a decision allows the request.
    pub(crate) fn new(
        algorithm: Algorithm,
        ip: IpAddr,
        policy: &'a NamedPolicy,
        answer: &Answer,
    ) -> Self {
        let decisions = answer.decisions();
        let is_denied = decisions.is_some_and(|decisions| !decisions.are_allowed());
        Self {
            allowed: policy.dry_run || !is_denied,
            ip,
            message: match (is_denied, policy.dry_run) {
                (false, _) => "Request allowed",
                (true, false) => "Rate limit exceeded",
                (true, true) => "Rate limit exceeded, allowed by dry_run",
            },
            numbers: decisions.map(|decisions| {
                let deciding = decisions.deciding();
                Numbers::new(algorithm, deciding, decisions.delay_ms())
            }),
            limits: decisions.map_or(Vec::new(), |decisions| limits(algorithm, policy, decisions)),
            dry_run: policy.dry_run,
            degraded: answer.is_degraded(),
        }
    }
}

/// All limits with their numbers if there are several, otherwise none.
fn limits<'a>(
    algorithm: Algorithm,
    policy: &'a NamedPolicy,
    decisions: &Decisions,
) -> Vec<LimitNumbers<'a>> {
    if policy.limits.tail.is_empty() {
        return Vec::new();
    }
    // 0 for a denial: a limit that did not deny has a delay of its own, but the request does not proceed.
    let max_delay_ms = decisions.delay_ms();
    let pairs = policy.limits.iter().zip(&decisions.0);
    let numbers = pairs.map(|(limit, decision)| LimitNumbers {
        name: limit.name.as_deref().unwrap_or_default(),
        numbers: Numbers::new(algorithm, decision, decision.delay_ms.min(max_delay_ms)),
    });
    numbers.collect()
}

impl Numbers {
    fn new(algorithm: Algorithm, decision: &Decision, delay_ms: u64) -> Self {
        let retry_after_ms = decision
            .retry_after_ms
            .and_then(|ms| i64::try_from(ms).ok());
        Self {
            limit: decision.limit,
            remaining: decision.remaining,
            retry_after_ms: retry_after_ms.unwrap_or(-1),
            reset_after_ms: decision.reset_after_ms,
            delay_ms: (algorithm == Algorithm::Leaky).then_some(delay_ms),
        }
    }
}
