//! A decision as a response. Pure.

use std::net::IpAddr;

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rl_bucket::Decision;

use crate::accept::prefers_problem;
use crate::body::Body;
use crate::caller;
use crate::config::AnswerFlags;
use crate::headers;
use crate::limiter::{Answer, Asked};
use crate::problem::{Kind, Problem};

/// The response to a request of the caller at `ip` that has its answer.
pub(crate) fn answered(
    request: &Parts,
    ip: IpAddr,
    asked: &Asked,
    answer: &Answer,
    flags: &AnswerFlags,
) -> Response {
    let name = caller::name(asked.algorithm);
    let no_store = HeaderValue::from_static("no-store");
    let mut headers = HeaderMap::from_iter([(CACHE_CONTROL, no_store)]);
    if let Some(decision) = answer.decision() {
        headers.extend(headers::of(name, asked.policy, decision, flags.x_ratelimit));
    }
    let body = Body::of(asked.algorithm, ip, answer);
    match answer.decision() {
        Some(denial) if !body.allowed && prefers_problem(&request.headers) => {
            let (status, detail) = (flags.deny_status, advice(denial));
            Problem::new(Kind::QuotaExceeded, status, &detail, request.uri.path())
                .of_denial(name, &body)
                .response(status, headers)
        }
        Some(_) if !body.allowed => (flags.deny_status, headers, Json(body)).into_response(),
        _ => (StatusCode::OK, headers, Json(body)).into_response(),
    }
}

/// What a denied caller can do, with the number of its Retry-After.
fn advice(denial: &Decision) -> String {
    match headers::retry_after_s(denial) {
        Some(wait_s) => format!("Try again in {wait_s} s"),
        None => format!(
            "No wait helps: the cost is above the limit of {}",
            denial.limit
        ),
    }
}
