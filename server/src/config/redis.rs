//! Flags about Redis.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use clap::ValueEnum;
use tracing::warn;

use super::values;
use crate::redis_address::RedisAddress;

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

    /// A file that holds the password for Redis, where -redis holds none
    #[arg(
        long,
        env = "RL_REDIS_PASSWORD_FILE",
        default_value = "",
        value_name = "FILE"
    )]
    pub redis_password_file: String,

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

    /// Whether `-redis` stands on the command line.
    #[arg(skip)]
    pub(super) on_command_line: bool,

    /// What [`RedisFlags::read`] found.
    #[arg(skip)]
    found: OnceLock<Result<RedisAddress, String>>,
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
    /// Where Redis is, with the authorities of `-redis-ca` and the password of `-redis-password-file`. Logs a warning if
    /// the command line holds a password.
    ///
    /// # Errors
    ///
    /// What is wrong with the address, or with a file, in words that repeat no password.
    pub fn address(&self) -> Result<RedisAddress, String> {
        let address = self.read()?;
        // That of the file is part of the address as well, but is not given together with another.
        if self.on_command_line && self.redis_password_file.is_empty() && address.has_password() {
            warn!(
                "-redis holds a password, which every user of this machine sees in the list of processes: \
                 use -redis-password-file, or set RL_REDIS in the environment"
            );
        }
        Ok(address)
    }

    /// Reads the files once, since a pipe cannot be read again.
    pub(super) fn read(&self) -> Result<RedisAddress, String> {
        self.found.get_or_init(|| self.read_files()).clone()
    }

    fn read_files(&self) -> Result<RedisAddress, String> {
        let authorities = match self.redis_ca.as_str() {
            "" => None,
            file => Some(fs::read(file).map_err(|error| format!("-redis-ca {file}: {error}"))?),
        };
        let address = RedisAddress::parse(&self.address, authorities.as_deref())
            .map_err(|reason| format!("invalid value for '--redis <ADDRESS>': {reason}"))?;
        match self.redis_password_file.as_str() {
            "" => Ok(address),
            file => read_password(file)
                .and_then(|password| address.with_password(&password))
                .map_err(|reason| format!("-redis-password-file {file}: {reason}")),
        }
    }
}

/// The content of `file` without the end of its last line.
fn read_password(file: &str) -> Result<String, String> {
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    match text.strip_suffix('\n').unwrap_or(&text) {
        "" => Err("the file holds no password".to_owned()),
        password => Ok(password.to_owned()),
    }
}
