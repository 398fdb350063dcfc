//! What watches the server asks: does it live, is it ready, what has it counted.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rl_bucket::Policy;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::Unavailable;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How long what Redis said holds, so that whoever asks for our health does not load Redis with it.
const FRESH: Duration = Duration::from_millis(250);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Those who answer.
#[derive(Clone)]
pub struct Operations(Arc<Inner>);

struct Inner {
    limiter: Limiter,
    policy: Policy,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    redis: Mutex<Option<(Instant, Result<(), Unavailable>)>>,
}

/// The body of `/livez`.
#[derive(Serialize)]
struct Liveness {
    status: &'static str,
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    redis: &'static str,
    /// Why Redis is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Operations {
    /// Those of a server that limits by `limiter` and `policy`.
    #[must_use]
    pub fn new(
        limiter: Limiter,
        policy: Policy,
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> Self {
        Self(Arc::new(Inner {
            limiter,
            policy,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
            redis: Mutex::default(),
        }))
    }

    /// `/livez`, `/readyz`, and `/healthz`, which is the same as `/readyz`.
    pub fn health(&self) -> Router {
        Router::new()
            .route("/livez", get(live))
            .route("/readyz", get(ready))
            .route("/healthz", get(ready))
            .with_state(self.clone())
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }

    /// Whether Redis decides, now or not long ago.
    async fn redis(&self) -> Result<(), Unavailable> {
        let mut last = self.0.redis.lock().await;
        if let Some((_, redis)) = last.as_ref().filter(|(when, _)| when.elapsed() < FRESH) {
            return redis.clone();
        }
        let redis = self.0.limiter.probe(self.0.policy).await;
        *last = Some((Instant::now(), redis.clone()));
        redis
    }
}

/// That it answers is all there is to say. Redis is not asked: a restart of this process would not help it.
async fn live() -> Response {
    (
        [(CACHE_CONTROL, "no-store")],
        Json(Liveness { status: "live" }),
    )
        .into_response()
}

async fn ready(State(operations): State<Operations>) -> Response {
    let redis = operations.redis().await;
    let (code, status) = if operations.0.shutdown.is_told() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if redis.is_err() && operations.0.limiter.needs_redis() {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    } else {
        (StatusCode::OK, "ready")
    };
    let readiness = Readiness {
        status,
        redis: if redis.is_ok() { "up" } else { "down" },
        error: redis.err().map(|reason| reason.to_string()),
    };
    (code, [(CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let redis = operations.redis().await;
    match operations.0.metrics.text(redis.is_ok()) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
