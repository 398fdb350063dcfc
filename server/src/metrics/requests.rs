//! The duration of HTTP requests by method, route and status.
//!
//! Clients choose methods and paths, so each label has a fixed list of values, in which `_OTHER` stands for all others.
//! `connections/connection.rs` counts every request here, also those that are answered before they reach a route.
//!
//! A histogram exists from the first request with its labels on. All combinations, more than two hundred, would fill
//! the text with zeros.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::per_thread::ThreadHistogram;

/// Upper bounds in seconds: from an answer without Redis to a long delay by shaping. Each set of labels has one line
/// for each bound, and clients can cause more than fifty sets, so the bounds are few.
const BOUNDS_S: [f64; 11] = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0, 10.0,
];

/// With a bucket for each bound, and one above them.
type Histogram = ThreadHistogram<{ BOUNDS_S.len() + 1 }>;

/// The values of the label `method`. The last one stands for all others, in each of these three lists.
const METHODS: [&str; 3] = ["GET", "HEAD", "_OTHER"];
/// The values of the label `route`: the paths that exist. An unknown path counts as `_OTHER`, however often clients
/// vary it.
const ROUTES: [&str; 10] = [
    "/",
    "/token",
    "/leaky",
    NAMED_TOKEN,
    NAMED_LEAKY,
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
    "_OTHER",
];

/// The routes of named policies. Which policy is a label of `rl_decisions`.
const NAMED_TOKEN: &str = "/token/{policy}";
const NAMED_LEAKY: &str = "/leaky/{policy}";
/// The values of the label `status`. The status of denials has one of its own, after these.
const STATUSES: [&str; 9] = [
    "200", "400", "401", "403", "404", "405", "429", "503", "_OTHER",
];

/// The index of the status of denials, after all of [`STATUSES`], if it is not one of them.
const DENY_STATUS: usize = STATUSES.len();

/// Method, route and status with their names. Only the status of denials is not a constant, hence the [`Cow`].
type RequestLabels = [(&'static str, Cow<'static, str>); 3];

/// The labels that are known before a request is answered. `GET /token?cost=2` has the method `GET` and the route
/// `/token`, `DELETE /x` has `_OTHER` twice.
///
/// Find them before the request is handed on, which consumes its method and path.
#[derive(Clone, Copy)]
pub(crate) struct RouteLabels {
    /// An index into [`METHODS`].
    method: usize,
    /// An index into [`ROUTES`].
    route: usize,
}

impl RouteLabels {
    /// The labels of a request by its method and its path, without the query.
    pub(crate) fn new(method: &Method, path: &str) -> Self {
        let route = match path {
            path if path.starts_with("/token/") => NAMED_TOKEN,
            path if path.starts_with("/leaky/") => NAMED_LEAKY,
            path => path,
        };
        Self {
            method: index_or_other(method.as_str(), &METHODS),
            route: index_or_other(route, &ROUTES),
        }
    }

    /// The labels of a request that is refused before its path is read.
    pub(crate) fn unrouted(method: &Method) -> Self {
        Self::new(method, ROUTES[ROUTES.len() - 1])
    }
}

/// `http_server_request_duration_seconds`, a name that OpenTelemetry defines.
pub(crate) struct RequestMetrics {
    /// The histograms by their labels, as the registry shows them.
    histograms: Family<RequestLabels, Histogram, fn() -> Histogram>,
    /// The histograms that are in use, by the indices of their labels, so that no request looks one up by name.
    in_use: [[[OnceLock<Histogram>; STATUSES.len() + 1]; ROUTES.len()]; METHODS.len()],
    /// The status of denials.
    deny_status: StatusCode,
}

impl RequestMetrics {
    /// Registers the metric. `deny_status` is the status of denials. It has a label of its own.
    pub(super) fn new(registry: &mut Registry, deny_status: StatusCode) -> Self {
        let constructor: fn() -> Histogram = || Histogram::new(&BOUNDS_S);
        let histograms = Family::new_with_constructor(constructor);
        registry.register_with_unit(
            "http_server_request_duration",
            "Duration of HTTP requests, including the delay of shaping",
            Unit::Seconds,
            histograms.clone(),
        );
        Self {
            histograms,
            in_use: Default::default(),
            deny_status,
        }
    }

    /// Counts a request that was answered after `duration`.
    ///
    /// The time to send the response is not part of it.
    pub(crate) fn observe(&self, labels: RouteLabels, status: StatusCode, duration: Duration) {
        let RouteLabels { method, route } = labels;
        let status = self.status_index(status);
        let new = || {
            self.histograms.get_or_create_owned(&[
                ("method", METHODS[method].into()),
                ("route", ROUTES[route].into()),
                ("status", self.status_label(status)),
            ])
        };
        let histogram = self.in_use[method][route][status].get_or_init(new);
        histogram.observe(duration);
    }

    /// The index of a status: in [`STATUSES`], [`DENY_STATUS`], or that of `_OTHER`.
    fn status_index(&self, status: StatusCode) -> usize {
        match index(status.as_str(), &STATUSES) {
            Some(index) => index,
            None if status == self.deny_status => DENY_STATUS,
            None => STATUSES.len() - 1,
        }
    }

    /// The value of the label for such an index.
    fn status_label(&self, index: usize) -> Cow<'static, str> {
        match STATUSES.get(index) {
            Some(status) => Cow::Borrowed(*status),
            None => Cow::Owned(self.deny_status.as_str().to_owned()),
        }
    }
}

/// The index of `value` in `values`. `None` if it is not one of them.
fn index(value: &str, values: &[&str]) -> Option<usize> {
    values.iter().position(|known| *known == value)
}

/// The index of `value`, or of the last of `values`, which is `_OTHER`.
fn index_or_other(value: &str, values: &[&str]) -> usize {
    index(value, values).unwrap_or(values.len() - 1)
}
