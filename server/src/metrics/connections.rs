//! Metrics of client connections: how many are open, and why the server closed others.
//!
//! `connections/acceptor.rs` and `connections/connection.rs` count here. Connections that clients close are not counted
//! when they end, so opened and closed ones do not add up. The listeners of one process share the metrics.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::family::{by_label, registered};

/// `rl_connections`, and `rl_connections_closed_total` by reason.
pub(crate) struct ConnectionMetrics {
    /// Connections that are open now. One that is being closed counts until its task has ended.
    pub(crate) open: Gauge,
    /// Closed because the head of the first request did not arrive in time.
    header_timeout: Counter,
    /// Closed because no further request arrived in time.
    idle_timeout: Counter,
    /// Closed while idle to make room for a new connection.
    pub(crate) evicted: Counter,
    /// Closed because the client did not read a response in time.
    pub(crate) response_timeout: Counter,
}

impl ConnectionMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let closed = by_label(
            registry,
            "connections_closed",
            "Connections closed by the server, by reason",
            "reason",
        );
        Self {
            open: registered(registry, "connections", "Open connections"),
            header_timeout: closed("header_timeout"),
            idle_timeout: closed("idle_timeout"),
            evicted: closed("max_connections"),
            response_timeout: closed("response_timeout"),
        }
    }

    /// Counts a connection that is closed because it sent no request in time. `had_request` is whether it sent one
    /// before.
    pub(crate) fn count_request_timeout(&self, had_request: bool) {
        let closed = if had_request {
            &self.idle_timeout
        } else {
            &self.header_timeout
        };
        closed.inc();
    }
}
