//! Calls to Redis, and the connections they go over.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::family::{by_label, registered};
use crate::limit::{Overload, Unavailable};

/// Upper bounds in seconds: a call takes a fraction of a millisecond, and no longer than the deadline.
const BOUNDS_S: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// What is known of a connection: whether its circuit breaker lets calls through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Not yet: calls wait for the first attempt to connect.
    Connecting,
    /// Calls go through.
    Closed,
    /// Nobody is asked, until an attempt to connect succeeds.
    Open,
}

#[derive(Debug)]
pub(crate) struct CallMetrics {
    calls: Histogram,
    pub(super) up: Gauge,
    /// Denials that were remembered, so that Redis was not asked.
    pub(crate) remembered: Counter,
    reconnects: Counter,
    no_answer: Counter,
    no_module: Counter,
    refused: Counter,
    /// Requests that were rejected, by the bound that they exceeded.
    over_caller: Counter,
    over_server: Counter,
    over_deadline: Counter,
    /// How many breakers are in each state.
    connecting: Gauge,
    closed: Gauge,
    open: Gauge,
}

impl CallMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let calls = Histogram::new(BOUNDS_S);
        let help = "Until a call to Redis was answered or given up";
        registry.register_with_unit("redis_command_duration", help, Unit::Seconds, calls.clone());
        let error = by_label(
            registry,
            "redis_errors",
            "Requests that Redis did not decide",
            "kind",
        );
        let state = by_label(
            registry,
            "breaker_state",
            "Circuit breakers in each state",
            "state",
        );
        let overloaded = by_label(
            registry,
            "overloaded",
            "Requests answered 503 because too many wait for Redis",
            "bound",
        );
        let help = "Denials that were remembered, so that Redis was not asked";
        Self {
            calls,
            up: registered(registry, "redis_up", "1 if Redis decides, else 0"),
            remembered: registered(registry, "deny_cache_hits", help),
            reconnects: registered(registry, "redis_reconnects", "Connections made anew"),
            no_answer: error("no_answer"),
            no_module: error("no_module"),
            refused: error("refused"),
            over_caller: overloaded("caller"),
            over_server: overloaded("server"),
            over_deadline: overloaded("deadline"),
            connecting: state("connecting"),
            closed: state("closed"),
            open: state("open"),
        }
    }

    pub(crate) fn called(&self, took: Duration) {
        self.calls.observe(took.as_secs_f64());
    }

    pub(crate) fn undecided(&self, reason: &Unavailable) {
        let counter = match reason {
            Unavailable::NoAnswer => &self.no_answer,
            Unavailable::NoModule => &self.no_module,
            Unavailable::Refused(_) => &self.refused,
            Unavailable::Overloaded(Overload::Caller) => &self.over_caller,
            Unavailable::Overloaded(Overload::Server) => &self.over_server,
            Unavailable::Overloaded(Overload::Deadline) => &self.over_deadline,
        };
        counter.inc();
    }

    fn breakers(&self, state: BreakerState) -> &Gauge {
        match state {
            BreakerState::Connecting => &self.connecting,
            BreakerState::Closed => &self.closed,
            BreakerState::Open => &self.open,
        }
    }
}

/// The state of one breaker among those that are counted, for as long as it lives.
pub(crate) struct Breaker {
    metrics: Arc<CallMetrics>,
    state: BreakerState,
    was_closed: bool,
}

impl Breaker {
    pub(crate) fn new(metrics: Arc<CallMetrics>) -> Self {
        metrics.breakers(BreakerState::Connecting).inc();
        Self {
            metrics,
            state: BreakerState::Connecting,
            was_closed: false,
        }
    }

    pub(crate) fn becomes(&mut self, state: BreakerState) {
        self.metrics.breakers(self.state).dec();
        self.metrics.breakers(state).inc();
        self.state = state;
        if state == BreakerState::Closed {
            if self.was_closed {
                self.metrics.reconnects.inc();
            }
            self.was_closed = true;
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        self.metrics.breakers(self.state).dec();
    }
}
