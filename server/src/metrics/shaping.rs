//! Metrics of shaping: responses that are delayed until the leaky bucket has leaked.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::family::registered;

pub(crate) struct ShapingMetrics {
    /// Requests that are delayed now.
    pub(crate) waiting: Gauge,
    /// Allowed requests that were rejected because they could not be delayed.
    pub(crate) refused: Counter,
}

impl ShapingMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let waiting = "Allowed requests that are delayed now";
        let refused = "Allowed requests that were answered 503 because they could not be delayed";
        Self {
            waiting: registered(registry, "shaping_waiting", waiting),
            refused: registered(registry, "shaping_refused", refused),
        }
    }
}
