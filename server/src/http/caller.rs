//! Who is calling, and which bucket is theirs.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderValue};
use rl_bucket::{Algorithm, Policy, Tokens};

use super::query::{BadQuery, QueryParams};
use crate::client_address::Proxies;
use crate::config::CallerFlags;
use crate::limit::LimitRequest;

/// How callers are told apart, and what each may ask.
pub(crate) struct Callers {
    proxies: Proxies,
    /// The leading bits of an IPv6 address that share a bucket, 1 to 128: one subscriber has a whole /64 to call from.
    ipv6_prefix: u32,
    /// Whether the query may choose the bucket and its policy.
    is_trusted: bool,
    /// The policy of those that do not.
    policy: Policy,
}

impl Callers {
    pub(crate) fn new(flags: &CallerFlags, policy: Policy) -> Self {
        Self {
            proxies: flags.proxies(),
            ipv6_prefix: flags.ipv6_prefix.into(),
            is_trusted: flags.trust_caller,
            policy,
        }
    }

    /// The caller's address in canonical form: the peer's, or the one that trusted proxies name.
    pub(crate) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(self.proxies.header.name()).iter();
        self.proxies.client(peer, lines.map(HeaderValue::as_bytes))
    }

    /// What the caller at `address` asks for with this query.
    ///
    /// # Errors
    ///
    /// If it is one that cannot be asked, or not by this caller.
    pub(crate) fn asked(
        &self,
        algorithm: Algorithm,
        address: IpAddr,
        query: Option<&str>,
    ) -> Result<LimitRequest, BadQuery> {
        let question = QueryParams::parse(query.unwrap_or_default(), self.is_trusted)?;
        Ok(LimitRequest {
            algorithm,
            key: match &question.key {
                // No address begins with "key:".
                Some(key) => format!("rl:{}:key:{key}", name(algorithm)),
                None => self.key(algorithm, address),
            },
            policy: question.policy(self.policy),
            cost: question.cost.unwrap_or(Tokens::ONE),
        })
    }

    /// The key of an address's bucket: `rl:token:192.0.2.1`, `rl:leaky:2001:db8::/64`.
    fn key(&self, algorithm: Algorithm, address: IpAddr) -> String {
        let name = name(algorithm);
        match address {
            IpAddr::V4(address) => format!("rl:{name}:{address}"),
            IpAddr::V6(address) => {
                let mask = u128::MAX << (128 - self.ipv6_prefix);
                let network = Ipv6Addr::from_bits(address.to_bits() & mask);
                format!("rl:{name}:{network}/{}", self.ipv6_prefix)
            }
        }
    }
}

/// The word for an algorithm in keys, paths and headers.
pub(crate) fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Token => "token",
        Algorithm::Leaky => "leaky",
    }
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Capacity, Rate};

    use super::*;
    use crate::client_address::ClientIpHeader;

    fn key_of(address: &str, ipv6_prefix: u32) -> String {
        let proxies = Proxies {
            trusted: "".parse().unwrap(),
            header: ClientIpHeader::XForwardedFor,
        };
        let callers = Callers {
            proxies,
            ipv6_prefix,
            is_trusted: false,
            policy: Policy::new(Rate::parse(b"10").unwrap(), Capacity::new(1).unwrap()),
        };
        callers.key(Algorithm::Token, address.parse().unwrap())
    }

    #[test]
    fn each_ipv4_address_has_a_bucket() {
        assert_eq!(key_of("192.0.2.1", 1), "rl:token:192.0.2.1");
        assert_eq!(key_of("192.0.2.2", 128), "rl:token:192.0.2.2");
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_a_bucket() {
        let network = "rl:token:2001:db8:1:2::/64";
        assert_eq!(key_of("2001:db8:1:2::3", 64), network);
        assert_eq!(key_of("2001:db8:1:2:ffff::3", 64), network);
        assert_eq!(key_of("2001:db8:1:3::3", 64), "rl:token:2001:db8:1:3::/64");
        assert_eq!(key_of("2001:db8:1:2::3", 48), "rl:token:2001:db8:1::/48");
        assert_eq!(key_of("2001:db8::3", 128), "rl:token:2001:db8::3/128");
        assert_eq!(key_of("ffff::", 1), "rl:token:8000::/1");
        assert_eq!(key_of("::1", 64), "rl:token:::/64");
    }
}
