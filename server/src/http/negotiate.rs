//! Content negotiation: which body the client prefers, from its Accept header (RFC 9110, 12.5.1). Pure.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// What the form of a response depends on.
#[derive(Clone, Copy)]
pub(crate) struct ResponseFormat<'a> {
    /// The path of the request.
    pub(crate) path: &'a str,
    /// Whether errors and denials are problem details, and not plain JSON.
    pub(crate) is_problem: bool,
}

impl<'a> ResponseFormat<'a> {
    /// The format of the response to a request for this path with these headers.
    pub(crate) fn from_headers(path: &'a str, headers: &HeaderMap) -> Self {
        Self {
            path,
            is_problem: prefers_problem(headers),
        }
    }
}

/// Whether the client accepts `application/problem+json` by name, and prefers no range that matches plain JSON to it.
fn prefers_problem(headers: &HeaderMap) -> bool {
    let plain = ["application/json", "application/*", "*/*"];
    prefers(headers, "application/problem+json", plain)
}

/// Whether the client accepts HTML by name, and prefers no range that matches plain text to it.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    prefers(headers, "text/html", ["text/plain", "text/*", "*/*"])
}

/// Whether the type `named` is accepted by name and not less than the other type. `other` are the ranges that match the
/// other type, the most specific first.
fn prefers(headers: &HeaderMap, named: &str, other: [&str; 3]) -> bool {
    let quality = |range: &str| {
        let same = ranges(headers).filter(|(name, _)| name.eq_ignore_ascii_case(range));
        same.map(|(_, quality)| quality).max()
    };
    quality(named).is_some_and(|named| {
        // The most specific range counts.
        let other = other.into_iter().find_map(quality);
        named > 0 && named >= other.unwrap_or(0)
    })
}

/// The media ranges of Accept with their quality in thousandths. Malformed ones are skipped.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (&str, u16)> {
    let lines = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next()?;
        let quality =
            parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((name, quality.map_or(Some(1000), thousandths)?))
    })
}

/// Parses a quality: `0.5` is 500, `1` is 1000. `None` for more than three decimals and for more than 1.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", _) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn problem_is_preferred(lines: &[&'static str]) -> bool {
        let lines = lines
            .iter()
            .map(|line| (ACCEPT, HeaderValue::from_static(line)));
        prefers_problem(&lines.collect())
    }

    #[test]
    fn a_client_that_names_problems_and_prefers_no_other_gets_them() {
        for accept in [
            "application/problem+json",
            "Application/Problem+JSON",
            "application/problem+json;charset=utf-8",
            "application/json, application/problem+json",
            "application/json;q=0.9, application/problem+json;q=0.9",
            "*/*;q=0.1, application/problem+json;q=0.2",
            "application/*;q=0.5, application/problem+json ; q=0.500",
            "application/json;q=0.1, */*, application/problem+json;q=0.5",
            "application/json;q=0, application/problem+json;q=0.001",
            "application/json;q=2, application/problem+json;q=0.1",
        ] {
            assert!(problem_is_preferred(&[accept]), "{accept}");
        }
    }

    #[test]
    fn other_clients_get_no_problems() {
        for accept in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "application/problem+xml",
            "application/problem+json;q=0",
            "application/problem+json;q=0.000, text/html",
            "application/problem+json;q=0.9, application/json",
            "application/problem+json;q=0.9, application/*",
            "application/problem+json;q=0.9, */*",
            "application/problem+json;q=1.001",
            "application/problem+json;q=0.1234",
            "application/problem+json;q=-1",
            "application/problem+json;q=.5",
            "application/problem+json;q=",
            "application/problem+json;Q=0",
        ] {
            assert!(!problem_is_preferred(&[accept]), "{accept}");
        }
        assert!(!problem_is_preferred(&[]));
    }

    #[test]
    fn several_accept_lines_are_one_list() {
        assert!(problem_is_preferred(&[
            "text/html",
            "application/problem+json"
        ]));
        assert!(!problem_is_preferred(&[
            "application/problem+json;q=0.5",
            "application/json"
        ]));
    }

    #[test]
    fn a_client_that_names_html_and_prefers_no_other_gets_it() {
        let is_sent = |accept| {
            let accept = HeaderValue::from_static(accept);
            prefers_html(&HeaderMap::from_iter([(ACCEPT, accept)]))
        };
        for accept in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/*;q=0.5, text/html;level=1",
            "text/plain;q=0.9, text/html",
        ] {
            assert!(is_sent(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*",
            "text/plain",
            "application/json",
            "text/html;q=0",
            "text/html;q=0.8, text/plain",
        ] {
            assert!(!is_sent(accept), "{accept}");
        }
    }
}
