//! Which scripts of other origins may read the answers: CORS.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::headers;

/// How long a browser may remember a preflight: a day, of which most take two hours.
const REMEMBERED: Duration = Duration::from_hours(24);

/// Origins such as `https://app.example`: none, some, or with `*` all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Those of a list, which may be empty.
    Listed(Vec<HeaderValue>),
    /// Every one.
    All,
}

impl Origins {
    /// Whether this value of the Origin header is one of them.
    pub(crate) fn contains(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Listed(origins) => origins.contains(origin),
            Self::All => true,
        }
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" => Ok(Self::Listed(Vec::new())),
            "*" => Ok(Self::All),
            list => list
                .split(',')
                .map(origin)
                .collect::<Result<_, _>>()
                .map(Self::Listed),
        }
    }
}

/// An origin as a browser sends it: in small letters, and without a path.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let origin = text.trim().to_ascii_lowercase();
    let host = origin.split_once("://").map(|(_scheme, host)| host);
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '*', '@', ' ']);
    host.filter(|host| is_host(host))
        .and_then(|_| HeaderValue::from_str(&origin).ok())
        .ok_or_else(|| format!("expected origins such as https://app.example, or *: '{text}'"))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_listed_as_browsers_send_them() {
        let listed = |origins: &[&'static str]| {
            Ok(Origins::Listed(
                origins
                    .iter()
                    .copied()
                    .map(HeaderValue::from_static)
                    .collect(),
            ))
        };
        assert_eq!("".parse(), listed(&[]));
        assert_eq!(" * ".parse(), Ok(Origins::All));
        assert_eq!(
            "https://App.example, http://localhost:3000".parse(),
            listed(&["https://app.example", "http://localhost:3000"])
        );
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in [
            "app.example",
            "https://",
            "https://a.example/",
            "https://a.example/x",
            "https://*.example",
            "https://a b",
            "*,https://a",
            "https://a,",
            "null",
        ] {
            let error = text.parse::<Origins>().unwrap_err();
            assert!(
                error.starts_with("expected origins such as https://app.example"),
                "{error}"
            );
        }
    }
}
