//! Answers to requests that no handler takes, on every listener alike.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;

use super::error::HttpError;
use super::negotiate::Form;
use super::screening;
use crate::site::Site;

/// What a listener serves: `routes`, with the answers to requests that are none of theirs.
pub fn site(routes: Router) -> Site {
    Site {
        routes: routes.method_not_allowed_fallback(unknown_method),
        screen: refuse,
    }
}

pub(super) async fn unknown_path(request: Request) -> Response {
    HttpError::NoSuchPath.response(form(&request))
}

pub(super) async fn unknown_method(request: Request) -> Response {
    HttpError::NoSuchMethod.response(form(&request))
}

fn refuse(request: &hyper::Request<Incoming>) -> Option<Response> {
    let rejected = screening::check_host(request).err()?;
    Some(HttpError::from(rejected).response(form(request)))
}

fn form<B>(request: &hyper::Request<B>) -> Form<'_> {
    Form::of(request.uri().path(), request.headers())
}
