//! Why a request is not decided, and the one place where each reason becomes a status and a response.
//!
//! The reasons themselves come from the files that find them.

use std::fmt;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::json;
use super::negotiate::ResponseFormat;
use super::problem::{Problem, ProblemType};
use super::query::QueryError;
use super::screening::Rejection;
use super::shaping::ShapeError;
use crate::limit::Unavailable;

/// Why a request has no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpError {
    /// No route has this path. Holds the paths that the listener serves, for the error text.
    PathNotFound(&'static str),
    /// The path names a policy that the file does not have.
    PolicyNotFound,
    MethodNotAllowed,
    Query(QueryError),
    Rejected(Rejection),
    Unavailable(Unavailable),
    Shape(ShapeError),
}

impl From<QueryError> for HttpError {
    fn from(reason: QueryError) -> Self {
        Self::Query(reason)
    }
}

impl From<Rejection> for HttpError {
    fn from(reason: Rejection) -> Self {
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
        Self::Shape(reason)
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathNotFound(paths) => write!(f, "path not found; use {paths}"),
            Self::PolicyNotFound => f.write_str(
                "no policy has this name; use default or a name from the file of -policies",
            ),
            Self::MethodNotAllowed => f.write_str("method not allowed; use GET or HEAD"),
            Self::Query(reason) => reason.fmt(f),
            Self::Rejected(reason) => reason.fmt(f),
            Self::Unavailable(reason) => reason.fmt(f),
            Self::Shape(reason) => reason.fmt(f),
        }
    }
}

/// The body of an error in plain JSON.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

impl HttpError {
    fn status(&self) -> StatusCode {
        match self {
            Self::PathNotFound(_) | Self::PolicyNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Query(_) | Self::Unavailable(Unavailable::DebtTooLarge { .. }) => {
                StatusCode::BAD_REQUEST
            }
            Self::Rejected(reason) => reason.status(),
            Self::Unavailable(_) | Self::Shape(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The response: no decision, so no RateLimit fields. 503 has `Retry-After: 1`.
    pub(crate) fn response(&self, format: ResponseFormat<'_>) -> Response {
        let (status, reason) = (self.status(), self.to_string());
        let mut headers = json::headers();
        let problem_type = match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                ProblemType::TemporaryReducedCapacity
            }
            _ => ProblemType::AboutBlank,
        };
        if format.is_problem {
            Problem::new(problem_type, status, &reason, format.path).response(status, headers)
        } else {
            json::response(status, headers, &ErrorBody { error: &reason })
        }
    }
}
