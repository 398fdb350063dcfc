//! What programs that ask on behalf of others say in the query: `key`, `cost`, `rate` and `burst`. Pure.

use std::fmt;

use percent_encoding::percent_decode_str;
use rl_bucket::{Capacity, Policy, Rate, Tokens};

use crate::config::values;

/// The most bytes of a key that a caller names: each bucket keeps its own in memory.
const LONGEST_KEY: usize = 512;

/// What the query says. What it leaves out is as for any caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueryParams {
    /// Names the bucket, in the place of the caller's address.
    pub(crate) key: Option<String>,
    /// How many tokens are asked for.
    pub(crate) cost: Option<Tokens>,
    rate: Option<Rate>,
    burst: Option<Capacity>,
}

/// A query that is not asked. Nothing was spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadQuery {
    /// A parameter of ours, but this server takes none.
    NotTrusted(String),
    /// A parameter that there is not.
    Unknown(String),
    /// A parameter that is there twice: one of them may be somebody else's.
    Repeated(String),
    /// A parameter that is not what it is expected to be.
    Malformed(String, &'static str),
}

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTrusted(name) => write!(
                f,
                "{name} is not taken from callers: start rl-server with -trust-caller"
            ),
            Self::Unknown(name) => write!(f, "unknown parameter {name}"),
            Self::Repeated(name) => write!(f, "{name} is there twice"),
            Self::Malformed(name, expected) => write!(f, "{name}: {expected}"),
        }
    }
}

impl QueryParams {
    /// Reads a query such as `key=user:42&cost=3&rate=600/m&burst=20`, of a caller that may ask for such things or may not.
    ///
    /// # Errors
    ///
    /// The first parameter that is unknown, repeated or malformed, or, if the caller is not trusted, the first at all.
    pub(crate) fn parse(query: &str, is_trusted: bool) -> Result<Self, BadQuery> {
        let mut question = Self::default();
        for parameter in query.split('&').filter(|text| !text.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            question.set(name, value, is_trusted)?;
        }
        Ok(question)
    }

    fn set(&mut self, name: &str, value: &str, is_trusted: bool) -> Result<(), BadQuery> {
        let is_known = ["key", "cost", "rate", "burst"].contains(&name);
        match name {
            _ if is_known && !is_trusted => Err(BadQuery::NotTrusted(name.to_owned())),
            "key" => once(&mut self.key, name, value, key),
            "cost" => once(&mut self.cost, name, value, cost),
            "rate" => once(&mut self.rate, name, value, values::rate),
            "burst" => once(&mut self.burst, name, value, values::burst),
            _ => Err(BadQuery::Unknown(name.to_owned())),
        }
    }

    /// The policy of the bucket: what is asked for of it, and the rest from the server's own.
    pub(crate) fn policy(&self, own: Policy) -> Policy {
        let rate = self.rate.unwrap_or(own.rate());
        let burst = self.burst.unwrap_or(own.capacity());
        Policy::new(rate, burst)
    }
}

/// Sets a field that is not yet set, to what `read` makes of the value.
fn once<T>(
    field: &mut Option<T>,
    name: &str,
    value: &str,
    read: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<(), BadQuery> {
    if field.is_some() {
        return Err(BadQuery::Repeated(name.to_owned()));
    }
    let value = decoded(value).and_then(|value| read(&value));
    *field = Some(value.map_err(|expected| BadQuery::Malformed(name.to_owned(), expected))?);
    Ok(())
}

fn key(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=LONGEST_KEY => Ok(text.to_owned()),
        _ => Err("expected 1 to 512 bytes"),
    }
}

fn cost(text: &str) -> Result<Tokens, &'static str> {
    Tokens::parse(text.as_bytes()).ok_or("expected a whole number from 0 to 281474976710655")
}

/// The text that a value stands for, as forms encode it: `+` is a space, and `%` is followed by the two digits of a byte.
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
    fn each_parameter_is_read_and_the_rest_is_the_server_s() {
        let own = policy("10", 20);
        let question = QueryParams::parse("key=user:42&cost=3&rate=5/30s&burst=7", true).unwrap();
        assert_eq!(question.key.as_deref(), Some("user:42"));
        assert_eq!(question.cost, Tokens::new(3));
        assert_eq!(question.policy(own), policy("5/30s", 7));
        let question = QueryParams::parse("burst=7", true).unwrap();
        assert_eq!(question.policy(own), policy("10", 7));
        let question = QueryParams::parse("rate=600%2Fm", true).unwrap();
        assert_eq!(question.policy(own), policy("600/m", 20));
        for nothing in ["", "&", "&&"] {
            assert_eq!(
                QueryParams::parse(nothing, false),
                Ok(QueryParams::default())
            );
        }
        assert_eq!(QueryParams::default().policy(own), own);
    }

    #[test]
    fn whoever_is_not_trusted_is_told_how_to_be() {
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
                error.ends_with("is not taken from callers: start rl-server with -trust-caller"),
                "{error}"
            );
        }
        assert_eq!(
            QueryParams::parse("a=1", false),
            Err(BadQuery::Unknown("a".to_owned()))
        );
    }

    #[test]
    fn the_unknown_the_repeated_and_the_malformed_are_refused_with_the_reason() {
        let (tokens, at_least_1) = (
            "a whole number from 0 to 281474976710655",
            "a whole number from 1 to 281474976710655",
        );
        for (query, expected) in [
            ("keys=a", "unknown parameter keys".to_owned()),
            ("Key=a", "unknown parameter Key".to_owned()),
            ("%6bey=a", "unknown parameter %6bey".to_owned()),
            ("=a", "unknown parameter ".to_owned()),
            ("key=a&cost=1&key=a", "key is there twice".to_owned()),
            ("cost=1&cost=0", "cost is there twice".to_owned()),
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
            (
                "rate=0",
                "rate: expected <number>[/[<n>]<unit>], such as 10, 0.5/s, 600/m or 5/30s"
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
        fn no_query_makes_a_question_of_more_than_was_asked(query in "[a-z=&%+0-9/]{0,40}") {
            if let Ok(question) = QueryParams::parse(&query, true) {
                prop_assert_eq!(question.key.is_some(), query.contains("key="));
            }
            if let Ok(question) = QueryParams::parse(&query, false) {
                prop_assert_eq!(question, QueryParams::default());
            }
        }
    }
}
