//! The metrics of the server, in the text format of OpenMetrics.
//!
//! The values of all labels are fixed here and below, so nothing that clients send can add a time series.

mod calls;
mod connections;
mod family;
mod requests;
mod shaping;

use std::sync::Arc;

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rl_bucket::{Algorithm, Policy};

use crate::limit::{Answer, Unavailable};

pub(crate) use self::calls::{Breaker, BreakerState, CallMetrics};
pub(crate) use self::connections::ConnectionMetrics;
use self::family::{Labels, registered};
pub(crate) use self::requests::{RequestMetrics, RouteLabels};
pub(crate) use self::shaping::ShapingMetrics;

/// How a request for a decision was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Allowed,
    Denied,
    /// Answered without Redis, allowed or denied.
    Degraded,
    /// Answered 503, without a decision.
    Error,
}

impl Outcome {
    pub(crate) fn new(answer: &Result<Answer, Unavailable>) -> Self {
        match answer {
            Ok(Answer::Decided(decision)) if decision.allowed == 0 => Self::Denied,
            Ok(Answer::Decided(_)) => Self::Allowed,
            Ok(Answer::Degraded(_)) => Self::Degraded,
            Err(_) => Self::Error,
        }
    }
}

/// All metrics. It holds a handle for each, so that counting looks no label up.
pub struct Metrics {
    registry: Registry,
    token: Decisions,
    leaky: Decisions,
    pub(crate) calls: Arc<CallMetrics>,
    pub(crate) requests: RequestMetrics,
    pub(crate) connections: ConnectionMetrics,
    pub(crate) shaping: ShapingMetrics,
}

impl Metrics {
    /// Metrics that are all zero. `policy` is shown in `rl_policy_info`, and `deny_status` is the status of denials.
    #[must_use]
    pub fn new(policy: Policy, deny_status: StatusCode) -> Self {
        let mut registry = Registry::default();
        let requests = RequestMetrics::new(&mut registry, deny_status);
        let ours = registry.sub_registry_with_prefix("rl");
        ours.register(
            "build",
            "The version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let rate = policy.rate().to_string();
        let burst = policy.capacity().get().to_string();
        let policy = Info::new([("rate", rate), ("burst", burst)]);
        ours.register("policy", "The policy in force", policy);
        let decisions = registered(ours, "decisions", "Requests for a decision");
        Self {
            token: Decisions::new(&decisions, "token"),
            leaky: Decisions::new(&decisions, "leaky"),
            calls: Arc::new(CallMetrics::new(ours)),
            requests,
            connections: ConnectionMetrics::new(ours),
            shaping: ShapingMetrics::new(ours),
            registry,
        }
    }

    /// Counts one request for a decision.
    pub(crate) fn count_decision(&self, algorithm: Algorithm, outcome: Outcome) {
        let decisions = match algorithm {
            Algorithm::Token => &self.token,
            Algorithm::Leaky => &self.leaky,
        };
        let counter = match outcome {
            Outcome::Allowed => &decisions.allowed,
            Outcome::Denied => &decisions.denied,
            Outcome::Degraded => &decisions.degraded,
            Outcome::Error => &decisions.error,
        };
        counter.inc();
    }

    /// All metrics in the text format of OpenMetrics. `redis_is_up` is whether Redis decides now.
    pub(crate) fn text(&self, redis_is_up: bool) -> Result<String, std::fmt::Error> {
        self.calls.up.set(redis_is_up.into());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The counters of one algorithm by outcome.
struct Decisions {
    allowed: Counter,
    denied: Counter,
    degraded: Counter,
    error: Counter,
}

impl Decisions {
    fn new(all: &Family<Labels<2>, Counter>, algorithm: &'static str) -> Self {
        let counter =
            |outcome| all.get_or_create_owned(&[("algorithm", algorithm), ("outcome", outcome)]);
        Self {
            allowed: counter("allowed"),
            denied: counter("denied"),
            degraded: counter("degraded"),
            error: counter("error"),
        }
    }
}
