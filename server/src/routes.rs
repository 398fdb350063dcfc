//! The two routes.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rl_bucket::{Algorithm, Policy, Tokens};

use crate::error::{ErrorBody, Unavailable};
use crate::limiter::{Asked, Limiter};
use crate::{caller, response};

/// What the routes share.
#[derive(Clone)]
struct Shared {
    limiter: Limiter,
    policy: Policy,
}

/// `/token` and `/leaky`, limited by `limiter` with this policy. HEAD asks as GET does, and spends a token.
pub fn router(limiter: Limiter, policy: Policy) -> Router {
    Router::new()
        .route("/token", get(token))
        .route("/leaky", get(leaky))
        .fallback(not_found)
        .with_state(Shared { limiter, policy })
}

async fn token(
    shared: State<Shared>,
    peer: ConnectInfo<SocketAddr>,
) -> Result<Response, Unavailable> {
    limit(&shared, Algorithm::Token, peer.0).await
}

async fn leaky(
    shared: State<Shared>,
    peer: ConnectInfo<SocketAddr>,
) -> Result<Response, Unavailable> {
    limit(&shared, Algorithm::Leaky, peer.0).await
}

async fn limit(
    shared: &Shared,
    algorithm: Algorithm,
    peer: SocketAddr,
) -> Result<Response, Unavailable> {
    let address = caller::address(peer);
    let asked = Asked {
        algorithm,
        key: caller::key(algorithm, address),
        policy: shared.policy,
        cost: Tokens::ONE,
    };
    let answer = shared.limiter.ask(&asked).await?;
    Ok(response::decided(&asked, address, &answer))
}

async fn not_found() -> Response {
    let error = "no such path: there are /token and /leaky".to_owned();
    (StatusCode::NOT_FOUND, Json(ErrorBody { error })).into_response()
}
