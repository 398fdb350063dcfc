//! What is counted, for Prometheus. No label has more values than are written down here.

mod calls;
mod connections;
mod family;
mod requests;
mod shaping;

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rl_bucket::{Algorithm, Policy};

use crate::limit::Answer;
use crate::limit::Unavailable;

pub(crate) use self::calls::{Breaker, BreakerState, CallMetrics};
pub(crate) use self::connections::ConnectionMetrics;
use self::family::{Labels, registered};
pub(crate) use self::requests::{RequestMetrics, RouteLabels};
pub(crate) use self::shaping::ShapingMetrics;

/// What became of a request for a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Allowed,
    Denied,
    /// Answered without Redis.
    Degraded,
    /// Not decided.
    Error,
}

impl Outcome {
    pub(crate) fn of(answer: &Result<Answer, Unavailable>) -> Self {
        match answer {
            Ok(Answer::Decided(decision)) if decision.allowed == 0 => Self::Denied,
            Ok(Answer::Decided(_)) => Self::Allowed,
            Ok(Answer::Degraded(_)) => Self::Degraded,
            Err(_) => Self::Error,
        }
    }
}

/// Every handle is held here, so that to count is one addition, without a look for the label.
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
    /// All at zero. The policy is told as it is.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let mut registry = Registry::default();
        let requests = RequestMetrics::new(&mut registry);
        let ours = registry.sub_registry_with_prefix("rl");
        ours.register(
            "build",
            "The version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let rate = policy.rate().to_string();
        let burst = policy.capacity().get().to_string();
        let policy = Info::new([("rate", rate), ("burst", burst)]);
        ours.register("policy", "What each caller may do", policy);
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

    pub(crate) fn decided(&self, algorithm: Algorithm, outcome: Outcome) {
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

    /// All of them, as OpenMetrics has it.
    pub(crate) fn text(&self, redis_is_up: bool) -> Result<String, std::fmt::Error> {
        self.calls.up.set(redis_is_up.into());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Those of one algorithm.
struct Decisions {
    allowed: Counter,
    denied: Counter,
    degraded: Counter,
    error: Counter,
}

impl Decisions {
    fn new(all: &Family<Labels<2>, Counter>, algorithm: &'static str) -> Self {
        let of =
            |outcome| all.get_or_create_owned(&[("algorithm", algorithm), ("outcome", outcome)]);
        Self {
            allowed: of("allowed"),
            denied: of("denied"),
            degraded: of("degraded"),
            error: of("error"),
        }
    }
}
