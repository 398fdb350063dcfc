//! Decisions by algorithm, policy and outcome.

use std::sync::Arc;

use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rl_bucket::Algorithm;

use super::family::registered;
use super::per_thread::ThreadCounter;
use crate::limit::{Answer, Unavailable};

/// How a request for a decision was answered: the label `outcome` of `rl_decisions_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Redis allowed it.
    Allowed,
    /// Redis denied it, or the deny cache repeated its denial.
    Denied,
    /// Allowed because its policy is in dry run. Otherwise it would have been denied.
    WouldDeny,
    /// Answered without Redis, allowed or denied.
    Degraded,
    /// Answered with an error, without a decision.
    Error,
}

impl Outcome {
    /// The outcome of an answer under a policy that is in dry run, or not. `None` if the caller is wrong, which the status
    /// of the response counts. Every other error is [`Outcome::Error`]; the metrics of calls to Redis count the reasons.
    pub(crate) fn new(answer: &Result<Answer, Unavailable>, is_dry_run: bool) -> Option<Self> {
        Some(match answer {
            Ok(Answer::Decided(decisions)) if decisions.are_allowed() => Self::Allowed,
            Ok(Answer::Decided(_)) if is_dry_run => Self::WouldDeny,
            Ok(Answer::Decided(_)) => Self::Denied,
            Ok(Answer::Degraded(_)) => Self::Degraded,
            Err(Unavailable::DebtTooLarge { .. }) => return None,
            Err(_) => Self::Error,
        })
    }
}

/// Algorithm, policy and outcome with their names. Policies are named in files only, so clients add no time series.
type Labels = [(&'static str, Arc<str>); 3];

/// The counters of all policies.
pub(crate) struct DecisionMetrics(Family<Labels, ThreadCounter>);

impl DecisionMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self(registered(registry, "decisions", "Requests for a decision"))
    }

    /// The counters of one policy. Those of the same name are the same counters.
    pub(crate) fn of_policy(&self, name: &str) -> PolicyCounters {
        PolicyCounters {
            token: self.of_algorithm(Algorithm::Token, name),
            leaky: self.of_algorithm(Algorithm::Leaky, name),
        }
    }

    /// Removes the time series of a policy. Counters of it that are still in use count nothing any more.
    pub(crate) fn remove_policy(&self, name: &str) {
        for algorithm in [Algorithm::Token, Algorithm::Leaky] {
            for outcome in OUTCOMES {
                self.0.remove(&labels(algorithm, name, outcome));
            }
        }
    }

    fn of_algorithm(&self, algorithm: Algorithm, policy: &str) -> Outcomes {
        let counters = OUTCOMES.map(|outcome| {
            let labels = labels(algorithm, policy, outcome);
            self.0.get_or_create_owned(&labels)
        });
        let [allowed, denied, would_deny, degraded, error] = counters;
        Outcomes {
            allowed,
            denied,
            would_deny,
            degraded,
            error,
        }
    }
}

/// The values of the label `outcome`, in the order of [`Outcome`].
const OUTCOMES: [&str; 5] = ["allowed", "denied", "would_deny", "degraded", "error"];

fn labels(algorithm: Algorithm, policy: &str, outcome: &str) -> Labels {
    [
        ("algorithm", algorithm.name().into()),
        ("policy", policy.into()),
        ("outcome", outcome.into()),
    ]
}

/// The counters of one policy, so that counting looks no label up.
#[derive(Clone)]
pub(crate) struct PolicyCounters {
    token: Outcomes,
    leaky: Outcomes,
}

/// The counters of one policy and algorithm.
#[derive(Clone)]
struct Outcomes {
    allowed: ThreadCounter,
    denied: ThreadCounter,
    would_deny: ThreadCounter,
    degraded: ThreadCounter,
    error: ThreadCounter,
}

impl PolicyCounters {
    /// Counts one request for a decision.
    ///
    /// Call it when the decision is known, before any delay, and once for each.
    pub(crate) fn count(&self, algorithm: Algorithm, outcome: Outcome) {
        let outcomes = match algorithm {
            Algorithm::Token => &self.token,
            Algorithm::Leaky => &self.leaky,
        };
        let counter = match outcome {
            Outcome::Allowed => &outcomes.allowed,
            Outcome::Denied => &outcomes.denied,
            Outcome::WouldDeny => &outcomes.would_deny,
            Outcome::Degraded => &outcomes.degraded,
            Outcome::Error => &outcomes.error,
        };
        counter.inc();
    }
}
