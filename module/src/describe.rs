//! [`CommandSpec`]: everything that is registered for a command, as a constant in the command's file.
//!
//! Which commands there are is in `commands.rs`, and registering them is in `load.rs`. The arguments that several
//! commands share, such as [`KEY`], are here too; they are documentation only, and the words of a call are read by
//! `args.rs`.

use std::ffi::CStr;

use crate::dispatch::Handler;
use crate::redis::{Argument, Documentation, EntryPoint, KeyPositions, Kind, entry_point};
use crate::stats::Counters;

/// A command as it is registered.
///
/// Of its fields Redis enforces `writes`, `keys` and the arity in `documentation`: by them it routes the call in a
/// cluster, checks ACL rules for keys, and refuses the call on a replica. So a wrong value is a defect, and not only a
/// wrong text.
pub(crate) struct CommandSpec {
    /// In lower case, with the prefix and its dot: `rl.token`.
    pub(crate) name: &'static CStr,
    /// The function that Redis calls: [`entry_point`] of the command's [`Handler`].
    pub(crate) entry_point: EntryPoint,
    /// [`Handler::counters`] of the same handler. INFO reads them without knowing its type.
    pub(crate) counters: fn() -> &'static Counters,
    /// Whether it may change a key. Redis refuses such a command on a replica, above `maxmemory` if nothing can be
    /// evicted, and inside scripts that are declared as read-only.
    pub(crate) writes: bool,
    /// Whether it takes constant time. Redis calls such commands fast. A command that does not write counts as fast
    /// whatever this is.
    pub(crate) fast: bool,
    /// Whether it is for operators only: it shows more than the keys that a user may access.
    pub(crate) admin: bool,
    /// Which of its arguments are keys. `None` if it takes none.
    pub(crate) keys: Option<KeyPositions>,
    /// What COMMAND DOCS shows, and the number of words that Redis checks.
    pub(crate) documentation: Documentation,
}

impl CommandSpec {
    /// A fast command that writes one key, its first argument. Any other command overrides fields of this value.
    pub(crate) const fn new<H: Handler>(name: &'static CStr, documentation: Documentation) -> Self {
        Self {
            name,
            entry_point: entry_point::<H>,
            counters: H::counters,
            writes: true,
            fast: true,
            admin: false,
            keys: Some(KeyPositions { last: 1, step: 1 }),
            documentation,
        }
    }

    /// The name without its prefix, as in INFO: `token` for `rl.token`. The whole name if it has no dot.
    pub(crate) fn field_name(&self) -> &'static CStr {
        let bytes = self.name.to_bytes_with_nul();
        let name = bytes.split(|byte| *byte == b'.').next_back();
        name.and_then(|name| CStr::from_bytes_with_nul(name).ok())
            .unwrap_or(self.name)
    }
}

/// The name of a key.
pub(crate) const KEY: Argument = Argument::new(c"key", Kind::Key);
/// A rate, such as `10/s`; `args.rs` reads it with [`rl_bucket::Rate::parse`].
pub(crate) const RATE: Argument = Argument::new(c"rate", Kind::Text);
/// A capacity in tokens, 1 to 2^48 - 1. RL.TOKEN has its own argument for it, which is called `burst`.
pub(crate) const CAPACITY: Argument = Argument::new(c"capacity", Kind::Integer);
/// `COST n`, the number of tokens to take. Whether it can be left out is up to the command.
pub(crate) const COST: Argument = Argument::new(c"cost", Kind::Integer).with_token(c"COST");
