//! The response to a request that was decided: status, headers and body. Pure.
//!
//! [`super::error`] makes the response to a request that was not decided.

use std::net::IpAddr;

use axum::http::StatusCode;
use axum::response::Response;
use nonempty::NonEmpty;
use rl_bucket::{Decision, Policy};

use super::body::Body;
use super::headers;
use super::json;
use super::negotiate::ResponseFormat;
use super::problem::{Problem, ProblemType};
use super::window::retry_after_s;
use crate::config::{AnswerFlags, NamedPolicy};
use crate::limit::{Answer, LimitRequest};

/// The response to the caller at `ip`: 200, or for a denial the status of `-deny-status`. A policy in dry run denies
/// nothing; its headers and numbers are the same.
pub(crate) fn from_answer(
    format: ResponseFormat<'_>,
    ip: IpAddr,
    policy: &NamedPolicy,
    request: &LimitRequest,
    answer: &Answer,
    flags: &AnswerFlags,
) -> Response {
    let limits = named_limits(policy, request);
    let mut headers = json::headers();
    if let Some(decisions) = answer.decisions() {
        headers::add(&mut headers, &limits, decisions, flags.x_ratelimit);
    }
    let body = Body::new(request.algorithm, ip, policy, answer);
    match answer.decisions() {
        Some(denial) if !body.allowed && format.is_problem => {
            let (status, detail) = (flags.deny_status, advice(denial.deciding()));
            let pairs = limits.iter().zip(&denial.0);
            let denied = pairs.filter(|(_, decision)| decision.allowed == 0);
            let names = denied.map(|((name, _), _)| *name).collect();
            Problem::new(ProblemType::QuotaExceeded, status, &detail, format.path)
                .with_denial(names, &body)
                .response(status, headers)
        }
        Some(_) if !body.allowed => json::response(flags.deny_status, headers, &body),
        _ => json::response(StatusCode::OK, headers, &body),
    }
}

/// The limits of a request as the RateLimit fields name them: by the limit's name, or else the policy's, or else the
/// algorithm's. The policy comes from the request, since the query may have changed it.
fn named_limits<'a>(
    policy: &'a NamedPolicy,
    request: &LimitRequest,
) -> NonEmpty<(&'a str, Policy)> {
    let policy_name = match policy.is_default() {
        true => request.algorithm.name(),
        false => policy.name.as_str(),
    };
    let mut names = policy.limits.iter().map(|limit| limit.name.as_deref());
    request.limits.as_ref().map(|limit| {
        let name = names.next().flatten();
        (name.unwrap_or(policy_name), limit.policy)
    })
}

/// What a denied caller can do, with the same seconds as its Retry-After.
fn advice(denial: &Decision) -> String {
    match retry_after_s(denial) {
        Some(wait_s) => format!("Try again in {wait_s} s"),
        None => format!(
            "Never allowed: the cost is above the limit of {}",
            denial.limit
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::body::to_bytes;
    use axum::http::HeaderValue;
    use rl_bucket::{Algorithm, Capacity, Rate, Request, Tokens};

    use super::*;
    use crate::config::policies::DEFAULT;

    /// The status, the RateLimit field and the body of the response to this answer.
    async fn parts(answer: Answer, dry_run: bool) -> (u16, Option<HeaderValue>, String) {
        let limit = Policy::new(Rate::parse(b"10").unwrap(), Capacity::new(1).unwrap());
        let charge = Request::Cost(Tokens::ONE);
        let request = LimitRequest::single(Algorithm::Token, String::new(), limit, charge);
        let policy = NamedPolicy {
            dry_run,
            ..NamedPolicy::by_address(DEFAULT, limit)
        };
        let flags = AnswerFlags {
            deny_status: StatusCode::FORBIDDEN,
            x_ratelimit: true,
            cors_origins: "".parse().unwrap(),
            page: false,
        };
        let format = ResponseFormat {
            path: "/token",
            is_problem: false,
        };
        let ip = Ipv4Addr::LOCALHOST.into();
        let response = from_answer(format, ip, &policy, &request, &answer, &flags);
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1000).await.unwrap().to_vec();
        let field = head.headers.get("ratelimit").cloned();
        let has_older_form = head.headers.contains_key("x-ratelimit-limit");
        assert_eq!(has_older_form, field.is_some());
        (
            head.status.as_u16(),
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
    async fn degraded_allow_has_no_numbers() {
        let (status, field, body) = parts(Answer::Degraded(None), false).await;
        let expected =
            r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","degraded":true}"#;
        assert_eq!((status, field, body.as_str()), (200, None, expected));
    }

    #[tokio::test]
    async fn a_local_decision_has_numbers_and_is_degraded() {
        let (status, field, body) = parts(Answer::Degraded(Some(denial().into())), false).await;
        let (_, same_field, undegraded) = parts(Answer::Decided(denial().into()), false).await;
        assert_eq!((status, field.clone()), (403, same_field));
        assert!(field.is_some());
        assert_eq!(body, undegraded.replace('}', r#","degraded":true}"#));
    }

    #[tokio::test]
    async fn a_dry_run_allows_with_the_same_headers_and_numbers() {
        let denied = || Answer::Decided(denial().into());
        let (_, field, body) = parts(denied(), false).await;
        let (status, same_field, dry) = parts(denied(), true).await;
        assert_eq!((status, same_field), (200, field));
        let expected = body
            .replace(r#""allowed":false"#, r#""allowed":true"#)
            .replace("exceeded", "exceeded, allowed by dry_run")
            .replace('}', r#","dry_run":true}"#);
        assert_eq!(dry, expected);
    }
}
