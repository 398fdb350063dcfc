//! `GET /`: the page that shows both buckets at work, or, for clients that do not accept HTML, a list of the endpoints.
//!
//! The page itself is in `server/page`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::negotiate::prefers_html;
use super::policies::Policies;
use crate::config::{Config, NamedPolicy};

const HTML: &str = include_str!("../../page/index.html");
const STYLE: &str = include_str!("../../page/page.css");
const SCRIPT: &str = include_str!("../../page/page.js");
const CHART: &str = include_str!("../../page/chart.js");
const DEMONSTRATION: &str = include_str!("../../page/demonstration.js");

/// The page may load its own style and script, request its own server, show its icon, and do nothing else.
const SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                        base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The two representations of `/`, shared by all responses.
struct Texts {
    /// With `{policies}` in place of the options that select a named policy: a reload changes them.
    html: String,
    plain: Bytes,
    policies: Policies,
    /// The page with these options, and the version of the policies that they are of. All responses share it.
    rendered: Mutex<Option<(u64, Bytes)>>,
}

/// `/` and the files of its page, for a server with these flags.
pub(crate) fn routes<S>(config: &Config, policies: &Policies) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let texts = Arc::new(Texts::new(config, policies.clone()));
    let root = move |headers: HeaderMap| async move { texts.response(&headers) };
    let script = |source| get(text("text/javascript; charset=utf-8", source));
    Router::new()
        .route("/", get(root))
        .route("/page.css", get(text("text/css; charset=utf-8", STYLE)))
        .route("/page.js", script(SCRIPT))
        .route("/chart.js", script(CHART))
        .route("/demonstration.js", script(DEMONSTRATION))
}

impl Texts {
    fn new(config: &Config, policies: Policies) -> Self {
        let (rate, burst) = (config.policy.rate, config.policy.burst.get());
        let html = HTML
            .replace("{rate}", &rate.to_string())
            .replace("{burst}", &burst.to_string())
            .replace("{trust_caller}", &config.caller.trust_caller.to_string())
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
            html,
            plain: plain.into(),
            policies,
            rendered: Mutex::default(),
        }
    }

    /// The page with the policies in force.
    fn html(&self) -> Bytes {
        // Read before the policies: if a reload comes between, the next request renders the page again.
        let version = self.policies.version();
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        match &*rendered {
            Some((of, html)) if *of == version => html.clone(),
            _ => {
                let options: String = self.policies.named().iter().map(option).collect();
                let html = Bytes::from(self.html.replace("{policies}", &options));
                *rendered = Some((version, html.clone()));
                html
            }
        }
    }

    fn response(&self, headers: &HeaderMap) -> Response {
        let response = if prefers_html(headers) {
            let html = text("text/html; charset=utf-8", self.html());
            ([(CONTENT_SECURITY_POLICY, SECURITY)], html).into_response()
        } else {
            text("text/plain; charset=utf-8", self.plain.clone()).into_response()
        };
        ([(VARY, "accept")], response).into_response()
    }
}

/// The option that selects a policy, with its limits: `<option value="login">login: 5/m, burst 5</option>`. No part of it
/// needs to be escaped.
fn option(policy: &NamedPolicy) -> String {
    let limits = policy.limits.iter().map(|limit| {
        let name = limit.name.iter().map(|name| format!("{name} "));
        let (rate, burst) = (limit.policy.rate(), limit.policy.capacity());
        format!("{}{rate}, burst {}", name.collect::<String>(), burst.get())
    });
    let limits = limits.collect::<Vec<_>>().join("; ");
    let dry_run = if policy.dry_run { " (dry run)" } else { "" };
    let name = &policy.name;
    format!("<option value=\"{name}\">{name}: {limits}{dry_run}</option>")
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
