//! Flags about connections.

use std::time::Duration;

use super::values;

/// Where the server listens, and what it puts up with.
#[derive(Clone, Debug, clap::Args)]
pub struct ServingFlags {
    /// Address to listen on; without a host, all addresses of both families
    #[arg(
        long,
        env = "RL_ADDR",
        default_value = ":8080",
        value_name = "[HOST]:PORT"
    )]
    pub addr: String,

    /// Most connections at a time; those that have been idle for longest make room for further ones
    #[arg(
        long,
        env = "RL_MAX_CONNECTIONS",
        default_value = "10000",
        value_name = "N",
        value_parser = values::count
    )]
    pub max_connections: usize,

    /// How long a new connection may take until its first request has come whole
    #[arg(long, env = "RL_HEADER_TIMEOUT", default_value = "5s", value_parser = values::duration)]
    pub header_timeout: Duration,

    /// How long a connection may take from an answer until its next request has come whole
    #[arg(long, env = "RL_IDLE_TIMEOUT", default_value = "120s", value_parser = values::duration)]
    pub idle_timeout: Duration,

    /// How long it serves on after SIGTERM, no longer ready, before it stops to accept connections
    #[arg(long, env = "RL_DRAIN_DELAY", default_value = "0s", value_parser = values::duration_or_zero)]
    pub drain_delay: Duration,

    /// How long what is in flight may then take to finish
    #[arg(long, env = "RL_DRAIN_DEADLINE", default_value = "10s", value_parser = values::duration)]
    pub drain_deadline: Duration,
}
