//! Flags about the limit itself.

use rl_bucket::{Policy, Rate, Tokens};

use super::values;

/// The policy of every caller.
#[derive(Clone, Debug, clap::Args)]
pub struct PolicyFlags {
    /// Rate of each caller.
    #[arg(
        long,
        env = "RL_RATE",
        default_value = "10",
        value_parser = values::rate,
        help = "Rate of each caller: <number>[/[<n>]<unit>], such as 10, 0.5/s, 600/m or 5/30s"
    )]
    pub rate: Rate,

    /// Most requests of a caller that pass at once; the capacity of /leaky
    #[arg(long, env = "RL_BURST", default_value = "20", value_parser = values::burst)]
    pub burst: Tokens,
}

impl PolicyFlags {
    /// The policy, or `None` for a burst of zero, which no flag can hold.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        Policy::new(self.rate, self.burst)
    }
}
