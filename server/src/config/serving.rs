//! Flags for connections: address, number, time-outs, shutdown.

use std::thread::available_parallelism;
use std::time::Duration;

use super::values;

/// Where the server listens, and the bounds of its connections.
#[derive(Clone, Debug, clap::Args)]
pub struct ServingFlags {
    /// Address to listen on: host and port (without a host, all IPv4 and IPv6 addresses), or a unix socket
    #[arg(
        long,
        env = "RL_ADDR",
        default_value = ":8080",
        value_name = "host:port|unix:/path"
    )]
    pub addr: String,

    /// Number of threads that serve requests [default: the usable cores]
    #[arg(long, env = "RL_THREADS", value_name = "N", value_parser = values::threads)]
    pub threads: Option<usize>,

    /// Maximum number of connections; when it is reached, idle ones are closed, the longest idle first
    #[arg(
        long,
        env = "RL_MAX_CONNECTIONS",
        default_value = "10000",
        value_name = "N",
        value_parser = values::count
    )]
    pub max_connections: usize,

    /// Maximum time from the start of a connection until its first request is fully received
    #[arg(long, env = "RL_HEADER_TIMEOUT", default_value = "5s", value_name = "DURATION", value_parser = values::duration)]
    pub header_timeout: Duration,

    /// Maximum time from a response until the next request of the connection is fully received
    #[arg(long, env = "RL_IDLE_TIMEOUT", default_value = "120s", value_name = "DURATION", value_parser = values::duration)]
    pub idle_timeout: Duration,

    /// Time after SIGTERM in which the server still accepts connections and /readyz responds with 503
    #[arg(long, env = "RL_DRAIN_DELAY", default_value = "0s", value_name = "DURATION", value_parser = values::duration_or_zero)]
    pub drain_delay: Duration,

    /// Maximum time for requests in flight after -drain-delay
    #[arg(long, env = "RL_DRAIN_DEADLINE", default_value = "10s", value_name = "DURATION", value_parser = values::duration)]
    pub drain_deadline: Duration,
}

impl ServingFlags {
    /// The number of threads that serve requests: `-threads`, or the cores that affinity and cgroup leave to the process.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
            .or_else(|| Some(available_parallelism().ok()?.get()))
            .unwrap_or(1)
    }
}
