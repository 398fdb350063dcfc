//! How long answers take, by method, route and status.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::family::Labels;

/// Upper bounds in seconds: from an answer without Redis to a long wait for a turn. They are few, since each label set has a line
/// for each, and a stranger can cause more than fifty label sets.
const BOUNDS_S: [f64; 11] = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0, 10.0,
];

/// The values of each label; the last stands for all others.
const METHODS: [&str; 3] = ["GET", "HEAD", "_OTHER"];
const ROUTES: [&str; 8] = [
    "/", "/token", "/leaky", "/livez", "/readyz", "/healthz", "/metrics", "_OTHER",
];
const STATUSES: [&str; 9] = [
    "200", "400", "401", "403", "404", "405", "429", "503", "_OTHER",
];

/// What is known of a request before it is answered.
#[derive(Clone, Copy)]
pub(crate) struct RouteLabels {
    method: usize,
    route: usize,
}

impl RouteLabels {
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        Self {
            method: place(method.as_str(), &METHODS),
            route: place(path, &ROUTES),
        }
    }

    /// Of a request that is refused whatever its path is.
    pub(crate) fn unrouted(method: &Method) -> Self {
        Self::of(method, ROUTES[ROUTES.len() - 1])
    }
}

pub(crate) struct RequestMetrics {
    all: Family<Labels<3>, Histogram, fn() -> Histogram>,
    /// Those that were needed so far, held so that no request looks for its own.
    held: [[[OnceLock<Histogram>; STATUSES.len()]; ROUTES.len()]; METHODS.len()],
}

impl RequestMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let constructor: fn() -> Histogram = || Histogram::new(BOUNDS_S);
        let all = Family::new_with_constructor(constructor);
        registry.register_with_unit(
            "http_server_request_duration",
            "Until a request was answered, a wait that shapes included",
            Unit::Seconds,
            all.clone(),
        );
        let held = [const { [const { [const { OnceLock::new() }; _] }; _] }; _];
        Self { all, held }
    }

    pub(crate) fn answered(&self, of: RouteLabels, status: StatusCode, after: Duration) {
        let RouteLabels { method, route } = of;
        let status = place(status.as_str(), &STATUSES);
        let labels = [
            ("method", METHODS[method]),
            ("route", ROUTES[route]),
            ("status", STATUSES[status]),
        ];
        let histogram =
            self.held[method][route][status].get_or_init(|| self.all.get_or_create_owned(&labels));
        histogram.observe(after.as_secs_f64());
    }
}

/// The place of a value among those of its label, or the last.
fn place(value: &str, values: &[&str]) -> usize {
    values
        .iter()
        .position(|known| *known == value)
        .unwrap_or(values.len() - 1)
}
