//! `/top`: the keys that were denied most lately. Only the listener of `-metrics-addr` has it, because keys name callers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::json;
use crate::limit::Unavailable;
use crate::limiter::{Limiter, MostDenied};

/// How long a list is reused, so that many requests cost Redis little.
const REUSE_FOR: Duration = Duration::from_millis(250);

#[derive(Clone)]
struct Top(Arc<Inner>);

struct Inner {
    limiter: Limiter,
    /// The latest list and when it came. Locked during the call, so that requests at the same time share one.
    latest: Mutex<Option<(Instant, Result<MostDenied, Unavailable>)>>,
}

/// Why there is no list.
#[derive(Serialize)]
struct Failure {
    error: String,
}

/// The route.
pub(super) fn routes(limiter: Limiter) -> Router {
    let latest = Mutex::default();
    let top = Top(Arc::new(Inner { limiter, latest }));
    Router::new().route("/top", get(answer)).with_state(top)
}

async fn answer(State(top): State<Top>) -> Response {
    let mut latest = top.0.latest.lock().await;
    let young = latest.take().filter(|(came, _)| came.elapsed() < REUSE_FOR);
    let (came, list) = match young {
        Some(young) => young,
        None => {
            let list = top.0.limiter.most_denied().await;
            (Instant::now(), list)
        }
    };
    let response = match &list {
        Ok(list) => json::response(StatusCode::OK, json::headers(), list),
        Err(reason) => failure(reason),
    };
    *latest = Some((came, list));
    response
}

fn failure(reason: &Unavailable) -> Response {
    let error = reason.to_string();
    json::response(
        StatusCode::SERVICE_UNAVAILABLE,
        json::headers(),
        &Failure { error },
    )
}
