//! The two routes.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rl_bucket::{Algorithm, Policy, Tokens};

use crate::caller::Callers;
use crate::config::CallerFlags;
use crate::error::{ErrorBody, Unavailable};
use crate::limiter::{Asked, Limiter};
use crate::response;

/// What the routes share.
struct Shared {
    limiter: Limiter,
    policy: Policy,
    callers: Callers,
}

/// `/token` and `/leaky`, limited by `limiter` with this policy. HEAD asks as GET does, and spends a token.
pub fn router(limiter: Limiter, policy: Policy, callers: &CallerFlags) -> Router {
    let shared = Shared {
        limiter,
        policy,
        callers: Callers::new(callers),
    };
    Router::new()
        .route("/token", get(token))
        .route("/leaky", get(leaky))
        .fallback(not_found)
        .with_state(Arc::new(shared))
}

async fn token(
    shared: State<Arc<Shared>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Unavailable> {
    limit(&shared, Algorithm::Token, peer.0, request.into_parts().0).await
}

async fn leaky(
    shared: State<Arc<Shared>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Unavailable> {
    limit(&shared, Algorithm::Leaky, peer.0, request.into_parts().0).await
}

async fn limit(
    shared: &Shared,
    algorithm: Algorithm,
    peer: SocketAddr,
    request: Parts,
) -> Result<Response, Unavailable> {
    let address = shared.callers.address(peer.ip(), &request.headers);
    let asked = Asked {
        algorithm,
        key: shared.callers.key(algorithm, address),
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
