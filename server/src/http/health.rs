//! What watches the server asks: does it live, is it ready, what has it counted.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rl_bucket::Policy;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::fallback;
use crate::limit::Unavailable;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// How long a probe of Redis and a rendering of the metrics are used again, so that requests for them cost little however many
/// there are.
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
    /// The last probe of Redis and when it began. Its sender is there while it runs.
    probe: Mutex<Option<(Instant, watch::Receiver<Option<Probed>>)>>,
    /// The last rendering of the metrics and when it was made.
    rendered: Mutex<Option<(Instant, Bytes)>>,
}

type Probed = Result<(), Unavailable>;

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

    /// All of them, for a listener that serves nothing else.
    pub fn alone(&self) -> Router {
        let all = self.health().merge(self.metrics());
        all.fallback(fallback::unknown_path)
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .with_state(self.clone())
    }

    /// Whether Redis decides, by a probe that is [`FRESH`] or still running.
    async fn redis(&self) -> Probed {
        let mut probe = self.probe();
        let probed = probe.wait_for(Option::is_some).await;
        let probed = probed.ok().and_then(|probed| probed.clone());
        probed.unwrap_or(Err(Unavailable::NoAnswer))
    }

    /// A probe is a task of its own: a client that hangs up does not end it, or each such client could begin another one.
    fn probe(&self) -> watch::Receiver<Option<Probed>> {
        let mut last = self.0.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((begun, probe)) = last.as_ref()
            && (begun.elapsed() < FRESH || probe.has_changed().is_ok())
        {
            return probe.clone();
        }
        let (done, probe) = watch::channel(None);
        let inner = self.0.clone();
        tokio::spawn(async move {
            let probed = inner.limiter.probe(inner.policy).await;
            done.send_replace(Some(probed));
        });
        *last = Some((Instant::now(), probe.clone()));
        probe
    }

    /// The metrics, one copy for all who ask at a time: many clients that do not read hold no more than a few renderings.
    fn rendered(&self, redis_is_up: bool) -> Result<Bytes, fmt::Error> {
        let last = &self.0.rendered;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = last.as_ref().filter(|(made, _)| made.elapsed() < FRESH) {
            return Ok(text.clone());
        }
        let text = Bytes::from(self.0.metrics.text(redis_is_up)?);
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
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
    (code, [(CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    let redis = operations.redis().await;
    match operations.rendered(redis.is_ok()) {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
