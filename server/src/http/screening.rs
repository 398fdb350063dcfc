//! Requests that are rejected before anything is decided: an invalid Host header, or a page of another origin. Pure.

use std::fmt;
use std::net::Ipv6Addr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode, Version};

use crate::config::Origins;

const ORIGIN: HeaderName = axum::http::header::ORIGIN;
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// HTTP/1.1 without a Host header, or HTTP/2 without both Host and `:authority`.
    NoHost,
    /// More than one Host header.
    SeveralHosts,
    /// A Host header or `:authority` that is not `host[:port]`.
    BadHost,
    /// A Host header that differs from HTTP/2's `:authority`.
    OtherHost,
    /// A page of another origin sent it, in a browser.
    CrossSite,
}

impl Rejection {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::CrossSite => StatusCode::FORBIDDEN,
            Self::NoHost | Self::SeveralHosts | Self::BadHost | Self::OtherHost => {
                StatusCode::BAD_REQUEST
            }
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHost => "no Host header: send one",
            Self::SeveralHosts => "more than one Host header: send one",
            Self::BadHost => "invalid Host header: send host or host:port",
            Self::OtherHost => "the Host header differs from :authority: send the same",
            Self::CrossSite => {
                "a page of another origin sent this request, which -trust-caller does not allow: \
                 name its origin in -cors-origins"
            }
        })
    }
}

/// Checks the Host header as RFC 9112 (3.2) and RFC 9113 (8.3.1) require. HTTP/1.0 may omit it.
///
/// # Errors
///
/// If it is missing, repeated or invalid, or differs from `:authority`.
pub(crate) fn check_host<B>(request: &Request<B>) -> Result<(), Rejection> {
    let is_http2 = request.version() == Version::HTTP_2;
    let authority = request.uri().authority().filter(|_| is_http2);
    if authority.is_some_and(|authority| !is_host(authority.as_str().as_bytes())) {
        return Err(Rejection::BadHost);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        let is_needed = request.version() != Version::HTTP_10 && authority.is_none();
        return match is_needed {
            true => Err(Rejection::NoHost),
            false => Ok(()),
        };
    };
    let differs = |authority: &Authority| {
        let authority = authority.as_str().as_bytes();
        !authority.eq_ignore_ascii_case(host.as_bytes())
    };
    if hosts.next().is_some() {
        Err(Rejection::SeveralHosts)
    } else if !is_host(host.as_bytes()) {
        Err(Rejection::BadHost)
    } else if authority.is_some_and(differs) {
        Err(Rejection::OtherHost)
    } else {
        Ok(())
    }
}

/// Whether this is `uri-host [ ":" port ]` of RFC 3986. An empty host is valid: clients send it for a target without an
/// authority.
fn is_host(text: &[u8]) -> bool {
    let is_port = |text: &[u8]| match text {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if let Some(literal) = text.strip_prefix(b"[") {
        let end = literal.iter().position(|byte| *byte == b']');
        return end.is_some_and(|end| {
            let address = str::from_utf8(&literal[..end]).unwrap_or_default();
            address.parse::<Ipv6Addr>().is_ok() && is_port(&literal[end + 1..])
        });
    }
    let is_name_byte = |byte: &u8| IS_NAME_BYTE[usize::from(*byte)];
    let name = text.iter().take_while(|byte| is_name_byte(byte)).count();
    is_port(&text[name..])
}

/// The bytes that a name or an IPv4 address may contain. A table, because every request is checked.
const IS_NAME_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,;=%";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Checks that no page of another origin sent the request, unless its origin is one of `allowed`.
///
/// Browsers send Sec-Fetch-Site over HTTPS and to their own machine. `same-site` is rejected too, because all ports of
/// localhost are one site.
///
/// # Errors
///
/// [`Rejection::CrossSite`] if such a page sent it.
pub(crate) fn check_site(headers: &HeaderMap, allowed: &Origins) -> Result<(), Rejection> {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if sites.all(|site| site == "same-origin" || site == "none") {
        return Ok(());
    }
    match headers.get(ORIGIN) {
        Some(origin) if allowed.contains(origin) => Ok(()),
        _ => Err(Rejection::CrossSite),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, target: &str, hosts: &[&'static str]) -> Result<(), Rejection> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check_host(&request.body(()).unwrap())
    }

    #[test]
    fn http_1_1_needs_one_host_and_http_1_0_at_most_one() {
        use Rejection::{NoHost, SeveralHosts};
        for (version, hosts, expected) in [
            (Version::HTTP_11, &[][..], Err(NoHost)),
            (Version::HTTP_11, &["a"], Ok(())),
            (Version::HTTP_11, &["a", "a"], Err(SeveralHosts)),
            (Version::HTTP_10, &[], Ok(())),
            (Version::HTTP_10, &["a"], Ok(())),
            (Version::HTTP_10, &["a", "b"], Err(SeveralHosts)),
            (Version::HTTP_2, &[], Err(NoHost)),
            (Version::HTTP_2, &["a"], Ok(())),
        ] {
            assert_eq!(
                checked(version, "/", hosts),
                expected,
                "{version:?} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_host_of_http_2_is_its_authority() {
        use Rejection::{BadHost, OtherHost, SeveralHosts};
        for (target, hosts, expected) in [
            ("http://a:80/", &[][..], Ok(())),
            ("http://a:80/", &["A:80"], Ok(())),
            ("http://a:80/", &["a"], Err(OtherHost)),
            ("http://a/", &["a", "a"], Err(SeveralHosts)),
            ("http://user@a/", &[], Err(BadHost)),
        ] {
            assert_eq!(
                checked(Version::HTTP_2, target, hosts),
                expected,
                "{target} {hosts:?}"
            );
        }
        assert_eq!(checked(Version::HTTP_11, "http://a/", &["b"]), Ok(()));
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for host in [
            "",
            "a",
            "a:",
            "a:80",
            "A-b.example.",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]:",
            "a%20b",
            "_a~!$&'()*+,;=",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a:b", "a:80:80", "a/", "a?", "a#", "a@b", "http://a", "::1", "[::1", "[::1]80",
            "[::1%1]", "[a]", "[]", "a]", "a\"", "a\\", "a,b ", "\u{e9}", "<a>",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    fn site(lines: &[(HeaderName, &'static str)], origins: &str) -> Result<(), Rejection> {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        check_site(&lines.collect(), &origins.parse().unwrap())
    }

    #[test]
    fn only_pages_of_the_same_or_an_allowed_origin_pass() {
        for own in ["same-origin", "none"] {
            assert_eq!(site(&[(SEC_FETCH_SITE, own)], ""), Ok(()));
        }
        assert_eq!(site(&[], ""), Ok(()));
        let origin = (ORIGIN, "https://app.example");
        for other in ["cross-site", "same-site", "", "Same-Origin"] {
            let fetched = (SEC_FETCH_SITE, other);
            let both = [fetched.clone(), origin.clone()];
            assert_eq!(site(&[fetched], "*"), Err(Rejection::CrossSite), "{other}");
            assert_eq!(site(&both, ""), Err(Rejection::CrossSite));
            assert_eq!(site(&both, "https://b.example"), Err(Rejection::CrossSite));
            assert_eq!(site(&both, "https://b.example,https://app.example"), Ok(()));
            assert_eq!(site(&both, "*"), Ok(()));
        }
        let both = [
            (SEC_FETCH_SITE, "same-origin"),
            (SEC_FETCH_SITE, "cross-site"),
        ];
        assert_eq!(site(&both, ""), Err(Rejection::CrossSite));
    }
}
