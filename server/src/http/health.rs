//! The routes for operators: `/livez`, `/readyz`, `/healthz` and `/metrics`.
//!
//! `/readyz` and `/metrics` probe Redis. Probes and renderings are shared, so that requests for them cost little however
//! many there are. What is counted lives in [`crate::metrics`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rl_bucket::Policy;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fallback;
use super::json;
use super::top;
use crate::limit::Unavailable;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How long a probe of Redis and a rendering of the metrics are reused.
const REUSE_FOR: Duration = Duration::from_millis(250);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The handlers of these routes, and what they share.
#[derive(Clone)]
pub struct Operations(Arc<Inner>);

struct Inner {
    limiter: Limiter,
    policy: Policy,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    /// The latest probe of Redis and when it started. The sender of its channel lives until the probe ends.
    probe: Mutex<Option<(Instant, watch::Receiver<Option<ProbeResult>>)>>,
    /// The latest rendering of the metrics and when it was made.
    rendered: Mutex<Option<(Instant, Bytes)>>,
}

type ProbeResult = Result<(), Unavailable>;

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
    /// The routes of a server with this limiter. Probes use `policy`.
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
            probe: Mutex::default(),
            rendered: Mutex::default(),
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

    /// All of these routes, `/top`, and 404 for other paths, for the listener of `-metrics-addr`.
    pub fn standalone(&self) -> Router {
        let top = top::routes(self.0.limiter.clone());
        let all = self.health().merge(self.metrics()).merge(top);
        all.fallback(fallback::unknown_operator_path)
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }

    /// Whether Redis decides, by a probe that is still running or younger than [`REUSE_FOR`].
    async fn redis(&self) -> ProbeResult {
        let mut probe = self.probe();
        let result = probe.wait_for(Option::is_some).await;
        let result = result.ok().and_then(|result| result.clone());
        result.unwrap_or(Err(Unavailable::NoAnswer))
    }

    /// Starts a probe, or returns the latest one.
    ///
    /// A probe runs as its own task. Otherwise a client that disconnects would end it, and each such client could cause
    /// another probe.
    fn probe(&self) -> watch::Receiver<Option<ProbeResult>> {
        let mut last = self.0.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((started, probe)) = last.as_ref()
            && (started.elapsed() < REUSE_FOR || probe.has_changed().is_ok())
        {
            return probe.clone();
        }
        let (done, probe) = watch::channel(None);
        let inner = self.0.clone();
        tokio::spawn(async move {
            let result = inner.limiter.probe(inner.policy).await;
            done.send_replace(Some(result));
        });
        *last = Some((Instant::now(), probe.clone()));
        probe
    }

    /// The metrics as text. All requests within [`REUSE_FOR`] share one copy, so that many clients that do not read hold
    /// only a few renderings in memory.
    fn rendered(&self, redis_is_up: bool) -> Result<Bytes, fmt::Error> {
        let last = &self.0.rendered;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = last.as_ref().filter(|(made, _)| made.elapsed() < REUSE_FOR) {
            return Ok(text.clone());
        }
        let text = Bytes::from(self.0.metrics.text(redis_is_up)?);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

/// Says only that the process answers. It does not probe Redis, because restarting this process does not repair Redis.
async fn live() -> Response {
    let live = Liveness { status: "live" };
    json::response(StatusCode::OK, json::headers(), &live)
}

/// 200 if this server can answer callers: Redis decides, or `-on-outage` needs no Redis. 503 otherwise, and from SIGTERM on.
async fn ready(State(operations): State<Operations>) -> Response {
    let redis = operations.redis().await;
    let (code, status) = if operations.0.shutdown.is_draining() {
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
    json::response(code, json::headers(), &readiness)
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let redis = operations.redis().await;
    match operations.rendered(redis.is_ok()) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
