//! Connections, and why the server closed them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::family::{by_label, registered};

pub(crate) struct ConnectionMetrics {
    /// Those open now.
    pub(crate) open: Gauge,
    /// Closed since no first request came in time.
    never_asked: Counter,
    /// Closed since no further request came in time.
    idle: Counter,
    /// Closed, while idle, to make room for a new one.
    pub(crate) evicted: Counter,
    /// Closed since the client did not read an answer in time.
    pub(crate) unread: Counter,
}

impl ConnectionMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let closed = by_label(
            registry,
            "connections_closed",
            "Connections that the server closed",
            "reason",
        );
        Self {
            open: registered(registry, "connections", "Connections open now"),
            never_asked: closed("header_timeout"),
            idle: closed("idle_timeout"),
            evicted: closed("max_connections"),
            unread: closed("response_timeout"),
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
