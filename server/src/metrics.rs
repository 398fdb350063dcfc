//! The metrics of the server, in the text format of OpenMetrics.
//!
//! Each file below has the metrics of one part of the server, and this one those of decisions. The names begin with
//! `rl_`, except that of the duration of HTTP requests, which OpenTelemetry defines. Counters get `_total` at the end,
//! and units follow the name, so a name here is not the whole name.
//!
//! The values of all labels are fixed here and below, so nothing that clients send can add a time series. Counting
//! never fails and never waits for a call.

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

/// How a request for a decision was answered: the label `outcome` of `rl_decisions_total`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Redis allowed it.
    Allowed,
    /// Redis denied it, or the deny cache repeated its denial.
    Denied,
    /// Answered without Redis, allowed or denied.
    Degraded,
    /// Answered 503, without a decision.
    Error,
}

impl Outcome {
    /// The outcome of an answer of the limiter. Every error is [`Outcome::Error`]; [`CallMetrics::count_undecided`]
    /// counts the reasons.
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
///
/// One value serves the whole process. Threads share it, usually in an [`Arc`].
pub struct Metrics {
    /// Has all metrics by name, for [`Metrics::text`].
    registry: Registry,
    /// Requests to `/token`.
    token: Decisions,
    /// Requests to `/leaky`.
    leaky: Decisions,
    /// Calls to Redis. Shared by itself, because the links count there.
    pub(crate) calls: Arc<CallMetrics>,
    /// HTTP requests.
    pub(crate) requests: RequestMetrics,
    /// Client connections.
    pub(crate) connections: ConnectionMetrics,
    /// Delays by `-shape`.
    pub(crate) shaping: ShapingMetrics,
}

impl Metrics {
    /// Metrics that are all zero. `policy` is shown in `rl_policy_info`, and `deny_status` is the status of denials,
    /// which is 429 unless a flag sets it.
    #[must_use]
    pub fn new(policy: Policy, deny_status: StatusCode) -> Self {
        let mut registry = Registry::default();
        let requests = RequestMetrics::new(&mut registry, deny_status);
        let ours = registry.sub_registry_with_prefix("rl");
        ours.register(
            "build",
            "The version of rl-server",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let rate = policy.rate().to_string();
        let burst = policy.capacity().get().to_string();
        let policy = Info::new([("rate", rate), ("burst", burst)]);
        ours.register("policy", "The rate and burst of each caller", policy);
        let decisions = registered(
            ours,
            "decisions",
            "Requests for a decision, by algorithm and outcome",
        );
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
    ///
    /// Call it when the decision is known, before any delay, and once for each.
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

    /// All metrics in the text format of OpenMetrics. `redis_is_up` is whether Redis decides now; the caller finds that
    /// out, because the metrics make no calls.
    ///
    /// # Errors
    ///
    /// If a metric cannot be written. A `String` takes everything, so that does not happen.
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
    /// The counters of `algorithm` in the family `all`. They exist from the start, so that a rate over time begins at
    /// zero.
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
