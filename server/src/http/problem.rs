//! Problem details (RFC 9457): the form of denials and errors for clients that accept it. Pure.
//!
//! The types are those of draft-ietf-httpapi-ratelimit-headers-11. [`super::negotiate`] says who gets them.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::body::Body;
use super::json;

/// The type of a problem.
#[derive(Clone, Copy)]
pub(crate) enum ProblemType {
    /// A denial.
    QuotaExceeded,
    /// No decision was possible.
    TemporaryReducedCapacity,
    /// `about:blank`: the status says everything.
    AboutBlank,
}

/// The body of a problem. For a denial it also has all fields of the plain body.
#[derive(Serialize)]
pub(crate) struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<Vec<&'a str>>,
    #[serde(flatten)]
    body: Option<&'a Body<'a>>,
}

impl<'a> Problem<'a> {
    /// A problem of a request for the path `instance`. `detail` says what happened and what to do.
    pub(crate) fn new(
        problem_type: ProblemType,
        status: StatusCode,
        detail: &'a str,
        instance: &'a str,
    ) -> Self {
        let (r#type, title) = match problem_type {
            ProblemType::QuotaExceeded => (
                "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "Request cannot be satisfied as assigned quota has been exceeded",
            ),
            ProblemType::TemporaryReducedCapacity => (
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                "Request cannot be satisfied due to temporary server capacity constraints",
            ),
            ProblemType::AboutBlank => {
                ("about:blank", status.canonical_reason().unwrap_or_default())
            }
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

    /// Adds the limits that denied the request, by the names in RateLimit-Policy, and the fields of the plain body.
    pub(crate) fn with_denial(self, limits: Vec<&'a str>, body: &'a Body<'a>) -> Self {
        Self {
            violated_policies: Some(limits),
            body: Some(body),
            ..self
        }
    }

    /// The response, with these headers and the media type of problems.
    pub(crate) fn response(&self, status: StatusCode, mut headers: HeaderMap) -> Response {
        let media_type = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, media_type);
        json::response(status, headers, self)
    }
}
