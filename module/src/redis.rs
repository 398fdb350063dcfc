//! The Redis module API behind safe functions. All unsafe code of the module is in `redis/`.
//!
//! Every `unsafe` block relies on two facts. Redis calls the module on one thread, with a context and arguments that live
//! until the call returns. And `missing_function` was checked at load, so a function that [`ffi::api`] calls exists.
//!
//! What a command does, and what a reply or INFO contains, is decided above this folder: it imports nothing but `error`.

mod call;
mod context;
mod documentation;
mod ffi;
mod guard;
mod info;
mod key;
mod keys;
pub(crate) mod module;
pub(crate) mod propagation;
mod unload;

pub(crate) use self::call::{Call, Command, entry_point};
pub(crate) use self::context::{Context, KeyPositions, cached_us};
pub(crate) use self::documentation::{Argument, Documentation, Kind};
pub(crate) use self::ffi::{EntryPoint, missing_function};
pub(crate) use self::guard::{guard, panics};
pub(crate) use self::info::{InfoSection, InfoWriter, register_info};
pub(crate) use self::key::Key;
pub(crate) use self::keys::Keys;
