//! Metrics of Redis: how long calls take, why requests were not decided, and the state of the circuit breakers.
//!
//! [`crate::limiter`] counts here. A call is one command sent to a server; a request may take several, by redirections,
//! or none, if it is rejected or the server is gone. So the counts of calls and requests differ.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::family::{by_label, registered};
use super::per_thread::{ThreadCounter, ThreadHistogram};
use crate::limit::{Overload, Unavailable};

/// Upper bounds in seconds. A call usually takes a fraction of a millisecond, and at most the deadline.
///
/// Time-outs are among the durations, so with the default deadline of 50 ms a silent Redis shows at that bound.
const BOUNDS_S: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5,
];

/// The state of the circuit breaker of one Redis server: the label `state` of `rl_breaker_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// Calls wait for an attempt to connect.
    Connecting,
    /// Calls are sent.
    Closed,
    /// Calls fail at once, until an attempt to connect succeeds.
    Open,
}

/// The metrics of all calls, to all servers of a cluster together.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    /// `rl_redis_command_duration_seconds`.
    calls: ThreadHistogram<{ BOUNDS_S.len() + 1 }>,
    /// `rl_redis_up`: 1 or 0, set whenever the metrics are read.
    pub(super) up: Gauge,
    /// Denials that the deny cache repeated without a call to Redis.
    deny_cache_hits: ThreadCounter,
    /// Connections to a server after the first one of its link.
    reconnects: Counter,
    /// Requests that Redis did not decide, by [`Unavailable`]. They were answered as `-on-outage` says.
    no_answer: Counter,
    /// Redis does not have the module.
    no_module: Counter,
    /// Redis replied an error.
    refused: Counter,
    /// Requests that were rejected as overload, by the bound that they exceeded.
    over_caller: Counter,
    /// By the bound of all callers.
    over_server: Counter,
    /// By the deadline, although Redis replies.
    over_deadline: Counter,
    /// The number of breakers in each state.
    connecting: Gauge,
    /// Servers that are connected.
    closed: Gauge,
    /// Servers that are gone.
    open: Gauge,
}

impl CallMetrics {
    /// Registers the metrics. The text of each is what a scrape shows.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let calls = ThreadHistogram::new(&BOUNDS_S);
        let help = "Duration of calls to Redis, until the reply or the time-out";
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
            "Number of circuit breakers in each state",
            "state",
        );
        let overloaded = by_label(
            registry,
            "overloaded",
            "Requests rejected with 503 because of overload",
            "bound",
        );
        let hits = "Denials from the deny cache, without a call to Redis";
        Self {
            calls,
            up: registered(
                registry,
                "redis_up",
                "1 if Redis decides requests, 0 otherwise",
            ),
            deny_cache_hits: registered(registry, "deny_cache_hits", hits),
            reconnects: registered(registry, "redis_reconnects", "Reconnections to Redis"),
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

    /// Counts a call that had a reply, or timed out, after `duration`.
    ///
    /// Rejected calls are not among them: they were never sent.
    pub(crate) fn observe_call(&self, duration: Duration) {
        self.calls.observe(duration);
    }

    /// Counts a denial that the deny cache repeated.
    pub(crate) fn count_deny_cache_hit(&self) {
        self.deny_cache_hits.inc();
    }

    /// Counts a request that Redis did not decide, once, by its reason. Overload is counted apart from errors, as it
    /// says that there are too many requests and not that Redis fails.
    pub(crate) fn count_undecided(&self, reason: &Unavailable) {
        let counter = match reason {
            Unavailable::NoAnswer => &self.no_answer,
            Unavailable::NoModule => &self.no_module,
            Unavailable::Refused(_) => &self.refused,
            Unavailable::Overloaded(Overload::Caller) => &self.over_caller,
            Unavailable::Overloaded(Overload::Server) => &self.over_server,
            Unavailable::Overloaded(Overload::Deadline) => &self.over_deadline,
            // The caller's error, which the status of the response counts.
            Unavailable::DebtTooLarge { .. } => return,
        };
        counter.inc();
    }

    /// The number of breakers in this state.
    fn breakers(&self, state: BreakerState) -> &Gauge {
        match state {
            BreakerState::Connecting => &self.connecting,
            BreakerState::Closed => &self.closed,
            BreakerState::Open => &self.open,
        }
    }
}

/// Counts one circuit breaker in the gauges, under its current state, until it is dropped.
///
/// It is the guard of the count and does not decide anything: that is in `limiter/breaker.rs`.
pub(crate) struct Breaker {
    metrics: Arc<CallMetrics>,
    state: BreakerState,
    /// Whether it has been closed before, so that the first connection is no reconnection.
    was_closed: bool,
}

impl Breaker {
    /// A breaker in its first state, [`BreakerState::Connecting`].
    pub(crate) fn new(metrics: Arc<CallMetrics>) -> Self {
        metrics.breakers(BreakerState::Connecting).inc();
        Self {
            metrics,
            state: BreakerState::Connecting,
            was_closed: false,
        }
    }

    /// Moves the breaker to `state`. Closing it again counts as a reconnection.
    pub(crate) fn set(&mut self, state: BreakerState) {
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
