//! Answers that wait for their turn.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) struct ShapingMetrics {
    /// Those that wait now.
    pub(crate) waiting: Gauge,
    /// Those that were allowed and could not wait.
    pub(crate) refused: Counter,
}

impl ShapingMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let (waiting, refused) = (Gauge::default(), Counter::default());
        registry.register(
            "shaping_waiting",
            "Requests that wait for their turn now",
            waiting.clone(),
        );
        registry.register(
            "shaping_refused",
            "Allowed requests that could not wait for their turn",
            refused.clone(),
        );
        Self { waiting, refused }
    }
}
