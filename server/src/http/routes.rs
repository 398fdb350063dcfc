//! The routes `/token` and `/leaky`, and the router of everything that callers may request.
//!
//! [`router`] builds it. [`limit`] is the handler of both routes, in named steps: read the request, ask the limiter,
//! wait if the answer is shaped, build the response. The steps themselves live in the other files of this folder, and
//! what a decision is lives in [`crate::limiter`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use axum::routing::get;
use rl_bucket::{Algorithm, Policy};
use tracing::debug;

use super::caller::Callers;
use super::error::HttpError;
use super::negotiate::ResponseFormat;
use super::shaping::Shaping;
use super::{cors, fallback, page, response, screening};
use crate::config::{AnswerFlags, Config};
use crate::limit::{Answer, LimitRequest};
use crate::limiter::Limiter;
use crate::metrics::{Metrics, Outcome};
use crate::shutdown::Shutdown;

/// What all requests to the two routes share.
struct AppState {
    limiter: Limiter,
    callers: Callers,
    answers: AnswerFlags,
    metrics: Arc<Metrics>,
    /// `None` without `-shape`: then no answer waits.
    shaping: Option<Shaping>,
    /// With `-trust-caller` the query chooses the bucket, so requests that a page of another origin sent are rejected.
    rejects_other_origins: bool,
}

/// `/token`, `/leaky`, the page at `/`, and 404 for every other path.
///
/// HEAD is handled like GET, so it spends a token too.
pub fn router(
    config: &Config,
    policy: Policy,
    limiter: Limiter,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) -> Router {
    let state = Arc::new(AppState {
        limiter,
        callers: Callers::new(&config.caller, policy),
        answers: config.answers.clone(),
        metrics: metrics.clone(),
        shaping: Shaping::new(&config.shaping, metrics.clone(), shutdown.clone()),
        rejects_other_origins: config.caller.trust_caller,
    });
    let page = match config.answers.page {
        true => page::routes(config, policy),
        false => Router::new(),
    };
    let router = page
        .route(path(Algorithm::Token), get(token))
        .route(path(Algorithm::Leaky), get(leaky))
        .fallback(fallback::unknown_path)
        .method_not_allowed_fallback(fallback::unknown_method)
        .with_state(state);
    match cors::layer(&config.answers.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// The path of an algorithm. It is constant, so that the handler need not keep the path of the request.
fn path(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Token => "/token",
        Algorithm::Leaky => "/leaky",
    }
}

fn token(
    State(state): State<Arc<AppState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> impl Future<Output = Response> {
    limit(state, Algorithm::Token, peer.ip(), request)
}

fn leaky(
    State(state): State<Arc<AppState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> impl Future<Output = Response> {
    limit(state, Algorithm::Leaky, peer.ip(), request)
}

/// Handles a request to one of the two routes.
///
/// This is a function that returns a future, and not an `async fn`, for memory: it reads everything it needs from the
/// request before the first await, so that a request that waits for Redis does not keep its headers alive.
fn limit(
    state: Arc<AppState>,
    algorithm: Algorithm,
    peer: IpAddr,
    request: Request,
) -> impl Future<Output = Response> {
    let format = ResponseFormat::from_headers(path(algorithm), request.headers());
    let address = state.callers.address(peer, request.headers());
    let limit_request = state.read(algorithm, address, &request);
    drop(request);
    async move {
        let decided = async {
            let limit_request = limit_request?;
            let answer = state.answer(&limit_request).await?;
            let flags = &state.answers;
            Ok(response::from_answer(
                format,
                address,
                &limit_request,
                &answer,
                flags,
            ))
        };
        let response: Result<Response, HttpError> = decided.await;
        response.unwrap_or_else(|error| error.response(format))
    }
}

impl AppState {
    /// What the caller at `address` requests. Nothing is spent yet.
    fn read(
        &self,
        algorithm: Algorithm,
        address: IpAddr,
        request: &Request,
    ) -> Result<LimitRequest, HttpError> {
        if self.rejects_other_origins {
            screening::check_site(request.headers(), &self.answers.cors_origins)?;
        }
        let query = request.uri().query();
        Ok(self.callers.limit_request(algorithm, address, query)?)
    }

    /// The decision on a request, after the wait that shaping adds to it.
    async fn answer(&self, request: &LimitRequest) -> Result<Answer, HttpError> {
        let answer = self.decide(request).await?;
        if let (Some(shaping), Some(decision)) = (&self.shaping, answer.decision()) {
            let delay = Duration::from_millis(decision.delay_ms);
            shaping.wait(delay).await?;
        }
        Ok(answer)
    }

    /// The decision of the limiter, counted and logged.
    async fn decide(&self, request: &LimitRequest) -> Result<Answer, HttpError> {
        let answer = self.limiter.decide(request).await;
        let outcome = Outcome::new(&answer);
        self.metrics.count_decision(request.algorithm, outcome);
        debug!(key = request.key, ?outcome);
        Ok(answer?)
    }
}
