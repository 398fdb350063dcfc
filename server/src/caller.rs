//! Who is calling, and which bucket is theirs.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rl_bucket::Algorithm;

/// The leading bits of an IPv6 address that share a bucket: one subscriber has a whole /64 to call from.
const IPV6_PREFIX: u32 = 64;

/// The caller's address in its canonical form: an IPv4 address that came in as `::ffff:a.b.c.d` is IPv4.
pub(crate) fn address(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

/// The key of the caller's bucket: `rl:token:192.0.2.1`, `rl:leaky:2001:db8::/64`.
pub(crate) fn key(algorithm: Algorithm, address: IpAddr) -> String {
    let name = name(algorithm);
    match address {
        IpAddr::V4(address) => format!("rl:{name}:{address}"),
        IpAddr::V6(address) => {
            let network =
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX)));
            format!("rl:{name}:{network}/{IPV6_PREFIX}")
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
    use super::*;

    fn key_of(peer: &str) -> String {
        key(Algorithm::Token, address(peer.parse().unwrap()))
    }

    #[test]
    fn an_ipv4_caller_is_one_whichever_socket_it_came_in_by() {
        assert_eq!(key_of("192.0.2.1:5000"), "rl:token:192.0.2.1");
        assert_eq!(key_of("[::ffff:192.0.2.1]:5000"), "rl:token:192.0.2.1");
        assert_eq!(key_of("[::ffff:c000:201]:5000"), "rl:token:192.0.2.1");
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share_a_bucket() {
        assert_eq!(key_of("[2001:db8:1:2::3]:1"), "rl:token:2001:db8:1:2::/64");
        assert_eq!(
            key_of("[2001:db8:1:2:ffff::3]:1"),
            "rl:token:2001:db8:1:2::/64"
        );
        assert_eq!(key_of("[2001:db8:1:3::3]:1"), "rl:token:2001:db8:1:3::/64");
        assert_eq!(key_of("[::1]:1"), "rl:token:::/64");
    }
}
