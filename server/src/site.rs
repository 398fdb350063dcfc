//! What a listener serves, as [`crate::http`] makes it and [`crate::connections`] takes it.

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;

/// What connections serve.
#[derive(Clone)]
pub struct Site {
    /// Answers requests.
    pub routes: Router,
    /// Answers in the place of `routes` those that are refused for their form. It must not wait.
    pub screen: fn(&Request<Incoming>) -> Option<Response>,
}
