//! Connections, and why the server closed them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Labels;

pub(crate) struct ConnectionMetrics {
    /// Those open now.
    pub(crate) open: Gauge,
    /// Closed since no first request came in time.
    never_asked: Counter,
    /// Closed since no further request came in time.
    idle: Counter,
    /// Closed, while idle, to make room for a new one.
    pub(crate) crowded_out: Counter,
}

impl ConnectionMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let open = Gauge::default();
        registry.register("connections", "Connections open now", open.clone());
        let closed = Family::<Labels<1>, Counter>::default();
        registry.register(
            "connections_closed",
            "Connections that the server closed",
            closed.clone(),
        );
        let of = |reason| closed.get_or_create_owned(&[("reason", reason)]);
        Self {
            open,
            never_asked: of("header_timeout"),
            idle: of("idle_timeout"),
            crowded_out: of("max_connections"),
        }
    }

    pub(crate) fn overdue(&self, has_asked: bool) {
        let closed = if has_asked {
            &self.idle
        } else {
            &self.never_asked
        };
        closed.inc();
    }
}
