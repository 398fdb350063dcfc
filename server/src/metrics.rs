//! The metrics of the server, in the text format of OpenMetrics.
//!
//! Each file below has the metrics of one part of the server. The names begin with `rl_`, except that of the duration of
//! HTTP requests, which OpenTelemetry defines. Counters get `_total` at the end, and units follow the name, so a name here
//! is not the whole name.
//!
//! The values of all labels are fixed in these files, or named in the policies file, so nothing that clients send can add
//! a time series. Counting never fails and never waits for a call.

mod calls;
mod connections;
mod decisions;
mod family;
mod per_thread;
mod policies;
mod requests;
mod shaping;

use std::sync::Arc;

use axum::http::StatusCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rl_bucket::Policy;

pub(crate) use self::calls::{Breaker, BreakerState, CallMetrics};
pub(crate) use self::connections::ConnectionMetrics;
pub(crate) use self::decisions::{DecisionMetrics, Outcome, PolicyCounters};
pub(crate) use self::policies::PolicyMetrics;
pub(crate) use self::requests::{RequestMetrics, RouteLabels};
pub(crate) use self::shaping::ShapingMetrics;

/// All metrics. It holds a handle for each, so that counting looks no label up.
///
/// One value serves the whole process. Threads share it, usually in an [`Arc`].
pub struct Metrics {
    /// Has all metrics by name, for [`Metrics::text`].
    registry: Registry,
    /// Requests for a decision, by policy.
    pub(crate) decisions: DecisionMetrics,
    /// Reloads of the policies file.
    pub(crate) policies: PolicyMetrics,
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
        ours.register("policy", "The rate and burst of -rate and -burst", policy);
        Self {
            decisions: DecisionMetrics::new(ours),
            policies: PolicyMetrics::new(ours),
            calls: Arc::new(CallMetrics::new(ours)),
            requests,
            connections: ConnectionMetrics::new(ours),
            shaping: ShapingMetrics::new(ours),
            registry,
        }
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
