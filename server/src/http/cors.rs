//! CORS: which scripts of other origins may read the answers, from `-cors-origins`.
//!
//! [`super::screening`] decides which of their requests are rejected.

use std::time::Duration;

use axum::http::Method;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::headers;
use crate::config::Origins;

/// How long a browser may cache a preflight. Most browsers cap it at two hours.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A layer that answers preflights, so that they spend no token, and lets these origins read all other answers.
///
/// `None` if no origin is allowed.
pub(crate) fn layer(origins: &Origins) -> Option<CorsLayer> {
    let allowed = match origins {
        Origins::List(origins) if origins.is_empty() => return None,
        Origins::List(origins) => AllowOrigin::list(origins.clone()),
        Origins::Any => AllowOrigin::any(),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD])
        .expose_headers(headers::EXPOSED)
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
