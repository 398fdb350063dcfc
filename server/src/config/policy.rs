//! Flags for the limit itself.

use rl_bucket::{Capacity, Policy, Rate};

use super::values;

/// The policy that applies to each caller.
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

    /// Burst of each caller, the maximum number of requests at once; for /leaky, the capacity
    #[arg(long, env = "RL_BURST", default_value = "20", value_parser = values::burst)]
    pub burst: Capacity,
}

impl PolicyFlags {
    /// The policy of these flags.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy::new(self.rate, self.burst)
    }
}
