//! The two routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use rl_bucket::{Algorithm, Policy};
use tracing::debug;

use crate::caller::Callers;
use crate::config::{AnswerFlags, Config};
use crate::error::Fault;
use crate::limiter::Limiter;
use crate::metrics::{Metrics, Outcome};
use crate::shaping::Shaping;
use crate::shutdown::Shutdown;
use crate::{cors, page, response};

/// What the routes share.
struct Shared {
    limiter: Limiter,
    callers: Callers,
    answers: AnswerFlags,
    metrics: Arc<Metrics>,
    shaping: Option<Shaping>,
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
        .route("/token", get(token))
        .route("/leaky", get(leaky))
        .method_not_allowed_fallback(no_such_method)
        .fallback(no_such_path)
        .with_state(Arc::new(Shared {
            limiter,
            callers: Callers::new(&config.caller, policy),
            answers: config.answers.clone(),
            metrics: metrics.clone(),
            shaping: Shaping::new(&config.shaping, metrics.clone(), shutdown.clone()),
        }));
    match cors::layer(&config.answers.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

async fn token(
    shared: State<Arc<Shared>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    limit(&shared, Algorithm::Token, peer.0, request).await
}

async fn leaky(
    shared: State<Arc<Shared>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    limit(&shared, Algorithm::Leaky, peer.0, request).await
}

async fn no_such_path(request: Request) -> Response {
    Fault::NoSuchPath.response(&request.into_parts().0)
}

async fn no_such_method(request: Request) -> Response {
    Fault::NoSuchMethod.response(&request.into_parts().0)
}

async fn limit(
    shared: &Shared,
    algorithm: Algorithm,
    peer: SocketAddr,
    request: Request,
) -> Response {
    let (request, _body) = request.into_parts();
    let answered = answer(shared, algorithm, peer, &request).await;
    answered.unwrap_or_else(|fault| fault.response(&request))
}

async fn answer(
    shared: &Shared,
    algorithm: Algorithm,
    peer: SocketAddr,
    request: &Parts,
) -> Result<Response, Fault> {
    let address = shared.callers.address(peer.ip(), &request.headers);
    let asked = shared
        .callers
        .asked(algorithm, address, request.uri.query())?;
    let answer = shared.limiter.ask(&asked).await;
    let outcome = Outcome::of(&answer);
    shared.metrics.decided(algorithm, outcome);
    debug!(key = asked.key, ?outcome);
    let answer = answer?;
    if let (Some(shaping), Some(decision)) = (&shared.shaping, answer.decision()) {
        shaping
            .wait(Duration::from_millis(decision.delay_ms))
            .await?;
    }
    Ok(response::answered(
        request,
        address,
        &asked,
        &answer,
        &shared.answers,
    ))
}
