//! [`Context`]: the server as one call sees it, with the API functions that need no key.
//!
//! Replies, registration of commands, the log and the server's state are here. Keys are in `key.rs`, the arguments of a
//! call in `call.rs`, and what is sent to replicas and the AOF in `propagation.rs`.

use std::ffi::{CStr, CString, c_int};
use std::ptr;

use redis_module::raw::{self, RedisModuleCommand, RedisModuleString};

use super::ffi::{Ctx, EntryPoint, OK, api};

/// The server, as one call of it sees it.
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
    reply_nil() = RedisModule_ReplyWithNull();
    reply_integer(integer: i64) = RedisModule_ReplyWithLongLong(integer);
    reply_text(text: &str) = RedisModule_ReplyWithStringBuffer(text.as_ptr().cast(), text.len());
    /// Starts an array: the next `len` replies are its elements.
    reply_array(len: usize) = RedisModule_ReplyWithArray(len as _);
    reply_error(message: &CStr) = RedisModule_ReplyWithError(message.as_ptr());
    reply_wrong_arity() = RedisModule_WrongArity();
    /// Sets all module options. Call it once: each call replaces the options of the one before.
    set_options(options: c_int) = RedisModule_SetModuleOptions(options);
    log_c_string(line: &CStr) = RedisModule_Log(c"warning".as_ptr(), c"%s".as_ptr(), line.as_ptr());
}

impl Context {
    /// A null context. Only [`Context::warn`] accepts it.
    pub(super) const NULL: Self = Self(ptr::null_mut());

    /// Writes a line to the server's log at level `warning`. A line with a zero byte is written empty.
    pub(crate) fn warn(self, line: &str) {
        self.log_c_string(&CString::new(line).unwrap_or_default());
    }

    /// Starts a map of `len` pairs, or a flat array where the server (6.2) or the client's protocol has no maps.
    pub(crate) fn reply_map(self, len: usize) {
        // SAFETY: the context is alive.
        match unsafe { raw::RedisModule_ReplyWithMap } {
            // SAFETY: the context is alive.
            Some(reply_map) => _ = unsafe { reply_map(self.0, len as _) },
            None => self.reply_array(2 * len),
        }
    }

    /// Adds an ACL category, and returns whether it exists now: it may have been added when this module was loaded before.
    pub(crate) fn add_category(self, name: &CStr) -> bool {
        // SAFETY: the context is alive, and Redis copies the name.
        let added =
            unsafe { raw::RedisModule_AddACLCategory.map(|add| add(self.0, name.as_ptr())) };
        let exists = || std::io::Error::last_os_error().kind() == std::io::ErrorKind::ResourceBusy;
        added.is_some_and(|status| status == OK || exists())
    }

    /// Registers a command. `false` if the name is already registered.
    pub(crate) fn create_command(
        self,
        name: &CStr,
        entry_point: EntryPoint,
        flags: &CStr,
        keys: KeyPositions,
    ) -> bool {
        let (name, entry_point, flags) = (name.as_ptr(), Some(entry_point), flags.as_ptr());
        // SAFETY: the context is alive; Redis copies the strings, and calls the entry point as the type it has.
        OK == unsafe {
            api!(RedisModule_CreateCommand(
                self.0,
                name,
                entry_point,
                flags,
                1,
                keys.last,
                keys.step
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

    /// The registered command of this name. Null before Redis 7.0, where no function takes one.
    pub(super) fn command(self, name: &CStr) -> *mut RedisModuleCommand {
        // SAFETY: the context is alive, and the name is only read.
        unsafe {
            raw::RedisModule_GetCommand.map_or(ptr::null_mut(), |get| get(self.0, name.as_ptr()))
        }
    }

    /// Whether the server is a primary, is no node of a cluster, and has no AOF that is on or about to be switched on.
    pub(super) fn is_standalone_primary_without_aof(self) -> bool {
        let (primary, others) = (
            raw::REDISMODULE_CTX_FLAGS_MASTER,
            raw::REDISMODULE_CTX_FLAGS_AOF | raw::REDISMODULE_CTX_FLAGS_CLUSTER,
        );
        // SAFETY: the context is alive.
        let flags = unsafe { api!(RedisModule_GetContextFlags(self.0)) }.cast_unsigned();
        flags & (primary | others) == primary
    }

    /// Whether INFO replication has all of these fields, each with the value 0.
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
    pub(super) fn signal_modified(self, name: *mut RedisModuleString) {
        // SAFETY: the context is alive, and so is the name, an argument of the call.
        unsafe { api!(RedisModule_SignalModifiedKey(self.0, name)) };
    }
}

/// The server's cached time in microseconds since the Unix epoch. `None` before Redis 7.2, which has no such function.
pub(crate) fn cached_us() -> Option<u64> {
    // SAFETY: the function takes nothing and reads one number of the server.
    let us = unsafe { raw::RedisModule_CachedMicroseconds.map(|cached_us| cached_us()) };
    us.and_then(|us| u64::try_from(us).ok())
}
