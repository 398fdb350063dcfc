//! Which bucket a request is for: the caller's address, the key of its bucket, and what the query changes.
//!
//! [`crate::client_address`] reads the headers of proxies, [`super::query`] the query.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderValue};
use rl_bucket::{Algorithm, Policy, Tokens};

use super::query::{QueryError, QueryParams};
use crate::client_address::Proxies;
use crate::config::CallerFlags;
use crate::limit::LimitRequest;

/// How callers are identified, and what each may request.
pub(crate) struct Callers {
    proxies: Proxies,
    /// The leading bits of an IPv6 address that share a bucket, 1 to 128. One subscriber usually has a whole /64.
    ipv6_prefix: u32,
    /// With `-trust-caller`: the query may choose the bucket, the policy and the cost.
    is_trusted: bool,
    /// The server's policy, for what the query does not choose.
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

    /// The caller's address in canonical form: the peer's, or the one that trusted proxies report.
    pub(crate) fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(self.proxies.header.name()).iter();
        self.proxies.client(peer, lines.map(HeaderValue::as_bytes))
    }

    /// What the caller at `address` requests with this query.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if a parameter is wrong, or if this server takes no parameters from callers.
    pub(crate) fn limit_request(
        &self,
        algorithm: Algorithm,
        address: IpAddr,
        query: Option<&str>,
    ) -> Result<LimitRequest, QueryError> {
        let params = QueryParams::parse(query.unwrap_or_default(), self.is_trusted)?;
        Ok(LimitRequest {
            algorithm,
            key: match &params.key {
                // No address starts with "key:", so a key never names an address's bucket.
                Some(key) => format!("rl:{}:key:{key}", algorithm.name()),
                None => self.key(algorithm, address),
            },
            policy: params.policy(self.policy),
            cost: params.cost.unwrap_or(Tokens::ONE),
        })
    }

    /// The key of an address's bucket: `rl:token:192.0.2.1`, `rl:leaky:2001:db8::/64`.
    fn key(&self, algorithm: Algorithm, address: IpAddr) -> String {
        let name = algorithm.name();
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
