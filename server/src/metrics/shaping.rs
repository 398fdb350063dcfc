//! Answers that wait for their turn.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::family::registered;

pub(crate) struct ShapingMetrics {
    /// Those that wait now.
    pub(crate) waiting: Gauge,
    /// Those that were allowed and could not wait.
    pub(crate) refused: Counter,
}

impl ShapingMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let waiting = "Requests that wait for their turn now";
        let refused = "Allowed requests that could not wait for their turn";
        Self {
            waiting: registered(registry, "shaping_waiting", waiting),
            refused: registered(registry, "shaping_refused", refused),
        }
    }
}
