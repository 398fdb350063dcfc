//! What all boolean flags have in common.

use clap::{Arg, ArgAction};

/// Declares a boolean flag: `#[arg(long, env = "...", switch = "false")]`, with its default.
pub(super) trait Switch {
    /// `-flag` alone sets it to true. A value is accepted in the same word only, as Go does: `-flag=false`.
    fn switch(self, default: &'static str) -> Self;
}

impl Switch for Arg {
    fn switch(self, default: &'static str) -> Self {
        self.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value(default)
            .default_missing_value("true")
    }
}
