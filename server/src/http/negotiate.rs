//! Which kind of body a caller asks for (RFC 9110, 12.5.1). Pure.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// What of a request the form of its answer depends on.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a> {
    /// The path that was asked for.
    pub(crate) path: &'a str,
    /// Whether errors and denials are told as problem details.
    pub(crate) is_problem: bool,
}

impl<'a> Form<'a> {
    /// The form of the answer to a request for this path with these headers.
    pub(crate) fn of(path: &'a str, headers: &HeaderMap) -> Self {
        Self {
            path,
            is_problem: prefers_problem(headers),
        }
    }
}

/// Whether errors and denials are to be told as `application/problem+json`: it is named, and nothing that plain JSON matches
/// is preferred to it.
fn prefers_problem(headers: &HeaderMap) -> bool {
    let plain = ["application/json", "application/*", "*/*"];
    prefers(headers, "application/problem+json", plain)
}

/// Whether HTML is to be sent rather than plain text: it is named, and nothing that plain text matches is preferred to it.
pub(crate) fn prefers_html(headers: &HeaderMap) -> bool {
    prefers(headers, "text/html", ["text/plain", "text/*", "*/*"])
}

/// Whether this type is named, and the other, which these ranges match, the most specific first, is not preferred to it.
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

/// The media ranges of Accept with their quality in thousandths; what is malformed is left out.
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

/// `0.5` is 500, `1` is 1000: at most three decimals, and no more than 1.
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

    fn is_asked_for(lines: &[&'static str]) -> bool {
        let lines = lines
            .iter()
            .map(|line| (ACCEPT, HeaderValue::from_static(line)));
        prefers_problem(&lines.collect())
    }

    #[test]
    fn it_is_told_to_whoever_names_it_and_prefers_nothing_to_it() {
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
            assert!(is_asked_for(&[accept]), "{accept}");
        }
    }

    #[test]
    fn nobody_else_is_told_it() {
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
            assert!(!is_asked_for(&[accept]), "{accept}");
        }
        assert!(!is_asked_for(&[]));
    }

    #[test]
    fn lines_are_one_list() {
        assert!(is_asked_for(&["text/html", "application/problem+json"]));
        assert!(!is_asked_for(&[
            "application/problem+json;q=0.5",
            "application/json"
        ]));
    }

    #[test]
    fn html_is_sent_to_whoever_names_it_and_prefers_nothing_to_it() {
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
