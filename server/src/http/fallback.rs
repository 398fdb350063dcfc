//! Responses to requests that no route handles: an unknown path, another method, an invalid Host header.
//!
//! Every listener answers them in the same form.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;

use super::error::HttpError;
use super::negotiate::ResponseFormat;
use super::screening;
use crate::site::Site;

/// What a listener serves: these routes, behind the check of the Host header, and 405 for methods that they do not have.
pub fn site(routes: Router) -> Site {
    Site {
        routes: routes.method_not_allowed_fallback(unknown_method),
        screen: reject,
    }
}

/// 404 on the listener of `-addr`.
pub(super) async fn unknown_path(request: Request) -> Response {
    HttpError::PathNotFound("/token or /leaky").response(format(&request))
}

/// 404 below `/token/` and `/leaky/`.
pub(super) fn unknown_policy(request: &Request) -> Response {
    HttpError::PolicyNotFound.response(format(request))
}

/// 404 on the listener of `-metrics-addr`.
pub(super) async fn unknown_operator_path(request: Request) -> Response {
    let paths = "/metrics, /top, /livez, /readyz or /healthz";
    HttpError::PathNotFound(paths).response(format(&request))
}

pub(super) async fn unknown_method(request: Request) -> Response {
    HttpError::MethodNotAllowed.response(format(&request))
}

fn reject(request: &hyper::Request<Incoming>) -> Option<Response> {
    let rejection = screening::check_host(request).err()?;
    Some(HttpError::from(rejection).response(format(request)))
}

fn format<B>(request: &hyper::Request<B>) -> ResponseFormat<'_> {
    ResponseFormat::from_headers(request.uri().path(), request.headers())
}
