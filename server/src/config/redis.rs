//! Flags about Redis.

use std::fs;
use std::time::Duration;

use clap::ValueEnum;

use super::values;
use crate::limiter::RedisAddress;

/// Where Redis is, and what becomes of a request when it does not answer.
#[derive(Clone, Debug, clap::Args)]
pub struct RedisFlags {
    /// Redis with the module: host:port, redis://, rediss://, unix:, redis-cluster://a,b,c or redis-sentinel://a,b,c/name
    #[arg(
        long = "redis",
        env = "RL_REDIS",
        default_value = "localhost:6379",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub address: String,

    /// Whose signature on the certificate of a rediss:// is trusted, as a PEM file, in place of those that Mozilla trusts
    #[arg(long, env = "RL_REDIS_CA", default_value = "", value_name = "FILE")]
    pub redis_ca: String,

    /// How long a request waits for Redis, such as 50ms or 2s
    #[arg(long, env = "RL_DEADLINE", default_value = "50ms", value_parser = values::duration)]
    pub deadline: Duration,

    /// What becomes of a request that Redis does not decide
    #[arg(long, env = "RL_ON_OUTAGE", value_enum, default_value_t = OnOutage::Deny)]
    pub on_outage: OnOutage,

    /// How many denials are remembered, so that Redis is not asked again before their retry time, or for a second; 0 for none
    #[arg(
        long,
        env = "RL_DENY_CACHE",
        default_value = "0",
        value_name = "CALLERS"
    )]
    pub deny_cache: usize,
}

/// Who answers in the place of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOutage {
    /// Nobody: 503, with the reason
    Deny,
    /// Nobody: every request passes, uncounted
    Allow,
    /// This process, by the same policy, as if it were alone
    Local,
}

impl RedisFlags {
    /// Where Redis is, with the authorities that `-redis-ca` names.
    ///
    /// # Errors
    ///
    /// What is wrong with the address, or with the file, in words that repeat no password.
    pub fn address(&self) -> Result<RedisAddress, String> {
        if self.redis_ca.is_empty() {
            return RedisAddress::read(&self.address, None);
        }
        let pem = fs::read(&self.redis_ca)
            .map_err(|error| format!("-redis-ca {}: {error}", self.redis_ca))?;
        RedisAddress::read(&self.address, Some(&pem))
    }
}
