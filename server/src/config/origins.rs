//! The origins of `-cors-origins`.

use std::str::FromStr;

use axum::http::HeaderValue;

/// Allowed origins such as `https://app.example`: none, some, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// The origins of a list, which may be empty.
    List(Vec<HeaderValue>),
    /// Every origin.
    Any,
}

impl Origins {
    /// Whether this value of the Origin header is allowed.
    pub(crate) fn contains(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::List(origins) => origins.contains(origin),
            Self::Any => true,
        }
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" => Ok(Self::List(Vec::new())),
            "*" => Ok(Self::Any),
            list => list
                .split(',')
                .map(origin)
                .collect::<Result<_, _>>()
                .map(Self::List),
        }
    }
}

/// Parses an origin into the form that browsers send: in lower case, without a path.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let origin = text.trim().to_ascii_lowercase();
    let host = origin.split_once("://").map(|(_scheme, host)| host);
    let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '?', '#', '*', '@', ' ']);
    host.filter(|host| is_host(host))
        .and_then(|_| HeaderValue::from_str(&origin).ok())
        .ok_or_else(|| format!("expected origins such as https://app.example, or *: '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_listed_as_browsers_send_them() {
        let listed = |origins: &[&'static str]| {
            Ok(Origins::List(
                origins
                    .iter()
                    .copied()
                    .map(HeaderValue::from_static)
                    .collect(),
            ))
        };
        assert_eq!("".parse(), listed(&[]));
        assert_eq!(" * ".parse(), Ok(Origins::Any));
        assert_eq!(
            "https://App.example, http://localhost:3000".parse(),
            listed(&["https://app.example", "http://localhost:3000"])
        );
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
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
