//! Flags about who is calling.

use clap::ArgAction;

use crate::client_address::{ClientIpHeader, Networks, Proxies};

/// Whose address counts, and which bucket is its.
#[derive(Clone, Debug, clap::Args)]
pub struct CallerFlags {
    /// Proxies whose word on the client's address is taken: addresses and CIDR blocks, with commas between them
    #[arg(
        long,
        env = "RL_TRUSTED_PROXIES",
        default_value = "",
        value_name = "NETWORKS"
    )]
    pub trusted_proxies: Networks,

    /// Where they name it: X-Forwarded-For, Forwarded, X-Real-IP or CF-Connecting-IP
    #[arg(
        long,
        env = "RL_CLIENT_IP_HEADER",
        default_value = "X-Forwarded-For",
        value_name = "HEADER"
    )]
    pub client_ip_header: ClientIpHeader,

    /// Leading bits of an IPv6 address that share a bucket
    #[arg(
        long,
        env = "RL_IPV6_PREFIX",
        default_value = "64",
        value_name = "BITS",
        value_parser = clap::value_parser!(u8).range(1..=128)
    )]
    pub ipv6_prefix: u8,

    /// Take key, cost, rate and burst from the query of whoever asks
    #[arg(
        long,
        env = "RL_TRUST_CALLER",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub trust_caller: bool,
}

impl CallerFlags {
    /// The proxies that are believed, and where they name the client.
    #[must_use]
    pub fn proxies(&self) -> Proxies {
        Proxies {
            trusted: self.trusted_proxies.clone(),
            header: self.client_ip_header,
        }
    }
}
