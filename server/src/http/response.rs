//! A decision as a response. Pure.

use std::net::IpAddr;

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rl_bucket::Decision;

use super::body::Body;
use super::caller;
use super::headers;
use super::negotiate::Form;
use super::problem::{Kind, Problem};
use crate::config::AnswerFlags;
use crate::limit::{Answer, LimitRequest};

/// The response to a request of the caller at `ip` that has its answer.
pub(crate) fn answered(
    form: Form<'_>,
    ip: IpAddr,
    asked: &LimitRequest,
    answer: &Answer,
    flags: &AnswerFlags,
) -> Response {
    let name = caller::name(asked.algorithm);
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(decision) = answer.decision() {
        headers::add(
            &mut headers,
            name,
            asked.policy,
            decision,
            flags.x_ratelimit,
        );
    }
    let body = Body::of(asked.algorithm, ip, answer);
    match answer.decision() {
        Some(denial) if !body.allowed && form.is_problem => {
            let (status, detail) = (flags.deny_status, advice(denial));
            Problem::new(Kind::QuotaExceeded, status, &detail, form.path)
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::body::to_bytes;
    use rl_bucket::{Algorithm, Capacity, Policy, Rate, Tokens};

    use super::*;

    /// The status, the RateLimit field and the body of this answer.
    async fn told(answer: Answer) -> (u16, Option<HeaderValue>, String) {
        let asked = LimitRequest {
            algorithm: Algorithm::Token,
            key: String::new(),
            policy: Policy::new(Rate::parse(b"10").unwrap(), Capacity::new(1).unwrap()),
            cost: Tokens::ONE,
        };
        let flags = AnswerFlags {
            deny_status: StatusCode::FORBIDDEN,
            x_ratelimit: true,
            cors_origins: "".parse().unwrap(),
            page: false,
        };
        let form = Form {
            path: "/token",
            is_problem: false,
        };
        let ip = Ipv4Addr::LOCALHOST.into();
        let response = answered(form, ip, &asked, &answer, &flags);
        let (told, body) = response.into_parts();
        let body = to_bytes(body, 1000).await.unwrap().to_vec();
        let field = told.headers.get("ratelimit").cloned();
        let has_older_form = told.headers.contains_key("x-ratelimit-limit");
        assert_eq!(has_older_form, field.is_some());
        (
            told.status.as_u16(),
            field,
            String::from_utf8(body).unwrap(),
        )
    }

    fn denial() -> Decision {
        Decision {
            allowed: 0,
            limit: 1,
            remaining: 0,
            retry_after_ms: Some(7),
            reset_after_ms: 7,
            delay_ms: 0,
        }
    }

    #[tokio::test]
    async fn what_nobody_counted_has_no_numbers_and_says_that_it_is_degraded() {
        let (status, field, body) = told(Answer::Degraded(None)).await;
        let expected =
            r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","degraded":true}"#;
        assert_eq!((status, field, body.as_str()), (200, None, expected));
    }

    #[tokio::test]
    async fn what_was_decided_without_redis_has_numbers_and_says_that_it_is_degraded() {
        let (status, field, body) = told(Answer::Degraded(Some(denial()))).await;
        let (_, same_field, undegraded) = told(Answer::Decided(denial())).await;
        assert_eq!((status, field.clone()), (403, same_field));
        assert!(field.is_some());
        assert_eq!(body, undegraded.replace('}', r#","degraded":true}"#));
    }
}
