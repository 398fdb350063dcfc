//! [`Context`]: the server as one call sees it, with the API functions that need no key.
//!
//! Replies, registration of commands, the log and the server's state are here. Keys are in `key.rs`, the arguments of a
//! call in `call.rs`, and what is sent to replicas and the AOF in `propagation.rs`.
//!
//! Functions that not all supported servers have are called only if they are there; the comment of each method says
//! what happens without them.

use std::ffi::{CStr, CString, c_int};
use std::ptr;

use redis_module::raw::{self, RedisModuleCommand, RedisModuleString};

use super::ffi::{Ctx, EntryPoint, OK, api};

/// The server, as one call of it sees it: a pointer that is valid until the call returns.
///
/// It is a copy without a lifetime, so the compiler does not notice one that is kept too long. Never store it.
#[derive(Clone, Copy)]
pub(crate) struct Context(pub(super) Ctx);

/// Where the keys of a command are, as `RedisModule_CreateCommand` counts them. The first key is argument 1.
#[derive(Clone, Copy)]
pub(crate) struct KeyPositions {
    /// The argument of the last key; counted from the end if negative, -1 being the last argument.
    pub(crate) last: c_int,
    /// The distance from one key to the next in arguments.
    pub(crate) step: c_int,
}

/// Declares safe methods for API functions that take the context and plain values, or bytes that Redis copies.
macro_rules! safe {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty)?) = $function:ident($($given:expr),*);)*) => {
        impl Context {
            $($(#[$doc])*
            pub(crate) fn $name(self $(, $argument: $type)?) {
                // SAFETY: the context is alive, and everything pointed to lives until the function returns.
                unsafe { api!($function(self.0 $(, $given)*)) };
            })*
        }
    };
}

safe! {
    /// Replies null.
    reply_nil() = RedisModule_ReplyWithNull();
    /// Replies an integer.
    reply_integer(integer: i64) = RedisModule_ReplyWithLongLong(integer);
    /// Replies a string of any bytes, which Redis copies.
    reply_text(text: &[u8]) = RedisModule_ReplyWithStringBuffer(text.as_ptr().cast(), text.len());
    /// Starts an array: the next `len` replies are its elements.
    reply_array(len: usize) = RedisModule_ReplyWithArray(len as _);
    /// Replies an error. The first word of the message is its code, such as `ERR`.
    reply_error(message: &CStr) = RedisModule_ReplyWithError(message.as_ptr());
    /// Replies that the number of arguments is wrong, in the words of the server, with the name of the command.
    reply_wrong_arity() = RedisModule_WrongArity();
    /// Sets all module options. Call it once: each call replaces the options of the one before.
    set_options(options: c_int) = RedisModule_SetModuleOptions(options);
    /// Writes a line to the server's log at level `warning`, the highest. It is passed as an argument of `%s`, so that
    /// a `%` in it has no effect.
    log_c_string(line: &CStr) = RedisModule_Log(c"warning".as_ptr(), c"%s".as_ptr(), line.as_ptr());
}

impl Context {
    /// A null context. Only [`Context::warn`] accepts it: `Log` then writes `<module>` before the line, where the name
    /// of the module would be.
    pub(super) const NULL: Self = Self(ptr::null_mut());

    /// Writes a line to the server's log at level `warning`. A line with a zero byte is written empty.
    pub(crate) fn warn(self, line: &str) {
        self.log_c_string(&CString::new(line).unwrap_or_default());
    }

    /// Starts a map of `len` pairs: the next `2 * len` replies are its names and values in turn. It is a flat array
    /// where the server (6.2) or the client's protocol (RESP2) has no maps.
    pub(crate) fn reply_map(self, len: usize) {
        // SAFETY: the context is alive.
        match unsafe { raw::RedisModule_ReplyWithMap } {
            // SAFETY: the context is alive.
            Some(reply_map) => _ = unsafe { reply_map(self.0, len as _) },
            None => self.reply_array(2 * len),
        }
    }

    /// Adds an ACL category, and returns whether it exists now: it may have been added when this module was loaded
    /// before.
    ///
    /// Servers never remove a category, not even when the module is unloaded. `AddACLCategory` then fails with EBUSY,
    /// which std calls `ResourceBusy`. `false` before Redis 7.4 and Valkey 8.1, which have no such function.
    pub(crate) fn add_category(self, name: &CStr) -> bool {
        // SAFETY: the context is alive, and Redis copies the name.
        let added =
            unsafe { raw::RedisModule_AddACLCategory.map(|add| add(self.0, name.as_ptr())) };
        let exists = || std::io::Error::last_os_error().kind() == std::io::ErrorKind::ResourceBusy;
        added.is_some_and(|status| status == OK || exists())
    }

    /// Registers a command. `false` if the name is already registered, by the server or by another module.
    ///
    /// Possible only at load. `flags` is a list of words, such as `write deny-oom fast`; an unknown word has the same
    /// result as a name that is taken. Until documentation sets the arity, Redis passes calls with any number of
    /// arguments on.
    pub(crate) fn create_command(
        self,
        name: &CStr,
        entry_point: EntryPoint,
        flags: &CStr,
        keys: Option<KeyPositions>,
    ) -> bool {
        let (first, last, step) = keys.map_or((0, 0, 0), |keys| (1, keys.last, keys.step));
        let (name, entry_point, flags) = (name.as_ptr(), Some(entry_point), flags.as_ptr());
        // SAFETY: the context is alive; Redis copies the strings, and calls the entry point as the type it has.
        OK == unsafe {
            api!(RedisModule_CreateCommand(
                self.0,
                name,
                entry_point,
                flags,
                first,
                last,
                step
            ))
        }
    }

    /// Sets the ACL categories of a registered command. Does nothing before Redis 7.2, where a module cannot.
    pub(crate) fn set_categories(self, name: &CStr, categories: &CStr) {
        // SAFETY: the command is one of this module, and Redis copies the categories.
        unsafe {
            if let Some(set) = raw::RedisModule_SetCommandACLCategories {
                set(self.command(name), categories.as_ptr());
            }
        }
    }

    /// The registered command of this name. Null before Redis 7.0, where no function takes one, so a null pointer is
    /// never used.
    pub(super) fn command(self, name: &CStr) -> *mut RedisModuleCommand {
        // SAFETY: the context is alive, and the name is only read.
        unsafe {
            raw::RedisModule_GetCommand.map_or(ptr::null_mut(), |get| get(self.0, name.as_ptr()))
        }
    }

    /// Whether the server is a primary, is no node of a cluster, and has no AOF that is on or about to be switched on.
    ///
    /// One of the conditions under which nothing receives changes; see [`propagation`](super::propagation).
    pub(super) fn is_standalone_primary_without_aof(self) -> bool {
        let (primary, others) = (
            raw::REDISMODULE_CTX_FLAGS_MASTER,
            raw::REDISMODULE_CTX_FLAGS_AOF | raw::REDISMODULE_CTX_FLAGS_CLUSTER,
        );
        // SAFETY: the context is alive.
        let flags = unsafe { api!(RedisModule_GetContextFlags(self.0)) }.cast_unsigned();
        flags & (primary | others) == primary
    }

    /// Whether INFO replication has all of these fields, each with the value 0. A field that is missing or no number
    /// gives `false`.
    ///
    /// It makes the server format that section of INFO, so it is too slow to be called for each command.
    pub(super) fn replication_info_is_zero(self, fields: &[&CStr]) -> bool {
        // SAFETY: the context is alive; the info is read before it is freed, once.
        unsafe {
            let info = api!(RedisModule_GetServerInfo(self.0, c"replication".as_ptr()));
            let is_zero = |field: &&CStr| {
                let (name, mut failed) = (field.as_ptr(), OK);
                let number = api!(RedisModule_ServerInfoGetFieldUnsigned(
                    info,
                    name,
                    &raw mut failed
                ));
                number == 0 && failed == OK
            };
            let all = fields.iter().all(is_zero);
            api!(RedisModule_FreeServerInfo(self.0, info));
            all
        }
    }

    /// Informs WATCH and client-side caching of a changed key. Runs no code of other modules.
    ///
    /// The module has switched off the implicit signal of `CloseKey`, so a change that is not followed by this call
    /// goes unnoticed.
    pub(super) fn signal_modified(self, name: *mut RedisModuleString) {
        // SAFETY: the context is alive, and so is the name, an argument of the call.
        unsafe { api!(RedisModule_SignalModifiedKey(self.0, name)) };
    }
}

/// The server's cached time in microseconds since the Unix epoch. `None` before Redis 7.2, which has no such function,
/// and for a time before the epoch.
///
/// The server sets it before each command. It stays the same inside a script or a transaction.
pub(crate) fn cached_us() -> Option<u64> {
    // SAFETY: the function takes nothing and reads one number of the server.
    let us = unsafe { raw::RedisModule_CachedMicroseconds.map(|cached_us| cached_us()) };
    us.and_then(|us| u64::try_from(us).ok())
}
