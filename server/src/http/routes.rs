//! The routes `/token`, `/leaky` and those of named policies, and the router of the public listener. Metrics have a
//! listener of their own.
//!
//! [`routers`] builds it, once for each thread. [`limit`] is the handler of all these routes, in named steps: read the request, decide it, wait if
//! `-shape` delays it, build the response. [`super::caller`] reads, [`crate::limiter`] decides, [`super::shaping`] waits
//! and [`super::response`] builds. [`crate::limit`] defines the request and the answer that they exchange.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use axum::routing::{any, get};
use rl_bucket::Algorithm;
use tracing::debug;

use super::caller::Callers;
use super::error::HttpError;
use super::negotiate::ResponseFormat;
use super::policies::{ActivePolicy, Policies};
use super::shaping::Shaping;
use super::{cors, fallback, page, response, screening};
use crate::client_address::Peer;
use crate::config::{AnswerFlags, Config};
use crate::limit::{Answer, LimitRequest, Unavailable};
use crate::limiter::Limiter;
use crate::metrics::{Metrics, Outcome};
use crate::shutdown::Shutdown;

/// The state that the requests for a decision share on one thread.
struct AppState {
    limiter: Limiter,
    policies: Policies,
    /// Finds a request's caller and buckets.
    callers: Callers,
    /// The command-line flags for the form of responses.
    answers: AnswerFlags,
    /// Shared by all threads. `None` without `-shape`: then no response is delayed.
    shaping: Option<Arc<Shaping>>,
    /// Whether to reject requests that a web page of another origin made the browser send, unless `-cors-origins` names
    /// that origin. True with `-trust-caller`, where the query chooses the bucket: such a page could spend anybody's.
    /// Without it, the page could spend only the buckets of the visitor's own address.
    rejects_other_origins: bool,
}

/// `/token` and `/leaky`, and everything below them; with `-page` the files of the page at `/`; 404 for other paths and 405
/// for other methods.
///
/// A HEAD request takes from the bucket as a GET request does: a proxy may use either to ask for a decision. Below `/token/`
/// and `/leaky/` every method does, because proxies keep the method of the request that they ask about.
///
/// One router for each limiter, for the thread of that limiter.
pub fn routers(
    config: &Config,
    policies: &Policies,
    limiters: &[Limiter],
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) -> Vec<Router> {
    let shaping = Shaping::new(&config.shaping, metrics.clone(), shutdown.clone()).map(Arc::new);
    let state = |limiter: &Limiter| AppState {
        limiter: limiter.clone(),
        policies: policies.clone(),
        callers: Callers::new(&config.caller),
        answers: config.answers.clone(),
        shaping: shaping.clone(),
        rejects_other_origins: config.caller.trust_caller,
    };
    let states = limiters.iter().map(state);
    states
        .map(|state| router(config, Arc::new(state)))
        .collect()
}

fn router(config: &Config, state: Arc<AppState>) -> Router {
    let page = match config.answers.page {
        true => page::routes(config, &state.policies),
        false => Router::new(),
    };
    let router = page
        .route("/token", get(token))
        .route("/token/{policy}", any(token))
        .route("/leaky", get(leaky))
        .route("/leaky/{policy}", any(leaky))
        .fallback(fallback::unknown_path)
        .method_not_allowed_fallback(fallback::unknown_method)
        .with_state(state.clone());
    // Around all routes of scripts, so that a script can read every error, and a preflight is answered before its method
    // is refused.
    let router = match cors::layer(&config.answers.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.merge(routes_of_proxies(state))
}

/// Everything below the name of a policy. Proxies append the path of the request that they ask about, and keep its method.
///
/// Without CORS: its layer would answer every OPTIONS request, so that a client whose request a proxy asks about would
/// reach the application without a decision.
fn routes_of_proxies(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/token/{policy}/", any(token))
        .route("/token/{policy}/{*below}", any(token))
        .route("/leaky/{policy}/", any(leaky))
        .route("/leaky/{policy}/{*below}", any(leaky))
        .with_state(state)
}

// These two are no `async fn` for the reason given at `limit`.
fn token(
    State(state): State<Arc<AppState>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> impl Future<Output = Response> {
    limit(state, Algorithm::Token, peer, request)
}

fn leaky(
    State(state): State<Arc<AppState>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
) -> impl Future<Output = Response> {
    limit(state, Algorithm::Leaky, peer, request)
}

/// Handles a request for a decision.
///
/// This is not an `async fn`, because the future of one has room for its arguments as long as it lives. Here the request,
/// a few hundred bytes and its headers, is dropped before the future exists, so a request that waits for Redis or for
/// shaping does not keep it. The body is never read.
fn limit(
    state: Arc<AppState>,
    algorithm: Algorithm,
    peer: Peer,
    request: Request,
) -> impl Future<Output = Response> {
    let read = state.read(algorithm, peer, &request);
    drop(request);
    async move {
        match read {
            Ok(parsed) => state.respond(&parsed).await,
            Err(refused) => *refused,
        }
    }
}

/// A request as it was read, without its headers and path.
struct ParsedRequest {
    /// The caller's address, which the response repeats.
    address: IpAddr,
    /// Whether errors and denials are problem details.
    is_problem: bool,
    /// The policy in force when the request was read. A reload does not change it.
    policy: Arc<ActivePolicy>,
    request: LimitRequest,
}

impl AppState {
    /// Checks and parses a request, without spending anything. An error is counted by its status only, like all responses,
    /// and not as a decision.
    fn read(
        &self,
        algorithm: Algorithm,
        peer: Peer,
        request: &Request,
    ) -> Result<ParsedRequest, Box<Response>> {
        let (uri, headers) = (request.uri(), request.headers());
        let (policy, query) = self
            .policy(uri.path(), uri.query())
            .ok_or_else(|| fallback::unknown_policy(request))?;
        let format = ResponseFormat::from_headers(policy.path(algorithm), headers);
        let caller = self.callers.caller(peer, headers);
        let checked = self.check_origin(request).and_then(|()| {
            let request = self
                .callers
                .limit_request(algorithm, &policy.policy, &caller, query)?;
            Ok(request)
        });
        let (address, is_problem) = (caller.address, format.is_problem);
        match checked {
            Ok(request) => Ok(ParsedRequest {
                address,
                is_problem,
                policy,
                request,
            }),
            Err(error) => Err(Box::new(error.response(format))),
        }
    }

    /// The policy that a path names, and the query that counts. `None` if there is no such policy.
    ///
    /// Proxies append the path and query of the request that they ask about: neither counts below the name of a policy.
    fn policy<'a>(
        &self,
        path: &str,
        query: Option<&'a str>,
    ) -> Option<(Arc<ActivePolicy>, Option<&'a str>)> {
        // The path begins with that of an algorithm.
        let mut segments = path.splitn(4, '/').skip(2);
        let Some(name) = segments.next() else {
            return Some((self.policies.default_policy(), query));
        };
        let is_exact = segments.next().is_none();
        Some((self.policies.get(name)?, query.filter(|_| is_exact)))
    }

    fn check_origin(&self, request: &Request) -> Result<(), HttpError> {
        if self.rejects_other_origins {
            screening::check_site(request.headers(), &self.answers.cors_origins)?;
        }
        Ok(())
    }

    async fn respond(&self, parsed: &ParsedRequest) -> Response {
        let ParsedRequest {
            policy, request, ..
        } = parsed;
        let format = ResponseFormat {
            path: policy.path(request.algorithm),
            is_problem: parsed.is_problem,
        };
        match self.answer(policy, request).await {
            Ok(answer) => response::from_answer(
                format,
                parsed.address,
                &policy.policy,
                request,
                &answer,
                &self.answers,
            ),
            Err(error) => error.response(format),
        }
    }

    /// Decides a request, and returns once the delay that shaping adds is over.
    ///
    /// The tokens are spent and the decision is counted before the wait. They stay spent if the wait fails, because too
    /// many requests wait or the server stops. A denial has no delay, and an answer without a decision, which
    /// `-on-outage allow` gives, is not delayed either. A policy in dry run delays nothing.
    async fn answer(
        &self,
        policy: &ActivePolicy,
        request: &LimitRequest,
    ) -> Result<Answer, HttpError> {
        let answer = self.decide(policy, request).await?;
        if let (Some(shaping), Some(decisions)) = (&self.shaping, answer.decisions())
            && !policy.policy.dry_run
        {
            let delay = Duration::from_millis(decisions.delay_ms());
            shaping.wait(delay).await?;
        }
        Ok(answer)
    }

    /// Decides a request, and counts and logs the outcome. A request that Redis did not decide counts as `error` or
    /// `degraded`.
    async fn decide(
        &self,
        policy: &ActivePolicy,
        request: &LimitRequest,
    ) -> Result<Answer, HttpError> {
        let is_dry_run = policy.policy.dry_run;
        let answer = match self.limiter.decide(request).await {
            Err(reason) if is_dry_run && !matches!(reason, Unavailable::DebtTooLarge { .. }) => {
                Ok(Answer::Degraded(None))
            }
            answer => answer,
        };
        if let Some(outcome) = Outcome::new(&answer, is_dry_run) {
            policy.counters.count(request.algorithm, outcome);
            debug!(policy = policy.policy.name, key = request.key(), ?outcome);
        }
        Ok(answer?)
    }
}
