//! The Redis keys of buckets of named policies. Pure.
//!
//! ```text
//! rl:{token:login:192.0.2.1}                        one limit without a name
//! rl:{leaky:api:x-api-key=k1,2001:db8::/64}:hour    the limit `hour`, callers distinguished by a header and an address
//! ```
//!
//! The braces are the hash tag, so all limits of one caller and policy are in one hash slot. Two different lists of
//! algorithm, policy, parts and limit never have the same key: names contain no separator, and everything that a caller
//! sends is percent-encoded. Keys of `/token` and `/leaky` begin with `rl:token:` or `rl:leaky:`, so no key here is one of
//! those. Which parts a request has is up to `caller.rs`. The tests are in `server/tests/bucket_key.rs`, because the fuzz
//! targets include this file.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv6Addr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rl_bucket::Algorithm;
use sha2::{Digest, Sha256};

/// The longest value that is part of a key, in bytes. A longer one is hashed.
const MAX_VALUE_BYTES: usize = 128;

/// The longest hash tag, in bytes. Of a longer one, which takes several parts, the caller is hashed.
const MAX_TAG_BYTES: usize = 512;

/// The bytes that are percent-encoded. What is left out here has no meaning in keys.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/')
    .remove(b'@')
    .remove(b'+');

/// What distinguishes callers by their address: an IPv4 address, or the network of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    V4(std::net::Ipv4Addr),
    /// The network and the length of its prefix, 1 to 128.
    V6(Ipv6Addr, u32),
}

impl Network {
    /// The network of an address. IPv6 addresses with the same `ipv6_prefix` leading bits, 1 to 128, have the same.
    pub(crate) fn new(address: IpAddr, ipv6_prefix: u32) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - ipv6_prefix);
                Self::V6(Ipv6Addr::from_bits(address.to_bits() & mask), ipv6_prefix)
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(network, prefix) => write!(f, "{network}/{prefix}"),
        }
    }
}

/// One part of who the caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallerPart<'a> {
    /// Also in place of a header that is missing or does not count.
    Network(Network),
    /// The name of a header in lower case, and its value.
    Header(&'a str, &'a [u8]),
    /// The same, but only the hash of the value becomes part of the key.
    Sha256(&'a str, &'a [u8]),
    /// The parameter `key` of a trusted caller. It is the only part.
    Key(&'a str),
}

impl fmt::Display for CallerPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            // Contains no `=`, which all others do.
            Self::Network(network) => network.fmt(f),
            Self::Header(name, value) => write_value(f, encoded(name.as_bytes()), value),
            Self::Sha256(name, value) => {
                let name = encoded(name.as_bytes());
                write!(f, "{name}:sha256={}", hash(value))
            }
            // No header has an empty name.
            Self::Key(key) => write_value(f, ":key", key.as_bytes()),
        }
    }
}

/// Writes a name and a value, or the hash of a long value. The encoded name contains no `=`, and the hash has another name.
fn write_value(f: &mut fmt::Formatter<'_>, name: impl fmt::Display, value: &[u8]) -> fmt::Result {
    match value.len() {
        ..=MAX_VALUE_BYTES => write!(f, "{name}={}", encoded(value)),
        _ => write!(f, "{name}:long={}", hash(value)),
    }
}

fn encoded(bytes: &[u8]) -> impl fmt::Display {
    percent_encode(bytes, ENCODED)
}

/// SHA-256 in lower-case hexadecimal digits.
fn hash(value: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(value) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What the keys of all limits of one caller and policy begin with: the hash tag.
pub(crate) fn hash_tag<'a>(
    algorithm: Algorithm,
    policy: &str,
    parts: impl IntoIterator<Item = CallerPart<'a>>,
) -> String {
    let mut key = format!("rl:{{{}:{policy}:", algorithm.name());
    let caller_at = key.len();
    for (index, part) in parts.into_iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let _ = write!(key, "{separator}{part}");
    }
    if key.len() > MAX_TAG_BYTES {
        let hash = hash(&key.as_bytes()[caller_at..]);
        key.truncate(caller_at);
        // No part begins like this.
        let _ = write!(key, ":long={hash}");
    }
    key.push('}');
    key
}

/// The key of one limit.
pub(crate) fn of_limit(hash_tag: &str, limit: Option<&str>) -> String {
    match limit {
        None => hash_tag.to_owned(),
        Some(name) => [hash_tag, name].join(":"),
    }
}
