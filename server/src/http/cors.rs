//! Which scripts of other origins may read the answers: CORS.

use std::time::Duration;

use axum::http::Method;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::headers;
use crate::config::Origins;

/// How long a browser may remember a preflight: a day, of which most take two hours.
const REMEMBERED: Duration = Duration::from_hours(24);

/// Answers preflights, which then spend no token, and says in other answers that these origins may read them.
///
/// `None` if there are no such origins.
pub(crate) fn layer(origins: &Origins) -> Option<CorsLayer> {
    let allowed = match origins {
        Origins::Listed(origins) if origins.is_empty() => return None,
        Origins::Listed(origins) => AllowOrigin::list(origins.clone()),
        Origins::All => AllowOrigin::any(),
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD])
        .expose_headers(headers::EXPOSED)
        .max_age(REMEMBERED);
    Some(layer)
}
