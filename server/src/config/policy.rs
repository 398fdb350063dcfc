//! Flags for the limits themselves.

use std::path::Path;

use rl_bucket::{Capacity, Policy, Rate};

use super::policies::{self, NamedPolicy};
use super::values;

/// The policies that apply to callers.
#[derive(Clone, Debug, clap::Args)]
pub struct PolicyFlags {
    /// Rate of each caller.
    #[arg(
        long,
        env = "RL_RATE",
        default_value = "10",
        value_parser = values::rate,
        help = "Rate of each caller: <number>[/[<n>]<unit>], such as 10, 0.5/s, 600/m or 5/30s; units are ms, s, m, h and d"
    )]
    pub rate: Rate,

    /// Burst of each caller, the maximum number of requests at once; for /leaky, the capacity
    #[arg(long, env = "RL_BURST", default_value = "20", value_name = "N", value_parser = values::burst)]
    pub burst: Capacity,

    /// TOML file of named policies, for /token/NAME and /leaky/NAME; read again at SIGHUP
    #[arg(long, env = "RL_POLICIES", default_value = "", value_name = "FILE")]
    pub policies: String,

    /// The policies of the file as it was at the start.
    #[arg(skip)]
    pub(crate) named: Vec<NamedPolicy>,
}

impl PolicyFlags {
    /// The policy of `-rate` and `-burst`.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy::new(self.rate, self.burst)
    }

    /// Reads the policies of the file. None without `-policies`.
    ///
    /// # Errors
    ///
    /// Every error of the file.
    pub(crate) fn read_named(&self) -> Result<Vec<NamedPolicy>, Vec<String>> {
        match self.policies.as_str() {
            "" => Ok(Vec::new()),
            file => policies::read(Path::new(file)),
        }
    }
}
