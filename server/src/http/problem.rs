//! Denials and errors as problem details (RFC 9457), for callers that ask for them. Pure.
//!
//! The types are those of draft-ietf-httpapi-ratelimit-headers-11.

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::Body;

/// The kinds of problem there are.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A denial.
    QuotaExceeded,
    /// Nobody could decide.
    TemporaryReducedCapacity,
    /// What the status says, and no more.
    Blank,
}

/// The body of a problem; a denial's has all that its plain body has too.
#[derive(Serialize)]
pub(crate) struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
    #[serde(flatten)]
    body: Option<&'a Body>,
}

impl<'a> Problem<'a> {
    /// What happened, in words, to a request for the path `instance`.
    pub(crate) fn new(kind: Kind, status: StatusCode, detail: &'a str, instance: &'a str) -> Self {
        let (r#type, title) = match kind {
            Kind::QuotaExceeded => (
                "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "Request cannot be satisfied as assigned quota has been exceeded",
            ),
            Kind::TemporaryReducedCapacity => (
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                "Request cannot be satisfied due to temporary server capacity constraints",
            ),
            Kind::Blank => ("about:blank", status.canonical_reason().unwrap_or_default()),
        };
        Self {
            r#type,
            title,
            status: status.as_u16(),
            detail,
            instance,
            violated_policies: None,
            body: None,
        }
    }

    /// As the denial by a policy.
    pub(crate) fn of_denial(self, policy: &'a str, body: &'a Body) -> Self {
        Self {
            violated_policies: Some([policy]),
            body: Some(body),
            ..self
        }
    }

    /// The response with these other headers.
    pub(crate) fn response(&self, status: StatusCode, mut headers: HeaderMap) -> Response {
        let media_type = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, media_type);
        (status, headers, Json(self)).into_response()
    }
}
