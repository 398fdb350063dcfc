//! Flags for shaping.

use super::switch::Switch;
use super::values;

/// Whether answers of `/leaky` wait for their delay.
#[derive(Clone, Debug, clap::Args)]
pub struct ShapingFlags {
    /// Respond to an allowed request to /leaky only after its delay, so that responses are sent at the rate
    #[arg(long, env = "RL_SHAPE", switch = "false")]
    pub shape: bool,

    /// Maximum number of requests that wait for their delay; further ones get 503
    #[arg(
        long,
        env = "RL_SHAPE_WAITING",
        default_value = "1000",
        value_name = "N",
        value_parser = values::count
    )]
    pub shape_waiting: usize,
}
