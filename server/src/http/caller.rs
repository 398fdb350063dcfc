//! Which buckets a request is for: who the caller is, the keys of the buckets, and what the query changes.
//!
//! [`crate::client_address`] reads the headers of proxies, [`super::query`] the query, and [`super::bucket_key`] writes the
//! keys of named policies.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use nonempty::NonEmpty;
use rl_bucket::Algorithm;

use super::bucket_key::{self, CallerPart, Network};
use super::query::{QueryError, QueryParams};
use crate::client_address::{Peer, Proxies};
use crate::config::{CallerFlags, KeyPart, NamedPolicy};
use crate::limit::{Limit, LimitRequest};

/// Room for the key of an IPv4 address, in bytes.
const KEY_BYTES: usize = 32;

/// How callers are identified, and what each may request.
pub(crate) struct Callers {
    proxies: Proxies,
    /// The leading bits of an IPv6 address that share a bucket, 1 to 128. One subscriber usually has a whole /64.
    ipv6_prefix: u32,
    /// With `-trust-caller`: the query may choose the bucket, the policy and the charge.
    is_trusted: bool,
}

/// Where a request comes from.
pub(crate) struct Caller<'a> {
    /// The peer's address, or the one that trusted proxies report, in canonical form.
    pub(crate) address: IpAddr,
    /// The headers, if the peer is trusted to send those that distinguish callers.
    headers: Option<&'a HeaderMap>,
}

impl Callers {
    pub(crate) fn new(flags: &CallerFlags) -> Self {
        Self {
            proxies: flags.proxies(),
            ipv6_prefix: flags.ipv6_prefix.into(),
            is_trusted: flags.trust_caller,
        }
    }

    /// The caller behind a request that this peer sent.
    pub(crate) fn caller<'a>(&self, peer: Peer, headers: &'a HeaderMap) -> Caller<'a> {
        let lines = headers.get_all(self.proxies.header.name()).iter();
        let is_trusted = self.is_trusted || self.proxies.trusts(peer);
        Caller {
            address: self.proxies.client(peer, lines.map(HeaderValue::as_bytes)),
            headers: is_trusted.then_some(headers),
        }
    }

    /// What a caller requests of a policy with this query.
    ///
    /// # Errors
    ///
    /// [`QueryError`] if a parameter is wrong, or if this server takes no parameters from callers.
    pub(crate) fn limit_request(
        &self,
        algorithm: Algorithm,
        policy: &NamedPolicy,
        caller: &Caller<'_>,
        query: Option<&str>,
    ) -> Result<LimitRequest, QueryError> {
        let params = QueryParams::parse(query.unwrap_or_default(), self.is_trusted)?;
        let limits = if policy.is_default() {
            let key = self.default_key(algorithm, caller, &params);
            let policy = params.policy(policy.limits.head.policy)?;
            NonEmpty::new(Limit { key, policy })
        } else if params.has_policy() {
            return Err(QueryError::NamedPolicy);
        } else {
            self.named_limits(algorithm, policy, caller, &params)
        };
        Ok(LimitRequest {
            algorithm,
            limits,
            charge: params.charge(),
        })
    }

    /// The key of `/token` and `/leaky`: `rl:token:192.0.2.1`, `rl:leaky:2001:db8::/64`, `rl:token:key:user42`.
    fn default_key(
        &self,
        algorithm: Algorithm,
        caller: &Caller<'_>,
        params: &QueryParams,
    ) -> String {
        let name = algorithm.name();
        match &params.key {
            // No address starts with "key:", so a key never names an address's bucket.
            Some(key) => format!("rl:{name}:key:{key}"),
            None => key_of_network(name, self.network(caller)),
        }
    }

    fn named_limits(
        &self,
        algorithm: Algorithm,
        policy: &NamedPolicy,
        caller: &Caller<'_>,
        params: &QueryParams,
    ) -> NonEmpty<Limit> {
        let tag = match &params.key {
            Some(key) => bucket_key::hash_tag(algorithm, &policy.name, [CallerPart::Key(key)]),
            None => self.tag_of_parts(algorithm, policy, caller),
        };
        policy.limits.as_ref().map(|limit| Limit {
            key: bucket_key::of_limit(&tag, limit.name.as_deref()),
            policy: limit.policy,
        })
    }

    fn tag_of_parts(
        &self,
        algorithm: Algorithm,
        policy: &NamedPolicy,
        caller: &Caller<'_>,
    ) -> String {
        let values = policy.key.as_ref().map(|part| match part {
            KeyPart::Address => None,
            KeyPart::Header(name) | KeyPart::Sha256(name) => caller.header(name),
        });
        let parts =
            policy
                .key
                .iter()
                .zip(&values)
                .map(|(part, value)| match (part, value.as_deref()) {
                    (KeyPart::Header(name), Some(value)) => {
                        CallerPart::Header(name.as_str(), value)
                    }
                    (KeyPart::Sha256(name), Some(value)) => {
                        CallerPart::Sha256(name.as_str(), value)
                    }
                    (_, _) => CallerPart::Network(self.network(caller)),
                });
        bucket_key::hash_tag(algorithm, &policy.name, parts)
    }

    fn network(&self, caller: &Caller<'_>) -> Network {
        Network::new(caller.address, self.ipv6_prefix)
    }
}

/// The key of an address. It is written for most requests, so the octets do not go through `format!`.
fn key_of_network(algorithm: &str, network: Network) -> String {
    let mut key = String::with_capacity(KEY_BYTES);
    key.push_str("rl:");
    key.push_str(algorithm);
    match network {
        Network::V4(address) => {
            for (octet, separator) in address.octets().into_iter().zip([":", ".", ".", "."]) {
                key.push_str(separator);
                key.push_str(itoa::Buffer::new().format(octet));
            }
        }
        Network::V6(..) => key.extend([":", &network.to_string()]),
    }
    key
}

impl<'a> Caller<'a> {
    /// The value of a header. Several lines are one value, joined as RFC 9110 (5.3) joins them, without empty ones.
    ///
    /// `None` if the header is missing or empty, or the peer is not trusted.
    fn header(&self, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
        let lines = self.headers?.get_all(name).iter();
        let mut lines = lines
            .map(HeaderValue::as_bytes)
            .filter(|line| !line.is_empty());
        let first = lines.next()?;
        let rest: Vec<&[u8]> = lines.collect();
        Some(match rest.as_slice() {
            [] => Cow::Borrowed(first),
            rest => Cow::Owned([&[first], rest].concat().join(&b", "[..])),
        })
    }
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Capacity, Policy, Rate};

    use super::*;
    use crate::client_address::ClientIpHeader;
    use crate::config::NamedLimit;
    use crate::config::policies::DEFAULT;

    const PROXY: &str = "192.0.2.9";

    fn callers(ipv6_prefix: u32, is_trusted: bool) -> Callers {
        let proxies = Proxies {
            trusted: PROXY.parse().unwrap(),
            header: ClientIpHeader::XForwardedFor,
        };
        Callers {
            proxies,
            ipv6_prefix,
            is_trusted,
        }
    }

    fn one_token() -> Policy {
        Policy::new(Rate::parse(b"10").unwrap(), Capacity::new(1).unwrap())
    }

    fn keys(
        callers: &Callers,
        policy: &NamedPolicy,
        peer: &str,
        headers: &[(&'static str, &'static str)],
        query: &str,
    ) -> Result<Vec<String>, QueryError> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let headers = headers.collect();
        let peer = Peer::Tcp((peer.parse::<IpAddr>().unwrap(), 80).into());
        let caller = callers.caller(peer, &headers);
        let request = callers.limit_request(Algorithm::Token, policy, &caller, Some(query))?;
        Ok(request.limits.into_iter().map(|limit| limit.key).collect())
    }

    fn key_of(address: &str, ipv6_prefix: u32) -> String {
        let policy = NamedPolicy::by_address(DEFAULT, one_token());
        let keys = keys(&callers(ipv6_prefix, false), &policy, address, &[], "");
        keys.unwrap().concat()
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

    /// A policy of two limits whose callers differ by a header and the address.
    fn api() -> NamedPolicy {
        let limit = |name: &str| NamedLimit {
            name: Some(name.to_owned()),
            policy: one_token(),
        };
        let header = KeyPart::Header(HeaderName::from_static("x-api-key"));
        NamedPolicy {
            key: NonEmpty::from((header, vec![KeyPart::Address])),
            limits: NonEmpty::from((limit("second"), vec![limit("hour")])),
            ..NamedPolicy::by_address("api", one_token())
        }
    }

    #[test]
    fn all_limits_of_a_caller_have_one_hash_tag() {
        let headers = [("x-api-key", "k,1"), ("x-forwarded-for", "198.51.100.7")];
        let keys = keys(&callers(64, false), &api(), PROXY, &headers, "").unwrap();
        let tag = "rl:{token:api:x-api-key=k%2C1,198.51.100.7}";
        assert_eq!(keys, [format!("{tag}:second"), format!("{tag}:hour")]);
    }

    #[test]
    fn a_header_counts_only_from_a_trusted_peer() {
        let keyed = |callers: &Callers, peer, value| {
            let headers = [("x-api-key", value)];
            keys(callers, &api(), peer, &headers, "").unwrap()[0].clone()
        };
        let (strict, trusting) = (callers(64, false), callers(64, true));
        let by_address = "rl:{token:api:192.0.2.1,192.0.2.1}:second";
        let by_header = "rl:{token:api:x-api-key=k,192.0.2.1}:second";
        assert_eq!(keyed(&strict, "192.0.2.1", "k"), by_address);
        assert_eq!(keyed(&trusting, "192.0.2.1", "k"), by_header);
        assert_eq!(keyed(&strict, PROXY, "k"), by_header.replace("2.1", "2.9"));
        let headers = [("x-api-key", ""), ("x-api-key", "")];
        let empty = keys(&trusting, &api(), "192.0.2.1", &headers, "").unwrap();
        assert_eq!(empty[0], by_address, "an empty header counts as missing");
    }

    #[test]
    fn several_lines_of_a_header_are_one_value() {
        let headers = [("x-api-key", "a"), ("x-api-key", "b")];
        let keys = keys(&callers(64, true), &api(), "192.0.2.1", &headers, "").unwrap();
        assert!(keys[0].contains("x-api-key=a%2C%20b,"), "{keys:?}");
    }

    #[test]
    fn the_query_names_a_bucket_of_the_policy_but_no_limit() {
        let keyed = |query| keys(&callers(64, true), &api(), "192.0.2.1", &[], query);
        let tag = "rl:{token:api::key=a%7Db}";
        let expected = [format!("{tag}:second"), format!("{tag}:hour")];
        assert_eq!(keyed("key=a}b&cost=2").unwrap(), expected);
        assert_eq!(keyed("key=a&rate=5"), Err(QueryError::NamedPolicy));
        assert_eq!(keyed("burst=5"), Err(QueryError::NamedPolicy));
    }
}
