//! Flags about Redis.

use std::time::Duration;

use super::values;

/// Where Redis is, and what becomes of a request when it does not answer.
#[derive(Clone, Debug, clap::Args)]
pub struct RedisFlags {
    /// Redis with the module loaded: host:port, or a redis:// or unix: URL
    #[arg(
        long = "redis",
        env = "RL_REDIS",
        default_value = "localhost:6379",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub address: String,

    /// How long a request waits for Redis, such as 50ms or 2s
    #[arg(long, env = "RL_DEADLINE", default_value = "100ms", value_parser = values::duration)]
    pub deadline: Duration,
}
