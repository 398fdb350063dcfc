//! [`CommandSpec`]: everything that is registered for a command, as a constant in the command's file.
//!
//! Which commands there are is in `commands.rs`, and registering them is in `load.rs`.

use std::ffi::CStr;

use crate::dispatch::Handler;
use crate::redis::{Argument, Documentation, EntryPoint, KeyPositions, Kind, entry_point};
use crate::stats::Counters;

/// A command as it is registered.
pub(crate) struct CommandSpec {
    /// In lower case, with the prefix and its dot.
    pub(crate) name: &'static CStr,
    pub(crate) entry_point: EntryPoint,
    pub(crate) counters: fn() -> &'static Counters,
    pub(crate) writes: bool,
    /// Whether it takes constant time. Redis calls such commands fast.
    pub(crate) fast: bool,
    pub(crate) keys: KeyPositions,
    pub(crate) documentation: Documentation,
}

impl CommandSpec {
    /// A fast command that writes one key, its first argument.
    pub(crate) const fn new<H: Handler>(name: &'static CStr, documentation: Documentation) -> Self {
        Self {
            name,
            entry_point: entry_point::<H>,
            counters: H::counters,
            writes: true,
            fast: true,
            keys: KeyPositions { last: 1, step: 1 },
            documentation,
        }
    }

    /// The name without its prefix, as in INFO: `token` for `rl.token`.
    pub(crate) fn field_name(&self) -> &'static CStr {
        let bytes = self.name.to_bytes_with_nul();
        let name = bytes.split(|byte| *byte == b'.').next_back();
        name.and_then(|name| CStr::from_bytes_with_nul(name).ok())
            .unwrap_or(self.name)
    }
}

pub(crate) const KEY: Argument = Argument::new(c"key", Kind::Key);
pub(crate) const RATE: Argument = Argument::new(c"rate", Kind::Text);
pub(crate) const CAPACITY: Argument = Argument::new(c"capacity", Kind::Integer);
/// `COST n`
pub(crate) const COST: Argument = Argument::new(c"cost", Kind::Integer).with_token(c"COST");
