//! Why a request is not answered with a decision, and the one place where that becomes a status.

use std::fmt;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::accept::Form;
use crate::problem::{Kind, Problem};
use crate::query::BadQuery;
use crate::screening::Rejected;
use crate::shaping::Unshaped;

/// Redis could not decide. It is never a denial: the caller has done nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No answer within the deadline, or no connection.
    NoAnswer,
    /// Redis answers, but does not know our commands.
    NoModule,
    /// Redis refused the call, with this error code, such as OOM or READONLY.
    Refused(String),
    /// Redis answers, but too many requests wait for it. `-on-outage` does not apply.
    Overloaded(Overload),
}

/// The bound that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Its caller waits for as many calls as one caller may.
    Caller,
    /// As many calls wait for this Redis server as may.
    Server,
    /// The call was sent and waited for the whole deadline behind others. Its tokens may be spent.
    Deadline,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "too many requests of this caller wait for Redis",
            Self::Server => "too many requests wait for Redis",
            Self::Deadline => "the request waited for Redis for too long",
        })
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("Redis does not answer"),
            Self::NoModule => f.write_str(
                "Redis does not have the rl module: start it with redis-server --loadmodule target/release/librl.so",
            ),
            Self::Refused(code) => write!(f, "Redis refused the call: {code}"),
            Self::Overloaded(overload) => write!(f, "overloaded: {overload}"),
        }
    }
}

/// Why a request has no answer of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NoSuchPath,
    NoSuchMethod,
    BadQuery(BadQuery),
    Rejected(Rejected),
    Unavailable(Unavailable),
    Unshaped(Unshaped),
}

impl From<BadQuery> for Fault {
    fn from(query: BadQuery) -> Self {
        Self::BadQuery(query)
    }
}

impl From<Rejected> for Fault {
    fn from(reason: Rejected) -> Self {
        Self::Rejected(reason)
    }
}

impl From<Unavailable> for Fault {
    fn from(reason: Unavailable) -> Self {
        Self::Unavailable(reason)
    }
}

impl From<Unshaped> for Fault {
    fn from(reason: Unshaped) -> Self {
        Self::Unshaped(reason)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPath => f.write_str("no such path: there are /token and /leaky"),
            Self::NoSuchMethod => f.write_str("no such method: there are GET and HEAD"),
            Self::BadQuery(query) => query.fmt(f),
            Self::Rejected(reason) => reason.fmt(f),
            Self::Unavailable(reason) => reason.fmt(f),
            Self::Unshaped(reason) => reason.fmt(f),
        }
    }
}

/// The body of a fault, where it is not told as a problem.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadQuery(_) => StatusCode::BAD_REQUEST,
            Self::Rejected(reason) => reason.status(),
            Self::Unavailable(_) | Self::Unshaped(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The response to the request that has it, without any number that nobody counted.
    pub(crate) fn response(&self, form: Form<'_>) -> Response {
        let (status, reason) = (self.status(), self.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let kind = match self {
            Self::Unavailable(_) | Self::Unshaped(_) => {
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
