//! Flags about shaping.

use clap::ArgAction;

use super::values;

/// Whether answers wait for their turn.
#[derive(Clone, Debug, clap::Args)]
pub struct ShapingFlags {
    /// Answer an allowed request to /leaky only after its delay, so that answers leave at the rate
    #[arg(
        long,
        env = "RL_SHAPE",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub shape: bool,

    /// Most requests that wait for their turn at a time; a further one that has to wait is answered 503
    #[arg(
        long,
        env = "RL_SHAPE_WAITING",
        default_value = "1000",
        value_name = "N",
        value_parser = values::count
    )]
    pub shape_waiting: usize,
}
