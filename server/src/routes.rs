//! The two routes.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rl_bucket::Algorithm;

use crate::error::{ErrorBody, Unavailable};
use crate::limiter::Limiter;
use crate::{caller, response};

/// `/token` and `/leaky`, limited by `limiter`. HEAD asks as GET does, and spends a token.
pub fn router(limiter: Limiter) -> Router {
    Router::new()
        .route("/token", get(token))
        .route("/leaky", get(leaky))
        .fallback(not_found)
        .with_state(limiter)
}

async fn token(
    limiter: State<Limiter>,
    peer: ConnectInfo<SocketAddr>,
) -> Result<Response, Unavailable> {
    limit(&limiter, Algorithm::Token, peer.0).await
}

async fn leaky(
    limiter: State<Limiter>,
    peer: ConnectInfo<SocketAddr>,
) -> Result<Response, Unavailable> {
    limit(&limiter, Algorithm::Leaky, peer.0).await
}

async fn limit(
    limiter: &Limiter,
    algorithm: Algorithm,
    peer: SocketAddr,
) -> Result<Response, Unavailable> {
    let address = caller::address(peer);
    let decision = limiter
        .ask(algorithm, &caller::key(algorithm, address))
        .await?;
    Ok(response::decided(
        algorithm,
        address,
        limiter.policy(),
        &decision,
    ))
}

async fn not_found() -> Response {
    let error = "no such path: there are /token and /leaky".to_owned();
    (StatusCode::NOT_FOUND, Json(ErrorBody { error })).into_response()
}
