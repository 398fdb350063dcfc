//! Why Redis could not decide, and the one place where that becomes a status.

use std::fmt;

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Redis could not decide. It is never a denial: the caller has done nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// No answer within the deadline, or no connection.
    NoAnswer,
    /// Redis answers, but does not know our commands.
    NoModule,
    /// Redis refused the call, with this error code, such as OOM or READONLY.
    Refused(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("Redis does not answer"),
            Self::NoModule => f.write_str(
                "Redis does not have the rl module: start it with redis-server --loadmodule target/release/librl.so",
            ),
            Self::Refused(code) => write!(f, "Redis refused the call: {code}"),
        }
    }
}

/// The body of every error.
#[derive(Serialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: String,
}

impl IntoResponse for Unavailable {
    fn into_response(self) -> Response {
        let headers = [
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (RETRY_AFTER, HeaderValue::from_static("1")),
        ];
        (
            StatusCode::SERVICE_UNAVAILABLE,
            headers,
            Json(ErrorBody {
                error: self.to_string(),
            }),
        )
            .into_response()
    }
}
