//! The Redis module API behind safe functions. All unsafe code of the module is in `redis/`.
//!
//! Every `unsafe` block relies on two facts. Redis calls the module on one thread, with a context and arguments that
//! live until the call returns. And `missing_function` was checked at load, so a function that [`ffi::api`] calls
//! exists.
//!
//! - `call` and `context` are one call: its arguments, and the server as it sees it. `key` and `keys` open the keys
//!   that it names.
//! - `propagation` sends changes to replicas and the AOF.
//! - `module` has the symbols that Redis loads, `info` and `documentation` what the server shows of the module.
//! - `guard` catches panics, `ffi` names the functions of the API, `unload` runs the two commands that the check before
//!   unloading needs.
//!
//! What a command does, and what a reply or INFO contains, is decided above this folder: it imports nothing but
//! `error`.
//!
//! # What the code relies on
//!
//! The names are those of the API without `RedisModule_`. Which of them run code of other modules is in `key`.
//!
//! | function | fact |
//! |---|---|
//! | `OpenKey` | Opened for reading, a missing key is null. An expired key is missing: a primary deletes it. |
//! | `KeyType`, `ValueLength`, `CloseKey` | They accept null. `GetExpire` does not in every version. |
//! | `StringDMA` | Opened for writing, the bytes belong to this value alone and may be changed in place. |
//! | `StringSet` | It replaces the value and removes the deadline of the key. |
//! | `SetAbsExpire` | It changes the deadline alone. On a missing key it fails and does nothing. |
//! | `CloseKey` | With the option of `load.rs` it does not signal the key as modified. |
//! | `Replicate` | It fails only for an unknown command or format. What it sends leaves when the command has ended. |
//! | `ReplicateVerbatim` | It never fails, and counts one change for the save points, as `Replicate` does. |
//! | `SubscribeToServerEvent` | It fails for an event that the server does not have. |
//! | `CreateCommand`, `SetCommandInfo` | They copy everything that they are given. |

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
