//! The two routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use rl_bucket::{Algorithm, Policy};
use tracing::debug;

use super::caller::Callers;
use super::error::HttpError;
use super::negotiate::Form;
use super::shaping::Shaping;
use super::{cors, fallback, page, response, screening};
use crate::config::{AnswerFlags, Config};
use crate::limit::{Answer, LimitRequest};
use crate::limiter::Limiter;
use crate::metrics::{Metrics, Outcome};
use crate::shutdown::Shutdown;

/// What the routes share.
struct Shared {
    limiter: Limiter,
    callers: Callers,
    answers: AnswerFlags,
    metrics: Arc<Metrics>,
    shaping: Option<Shaping>,
    /// Whether requests of pages of other origins are refused: they could choose the bucket.
    checks_site: bool,
}

/// `/token` and `/leaky`, limited by `limiter` with this policy, and the page at `/`. HEAD asks as GET does, and spends a token.
pub fn router(
    config: &Config,
    policy: Policy,
    limiter: Limiter,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) -> Router {
    let page = match config.answers.page {
        true => page::routes(config, policy),
        false => Router::new(),
    };
    let router = page
        .route(path(Algorithm::Token), get(token))
        .route(path(Algorithm::Leaky), get(leaky))
        .fallback(fallback::unknown_path)
        .method_not_allowed_fallback(fallback::unknown_method)
        .with_state(Arc::new(Shared {
            limiter,
            callers: Callers::new(&config.caller, policy),
            answers: config.answers.clone(),
            metrics: metrics.clone(),
            shaping: Shaping::new(&config.shaping, metrics.clone(), shutdown.clone()),
            checks_site: config.caller.trust_caller,
        }));
    match cors::layer(&config.answers.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// Where an algorithm is asked.
fn path(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Token => "/token",
        Algorithm::Leaky => "/leaky",
    }
}

fn token(
    State(shared): State<Arc<Shared>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> impl Future<Output = Response> {
    limit(shared, Algorithm::Token, peer.0, request)
}

fn leaky(
    State(shared): State<Arc<Shared>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> impl Future<Output = Response> {
    limit(shared, Algorithm::Leaky, peer.0, request)
}

impl Shared {
    fn check_site(&self, headers: &HeaderMap) -> Result<(), HttpError> {
        if self.checks_site {
            screening::check_site(headers, &self.answers.cors_origins)?;
        }
        Ok(())
    }
}

/// Reads of the request what it needs before it waits: each request allocates what waits, and would hold itself in it.
fn limit(
    shared: Arc<Shared>,
    algorithm: Algorithm,
    peer: SocketAddr,
    request: Request,
) -> impl Future<Output = Response> {
    let (request, _body) = request.into_parts();
    let form = Form::of(path(algorithm), &request.headers);
    let address = shared.callers.address(peer.ip(), &request.headers);
    let query = request.uri.query();
    let asked = shared.check_site(&request.headers).and_then(|()| {
        let asked = shared.callers.asked(algorithm, address, query);
        asked.map_err(HttpError::from)
    });
    async move {
        let answered = async {
            let asked = asked?;
            let answer = answer(&shared, &asked).await?;
            Ok(response::answered(
                form,
                address,
                &asked,
                &answer,
                &shared.answers,
            ))
        };
        answered
            .await
            .unwrap_or_else(|fault: HttpError| fault.response(form))
    }
}

async fn answer(shared: &Shared, asked: &LimitRequest) -> Result<Answer, HttpError> {
    let answer = shared.limiter.decide(asked).await;
    let outcome = Outcome::new(&answer);
    shared.metrics.count_decision(asked.algorithm, outcome);
    debug!(key = asked.key, ?outcome);
    let answer = answer?;
    if let (Some(shaping), Some(decision)) = (&shared.shaping, answer.decision()) {
        let delay = Duration::from_millis(decision.delay_ms);
        shaping.wait(delay).await?;
    }
    Ok(answer)
}
