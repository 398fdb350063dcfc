//! The query parameters `key`, `cost`, `force`, `refund`, `rate` and `burst`, which `-trust-caller` accepts. Pure.
//!
//! This file parses and validates them. [`super::caller`] makes a request of them.

use std::fmt;

use percent_encoding::percent_decode_str;
use rl_bucket::{Capacity, Policy, Rate, Request, Tokens};

use crate::config::values;

/// Maximum length of a key in bytes. Each bucket keeps its key in Redis's memory.
const MAX_KEY_BYTES: usize = 512;

/// The parameters of a query. `None` stands for one that the query does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryParams {
    /// Names the bucket, in place of the caller's address.
    pub(crate) key: Option<String>,
    /// The number of tokens to take: all of them or none.
    cost: Option<Tokens>,
    /// The number of tokens to take, whether or not they are left.
    force: Option<Tokens>,
    /// The number of tokens to put back.
    refund: Option<Tokens>,
    rate: Option<Rate>,
    burst: Option<Capacity>,
}

/// Why a query is refused. Nothing was spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueryError {
    /// A parameter that only a server with `-trust-caller` accepts.
    NotTrusted(String),
    /// An unknown parameter.
    Unknown(String),
    /// The same from a caller that may send none.
    UnknownAndNotTrusted(String),
    /// A parameter that occurs twice. A proxy that appends parameters may have added one, and a client the other.
    Duplicate(String),
    /// A parameter with a wrong value, and what is expected in its place.
    Malformed(String, &'static str),
    /// More than one of `cost`, `force` and `refund`.
    SeveralCharges,
    /// `rate` or `burst` for a policy of the file, which has limits of its own.
    NamedPolicy,
    /// `rate` or `burst` without `key`. They would change the limit of the address's bucket, which others share.
    NoKey,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTrusted(name) => write!(
                f,
                "{name} is not accepted from callers: start rl-server with -trust-caller"
            ),
            Self::Unknown(name) => {
                write!(
                    f,
                    "unknown parameter: {name}; use key, cost, force, refund, rate or burst"
                )
            }
            Self::UnknownAndNotTrusted(name) => write!(f, "unknown parameter: {name}; remove it"),
            Self::Duplicate(name) => write!(f, "duplicate parameter: {name}; send it once"),
            Self::Malformed(name, expected) => write!(f, "{name}: {expected}"),
            Self::SeveralCharges => f.write_str("use only one of cost, force and refund"),
            Self::NamedPolicy => f.write_str(
                "rate and burst are not accepted here: this policy has its own; use /token or /leaky",
            ),
            Self::NoKey => f.write_str(
                "rate and burst need key, such as key=user:42: without it they would change the limit of an address",
            ),
        }
    }
}

impl QueryParams {
    /// Parses a query such as `key=user:42&cost=3&rate=600/m&burst=20`.
    ///
    /// # Errors
    ///
    /// The first parameter that is unknown, duplicate or malformed, or else parameters that exclude each other. If the
    /// caller is not trusted, the first parameter.
    pub(crate) fn parse(query: &str, is_trusted: bool) -> Result<Self, QueryError> {
        let mut params = Self::default();
        for parameter in query.split('&').filter(|text| !text.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            params.set(name, value, is_trusted)?;
        }
        let charges = [params.cost, params.force, params.refund];
        match charges.iter().flatten().count() {
            ..=1 => Ok(params),
            _ => Err(QueryError::SeveralCharges),
        }
    }

    fn set(&mut self, name: &str, value: &str, is_trusted: bool) -> Result<(), QueryError> {
        let is_known = ["key", "cost", "force", "refund", "rate", "burst"].contains(&name);
        match name {
            _ if is_known && !is_trusted => Err(QueryError::NotTrusted(name.to_owned())),
            "key" => once(&mut self.key, name, value, key),
            "cost" => once(&mut self.cost, name, value, cost),
            "force" => once(&mut self.force, name, value, at_least_1),
            "refund" => once(&mut self.refund, name, value, at_least_1),
            "rate" => once(&mut self.rate, name, value, values::rate),
            "burst" => once(&mut self.burst, name, value, values::burst),
            _ if is_trusted => Err(QueryError::Unknown(name.to_owned())),
            _ => Err(QueryError::UnknownAndNotTrusted(name.to_owned())),
        }
    }

    /// What is requested of each bucket: one token, unless the query says otherwise.
    pub(crate) fn charge(&self) -> Request {
        match (self.force, self.refund) {
            (Some(force), _) => Request::Force(force),
            (None, Some(refund)) => Request::Refund(refund),
            (None, None) => Request::Cost(self.cost.unwrap_or(Tokens::ONE)),
        }
    }

    /// The policy of the bucket: `rate` and `burst` where the query has them, and otherwise those of the `server`.
    ///
    /// # Errors
    ///
    /// If the query has one of them without a key.
    pub(crate) fn policy(&self, server: Policy) -> Result<Policy, QueryError> {
        if self.has_policy() && self.key.is_none() {
            return Err(QueryError::NoKey);
        }
        let rate = self.rate.unwrap_or(server.rate());
        let burst = self.burst.unwrap_or(server.capacity());
        Ok(Policy::new(rate, burst))
    }

    /// Whether the query has `rate` or `burst`.
    pub(crate) fn has_policy(&self) -> bool {
        self.rate.is_some() || self.burst.is_some()
    }
}

/// Decodes and parses a value into a field that must not be set yet.
fn once<T>(
    field: &mut Option<T>,
    name: &str,
    value: &str,
    parse: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<(), QueryError> {
    if field.is_some() {
        return Err(QueryError::Duplicate(name.to_owned()));
    }
    let value = decoded(value).and_then(|value| parse(&value));
    *field = Some(value.map_err(|expected| QueryError::Malformed(name.to_owned(), expected))?);
    Ok(())
}

fn key(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=MAX_KEY_BYTES => Ok(text.to_owned()),
        _ => Err("expected 1 to 512 bytes"),
    }
}

fn cost(text: &str) -> Result<Tokens, &'static str> {
    Tokens::parse(text.as_bytes()).ok_or("expected a whole number from 0 to 281474976710655")
}

fn at_least_1(text: &str) -> Result<Tokens, &'static str> {
    let tokens = Tokens::parse(text.as_bytes()).filter(|tokens| *tokens != Tokens::ZERO);
    tokens.ok_or("expected a whole number from 1 to 281474976710655")
}

/// Decodes a value as HTML forms encode it: `+` is a space, `%` and two hexadecimal digits are a byte.
fn decoded(value: &str) -> Result<String, &'static str> {
    let is_byte = |after: &str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    let value = value.replace('+', " ");
    let decoded = percent_decode_str(&value).decode_utf8();
    match decoded {
        Ok(text) if value.split('%').skip(1).all(is_byte) => Ok(text.into_owned()),
        _ => Err("expected UTF-8, percent-encoded"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(query: &str) -> String {
        QueryParams::parse(query, true).unwrap_err().to_string()
    }

    fn key_of(query: &str) -> Option<String> {
        QueryParams::parse(query, true).unwrap().key
    }

    fn policy(rate: &str, burst: u64) -> Policy {
        let rate = Rate::parse(rate.as_bytes()).unwrap();
        Policy::new(rate, Capacity::new(burst).unwrap())
    }

    #[test]
    fn missing_parameters_default_to_the_server_s_policy() {
        let server = policy("10", 20);
        let params = QueryParams::parse("key=user:42&cost=3&rate=5/30s&burst=7", true).unwrap();
        assert_eq!(params.key.as_deref(), Some("user:42"));
        assert_eq!(params.charge(), Request::Cost(Tokens::new(3).unwrap()));
        assert_eq!(params.policy(server), Ok(policy("5/30s", 7)));
        let params = QueryParams::parse("key=a&burst=7", true).unwrap();
        assert_eq!(params.policy(server), Ok(policy("10", 7)));
        let params = QueryParams::parse("rate=600%2Fm&key=a", true).unwrap();
        assert_eq!(params.policy(server), Ok(policy("600/m", 20)));
        for nothing in ["", "&", "&&"] {
            assert_eq!(
                QueryParams::parse(nothing, false),
                Ok(QueryParams::default())
            );
        }
        assert_eq!(QueryParams::default().policy(server), Ok(server));
        assert_eq!(QueryParams::default().charge(), Request::Cost(Tokens::ONE));
    }

    #[test]
    fn a_rate_or_burst_without_a_key_is_refused() {
        for query in ["rate=5", "burst=5", "cost=1&rate=5&burst=7"] {
            let params = QueryParams::parse(query, true).unwrap();
            assert_eq!(params.policy(policy("10", 20)), Err(QueryError::NoKey));
        }
    }

    #[test]
    fn cost_force_and_refund_exclude_each_other() {
        let charge = |query| QueryParams::parse(query, true).map(|params| params.charge());
        let three = Tokens::new(3).unwrap();
        assert_eq!(charge("force=3"), Ok(Request::Force(three)));
        assert_eq!(charge("refund=3"), Ok(Request::Refund(three)));
        for query in ["cost=3&force=3", "refund=1&cost=0", "force=1&refund=1"] {
            assert_eq!(charge(query), Err(QueryError::SeveralCharges), "{query}");
        }
    }

    #[test]
    fn an_untrusted_caller_s_parameters_are_refused() {
        for query in [
            "key=a",
            "cost=1",
            "rate=1",
            "burst=1",
            "key",
            "key=a&nonsense=1",
        ] {
            let error = QueryParams::parse(query, false).unwrap_err().to_string();
            assert!(
                error.ends_with("is not accepted from callers: start rl-server with -trust-caller"),
                "{error}"
            );
        }
        assert_eq!(
            QueryParams::parse("a=1", false),
            Err(QueryError::UnknownAndNotTrusted("a".to_owned()))
        );
    }

    #[test]
    fn unknown_duplicate_and_malformed_parameters_are_refused() {
        let (tokens, at_least_1) = (
            "a whole number from 0 to 281474976710655",
            "a whole number from 1 to 281474976710655",
        );
        for (query, expected) in [
            (
                "keys=a",
                "unknown parameter: keys; use key, cost, force, refund, rate or burst".to_owned(),
            ),
            (
                "Key=a",
                "unknown parameter: Key; use key, cost, force, refund, rate or burst".to_owned(),
            ),
            (
                "%6bey=a",
                "unknown parameter: %6bey; use key, cost, force, refund, rate or burst".to_owned(),
            ),
            (
                "=a",
                "unknown parameter: ; use key, cost, force, refund, rate or burst".to_owned(),
            ),
            ("key=a&cost=1&key=a", "duplicate parameter: key; send it once".to_owned()),
            ("cost=1&cost=0", "duplicate parameter: cost; send it once".to_owned()),
            ("key=", "key: expected 1 to 512 bytes".to_owned()),
            ("key", "key: expected 1 to 512 bytes".to_owned()),
            ("cost=", format!("cost: expected {tokens}")),
            ("cost=-1", format!("cost: expected {tokens}")),
            ("cost=-0", format!("cost: expected {tokens}")),
            ("cost=1.0", format!("cost: expected {tokens}")),
            ("cost=1e400", format!("cost: expected {tokens}")),
            ("cost=NaN", format!("cost: expected {tokens}")),
            ("cost=281474976710656", format!("cost: expected {tokens}")),
            (
                "cost=18446744073709551616",
                format!("cost: expected {tokens}"),
            ),
            ("burst=0", format!("burst: expected {at_least_1}")),
            ("force=0", format!("force: expected {at_least_1}")),
            ("refund=0", format!("refund: expected {at_least_1}")),
            ("refund=-1", format!("refund: expected {at_least_1}")),
            (
                "rate=0",
                "rate: expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
                 units are ms, s, sec, m, min, h, hour, d and day"
                    .to_owned(),
            ),
            ("key=%", "key: expected UTF-8, percent-encoded".to_owned()),
            ("key=%4", "key: expected UTF-8, percent-encoded".to_owned()),
            ("key=%zz", "key: expected UTF-8, percent-encoded".to_owned()),
            ("key=%ff", "key: expected UTF-8, percent-encoded".to_owned()),
        ] {
            assert_eq!(reason(query), expected, "{query}");
        }
        assert_eq!(
            reason(&format!("key={}", "a".repeat(513))),
            "key: expected 1 to 512 bytes"
        );
        assert_eq!(
            key_of(&format!("key={}", "a".repeat(512))).map(|key| key.len()),
            Some(512)
        );
    }

    #[test]
    fn a_value_is_decoded_once() {
        assert_eq!(key_of("key=a%26cost%3D0").as_deref(), Some("a&cost=0"));
        assert_eq!(key_of("key=a%2541=b").as_deref(), Some("a%41=b"));
        assert_eq!(
            key_of("key=a+b%2B%20%C3%A9").as_deref(),
            Some("a b+ \u{e9}")
        );
    }

    proptest! {
        #[test]
        fn any_key_arrives_as_it_was_encoded(key in "\\PC{1,100}") {
            let encoded = percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC);
            prop_assert_eq!(key_of(&format!("key={encoded}")), Some(key));
        }

        #[test]
        fn only_a_query_with_a_key_sets_one(query in "[a-z=&%+0-9/]{0,40}") {
            if let Ok(params) = QueryParams::parse(&query, true) {
                prop_assert_eq!(params.key.is_some(), query.contains("key="));
            }
            if let Ok(params) = QueryParams::parse(&query, false) {
                prop_assert_eq!(params, QueryParams::default());
            }
        }
    }
}
