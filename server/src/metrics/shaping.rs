//! Metrics of shaping: responses that are delayed until the leaky bucket has leaked.
//!
//! `http/shaping.rs` counts here. Both stay zero without `-shape`. How long requests are delayed is part of their
//! duration, in `metrics/requests.rs`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::family::registered;

/// `rl_shaping_waiting` and `rl_shaping_refused_total`.
pub(crate) struct ShapingMetrics {
    /// Requests that are delayed now. Their decision is made and their tokens are spent.
    pub(crate) waiting: Gauge,
    /// Allowed requests that were rejected because they could not be delayed: too many wait, or the server stops. Their
    /// tokens stay spent, and `rl_decisions_total` counts them as allowed.
    pub(crate) refused: Counter,
}

impl ShapingMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let waiting = "Allowed requests that wait for their delay";
        let refused = "Allowed requests rejected with 503 because they could not be delayed";
        Self {
            waiting: registered(registry, "shaping_waiting", waiting),
            refused: registered(registry, "shaping_refused", refused),
        }
    }
}
