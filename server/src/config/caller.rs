//! Flags for the identity of callers: their address, and what they may choose.

use super::switch::Switch;
use super::values;
use crate::client_address::{ClientIpHeader, Networks, Proxies};

/// Which address a caller has, and which bucket.
#[derive(Clone, Debug, clap::Args)]
pub struct CallerFlags {
    /// Trusted proxies, which may report the client's address: addresses, CIDR blocks and unix, separated by commas
    #[arg(
        long,
        env = "RL_TRUSTED_PROXIES",
        default_value = "",
        value_name = "NETWORKS"
    )]
    pub trusted_proxies: Networks,

    /// Header in which trusted proxies report the address: X-Forwarded-For, Forwarded, X-Real-IP or CF-Connecting-IP
    #[arg(
        long,
        env = "RL_CLIENT_IP_HEADER",
        default_value = "X-Forwarded-For",
        value_name = "HEADER"
    )]
    pub client_ip_header: ClientIpHeader,

    /// Length of the IPv6 prefix whose addresses share a bucket, 1 to 128
    #[arg(
        long,
        env = "RL_IPV6_PREFIX",
        default_value = "64",
        value_name = "BITS",
        value_parser = values::ipv6_prefix
    )]
    pub ipv6_prefix: u8,

    /// Accept key, cost, force, refund, rate and burst from the query of any caller, and headers as keys
    #[arg(long, env = "RL_TRUST_CALLER", switch = "false")]
    pub trust_caller: bool,
}

impl CallerFlags {
    /// The trusted proxies, and the header in which they report the client's address.
    #[must_use]
    pub fn proxies(&self) -> Proxies {
        Proxies {
            trusted: self.trusted_proxies.clone(),
            header: self.client_ip_header,
        }
    }

    /// Whether no peer may send headers or parameters that distinguish callers.
    pub(crate) fn trusts_nobody(&self) -> bool {
        !self.trust_caller && self.trusted_proxies == Networks::default()
    }
}
