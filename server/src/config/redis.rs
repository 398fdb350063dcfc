//! Flags for Redis: its address, its credentials, and what happens without it.
//!
//! The form of addresses is in [`crate::redis_address`].

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use tracing::warn;

use super::values;
use crate::redis_address::RedisAddress;

/// Where Redis is, and how requests are answered when it does not decide.
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

    /// PEM file of the authorities that may sign rediss:// certificates, instead of those that Mozilla trusts
    #[arg(long, env = "RL_REDIS_CA", default_value = "", value_name = "FILE")]
    pub redis_ca: String,

    /// File with the password for Redis; -redis must then contain none
    #[arg(
        long,
        env = "RL_REDIS_PASSWORD_FILE",
        default_value = "",
        value_name = "FILE"
    )]
    pub redis_password_file: String,

    /// Maximum time that a request waits for Redis, such as 50ms or 2s
    #[arg(long, env = "RL_DEADLINE", default_value = "50ms", value_name = "DURATION", value_parser = values::duration)]
    pub deadline: Duration,

    /// What to do with a request that Redis does not decide
    #[arg(long, env = "RL_ON_OUTAGE", value_name = "MODE", value_enum, default_value_t = OnOutage::Deny)]
    pub on_outage: OnOutage,

    /// Maximum number of callers whose latest denial is cached for at most a second; 0 disables the cache
    #[arg(
        long,
        env = "RL_DENY_CACHE",
        default_value = "0",
        value_name = "N",
        value_parser = values::count_or_zero
    )]
    pub deny_cache: usize,

    /// Whether `-redis` is on the command line, and not in the environment.
    #[arg(skip)]
    pub(super) on_command_line: bool,

    /// The address with the content of the two files.
    #[arg(skip)]
    resolved: OnceLock<Result<RedisAddress, String>>,
}

/// How a request is answered that Redis does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOutage {
    /// Respond with 503 and the reason
    Deny,
    /// Allow every request without counting it
    Allow,
    /// Decide in this process alone, with the same policy
    Local,
}

impl RedisFlags {
    /// The address, with the authorities of `-redis-ca` and the password of `-redis-password-file`. Logs a warning if the
    /// command line holds a password.
    ///
    /// # Errors
    ///
    /// What is wrong with the address or a file. The text contains no password.
    pub fn address(&self) -> Result<RedisAddress, String> {
        let address = self.address_with_files()?;
        // The address also has the password of the file, but the two are not accepted together.
        if self.on_command_line && self.redis_password_file.is_empty() && address.has_password() {
            warn!(
                "-redis contains a password, which every user of this machine can see in the process list: \
                 use -redis-password-file, or set RL_REDIS in the environment"
            );
        }
        Ok(address)
    }

    /// The same without the warning. Reads the files at the first call only, since a pipe cannot be read twice.
    pub(super) fn address_with_files(&self) -> Result<RedisAddress, String> {
        self.resolved.get_or_init(|| self.read_files()).clone()
    }

    fn read_files(&self) -> Result<RedisAddress, String> {
        let authorities = match self.redis_ca.as_str() {
            "" => None,
            file => Some(fs::read(file).map_err(|error| {
                format!("-redis-ca {file}: {error}: name a file that can be read")
            })?),
        };
        let address = RedisAddress::parse(&self.address, authorities.as_deref())
            .map_err(|reason| format!("invalid value for '-redis ADDRESS': {reason}"))?;
        match self.redis_password_file.as_str() {
            "" => Ok(address),
            file => read_password(file)
                .and_then(|password| address.with_password(&password))
                .map_err(|reason| format!("-redis-password-file {file}: {reason}")),
        }
    }
}

/// The content of `file` without its final newline.
fn read_password(file: &str) -> Result<String, String> {
    let text = fs::read_to_string(file)
        .map_err(|error| format!("{error}: name a file of UTF-8 text that can be read"))?;
    match text.strip_suffix('\n').unwrap_or(&text) {
        "" => Err("the file holds no password: write it there".to_owned()),
        password => Ok(password.to_owned()),
    }
}
