//! The interface between [`crate::http`], which builds what a listener serves, and [`crate::connections`], which serves
//! it. Neither imports the other.

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;

/// What the connections of one listener serve.
#[derive(Clone)]
pub struct Site {
    /// Handles requests.
    pub routes: Router,
    /// Runs before `routes`, without waiting. Returns the response to a request that is rejected for its form.
    pub screen: fn(&Request<Incoming>) -> Option<Response>,
}
