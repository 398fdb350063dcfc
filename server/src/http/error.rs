//! Why a request is not answered with a decision, and the one place where that becomes a status.

use std::fmt;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::negotiate::Form;
use super::problem::{Kind, Problem};
use super::query::BadQuery;
use super::screening::Rejected;
use super::shaping::ShapeError;
use crate::limit::Unavailable;

/// Why a request has no answer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    NoSuchPath,
    NoSuchMethod,
    BadQuery(BadQuery),
    Rejected(Rejected),
    Unavailable(Unavailable),
    ShapeError(ShapeError),
}

impl From<BadQuery> for HttpError {
    fn from(query: BadQuery) -> Self {
        Self::BadQuery(query)
    }
}

impl From<Rejected> for HttpError {
    fn from(reason: Rejected) -> Self {
        Self::Rejected(reason)
    }
}

impl From<Unavailable> for HttpError {
    fn from(reason: Unavailable) -> Self {
        Self::Unavailable(reason)
    }
}

impl From<ShapeError> for HttpError {
    fn from(reason: ShapeError) -> Self {
        Self::ShapeError(reason)
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPath => f.write_str("no such path: there are /token and /leaky"),
            Self::NoSuchMethod => f.write_str("no such method: there are GET and HEAD"),
            Self::BadQuery(query) => query.fmt(f),
            Self::Rejected(reason) => reason.fmt(f),
            Self::Unavailable(reason) => reason.fmt(f),
            Self::ShapeError(reason) => reason.fmt(f),
        }
    }
}

/// The body of a fault, where it is not told as a problem.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

impl HttpError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadQuery(_) => StatusCode::BAD_REQUEST,
            Self::Rejected(reason) => reason.status(),
            Self::Unavailable(_) | Self::ShapeError(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The response to the request that has it, without any number that nobody counted.
    pub(crate) fn response(&self, form: Form<'_>) -> Response {
        let (status, reason) = (self.status(), self.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let kind = match self {
            Self::Unavailable(_) | Self::ShapeError(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                Kind::TemporaryReducedCapacity
            }
            Self::NoSuchPath | Self::NoSuchMethod | Self::BadQuery(_) | Self::Rejected(_) => {
                Kind::Blank
            }
        };
        if form.is_problem {
            Problem::new(kind, status, &reason, form.path).response(status, headers)
        } else {
            (status, headers, Json(ErrorBody { error: &reason })).into_response()
        }
    }
}
