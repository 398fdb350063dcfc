//! `GET /`: the page that shows both buckets at work, or, for clients that do not accept HTML, a list of the endpoints.
//! Pure.
//!
//! The page itself is in `server/page`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::negotiate::prefers_html;
use crate::config::Config;

const HTML: &str = include_str!("../../page/index.html");
const STYLE: &str = include_str!("../../page/page.css");
const SCRIPT: &str = include_str!("../../page/page.js");
const CHART: &str = include_str!("../../page/chart.js");

/// The page may load its own style and script, request its own server, show its icon, and do nothing else.
const SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                        base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The two representations of `/`, shared by all responses.
struct Texts {
    html: Bytes,
    plain: Bytes,
}

/// `/` and the files of its page, for a server with these flags.
pub(crate) fn routes<S>(config: &Config) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let texts = Arc::new(Texts::new(config));
    let root = move |headers: HeaderMap| async move { texts.response(&headers) };
    let script = |source| get(text("text/javascript; charset=utf-8", source));
    Router::new()
        .route("/", get(root))
        .route("/page.css", get(text("text/css; charset=utf-8", STYLE)))
        .route("/page.js", script(SCRIPT))
        .route("/chart.js", script(CHART))
}

impl Texts {
    fn new(config: &Config) -> Self {
        let (rate, burst) = (config.policy.rate, config.policy.burst.get());
        let html = HTML
            .replace("{rate}", &rate.to_string())
            .replace("{burst}", &burst.to_string())
            .replace("{trust_caller}", &config.caller.trust_caller.to_string())
            .replace(
                "{policies}",
                &(!config.policy.policies.is_empty()).to_string(),
            )
            .replace("{shape}", &config.shaping.shape.to_string());
        let named = match config.policy.policies.is_empty() {
            true => "",
            false => "GET /token/NAME, GET /leaky/NAME: the same by a named policy\n",
        };
        let mut plain = format!(
            "GET /token     take a token: {rate}, {burst} at once, for each caller\n\
             GET /leaky     the same with a leaky bucket, and the delay after which to proceed\n\
             {named}\
             GET /          in a browser: a page that shows both at work\n\
             GET /livez     whether the server runs\n\
             GET /readyz    whether Redis decides\n"
        );
        if config.operating.metrics_addr.is_empty() {
            plain.push_str("GET /metrics   metrics for Prometheus\n");
        }
        Self {
            html: html.into(),
            plain: plain.into(),
        }
    }

    fn response(&self, headers: &HeaderMap) -> Response {
        let response = if prefers_html(headers) {
            let html = text("text/html; charset=utf-8", self.html.clone());
            ([(CONTENT_SECURITY_POLICY, SECURITY)], html).into_response()
        } else {
            text("text/plain; charset=utf-8", self.plain.clone()).into_response()
        };
        ([(VARY, "accept")], response).into_response()
    }
}

/// A text of this media type. Browsers must not cache it, since the next version of the server has another.
fn text(media_type: &'static str, content: impl IntoResponse + Clone) -> impl IntoResponse + Clone {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, content)
}
