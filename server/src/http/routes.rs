//! The routes `/token` and `/leaky`, and the router of the public listener. Metrics have a listener of their own.
//!
//! [`router`] builds it. [`limit`] is the handler of both routes, in named steps: read the request, decide it, wait if
//! `-shape` delays it, build the response. [`super::caller`] reads, [`crate::limiter`] decides, [`super::shaping`] waits
//! and [`super::response`] builds. [`crate::limit`] defines the request and the answer that they exchange.

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

/// The state that all requests to the two routes share.
struct AppState {
    limiter: Limiter,
    /// Finds a request's caller and bucket.
    callers: Callers,
    /// The command-line flags for the form of responses.
    answers: AnswerFlags,
    metrics: Arc<Metrics>,
    /// `None` without `-shape`: then no response is delayed.
    shaping: Option<Shaping>,
    /// Whether to reject requests that a web page of another origin made the browser send, unless `-cors-origins` names
    /// that origin. True with `-trust-caller`, where the query chooses the bucket: such a page could spend anybody's.
    /// Without it, the page could spend only the bucket of the visitor's own address.
    rejects_other_origins: bool,
}

/// `/token` and `/leaky`; with `-page` the files of the page at `/`; 404 for other paths and 405 for other methods.
///
/// A HEAD request takes from the bucket as a GET request does: a proxy may use either to ask for a decision.
///
/// `policy` is the policy of `-rate` and `-burst`, for the two routes and for the page that shows it.
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
    // Around everything, so that a script can read every error, and a preflight is answered before its method is refused.
    match cors::layer(&config.answers.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// The path of an algorithm's route. Problem details repeat it; as a constant it does not keep the request's URI alive.
fn path(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Token => "/token",
        Algorithm::Leaky => "/leaky",
    }
}

// These two are no `async fn` for the reason given at `limit`.
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
/// This is not an `async fn`, because the future of one has room for its arguments as long as it lives. Here the request,
/// a few hundred bytes and its headers, is dropped before the future exists, so a request that waits for Redis or for
/// shaping does not keep it. The body is never read.
///
/// Errors are found before the future exists too, but become a response in it, in one place.
fn limit(
    state: Arc<AppState>,
    algorithm: Algorithm,
    peer: IpAddr,
    request: Request,
) -> impl Future<Output = Response> {
    let format = ResponseFormat::from_headers(path(algorithm), request.headers());
    let address = state.callers.address(peer, request.headers());
    let parsed = state.read(algorithm, address, &request);
    drop(request);
    async move {
        // A block of its own for `?`.
        let responded = async {
            let limit_request = parsed?;
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
        let result: Result<Response, HttpError> = responded.await;
        result.unwrap_or_else(|error| error.response(format))
    }
}

impl AppState {
    /// Checks and parses the request of the caller at `address`, without spending anything. An error is counted by its
    /// status only, like all responses, and not as a decision.
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

    /// Decides a request, and returns once the delay that shaping adds is over.
    ///
    /// The tokens are spent and the decision is counted before the wait. They stay spent if the wait fails, because too
    /// many requests wait or the server stops. A denial has no delay, and an answer without a decision, which
    /// `-on-outage allow` gives, is not delayed either.
    async fn answer(&self, request: &LimitRequest) -> Result<Answer, HttpError> {
        let answer = self.decide(request).await?;
        if let (Some(shaping), Some(decision)) = (&self.shaping, answer.decision()) {
            let delay = Duration::from_millis(decision.delay_ms);
            shaping.wait(delay).await?;
        }
        Ok(answer)
    }

    /// Decides a request, and counts and logs the outcome. A request that Redis did not decide counts as `error` or
    /// `degraded`.
    async fn decide(&self, request: &LimitRequest) -> Result<Answer, HttpError> {
        let answer = self.limiter.decide(request).await;
        let outcome = Outcome::new(&answer);
        self.metrics.count_decision(request.algorithm, outcome);
        debug!(key = request.key, ?outcome);
        Ok(answer?)
    }
}
