//! Names for the C API: its pointer types, its constants, and [`api`], which calls a function of it.
//!
//! Nothing here decides or replies. Functions that only some servers have are not called with `api`: they are read as
//! the `Option` that they are, at the place that can do without them.

use std::ffi::c_int;

use redis_module::raw::{self, RedisModuleCtx, RedisModuleString};

/// `REDISMODULE_OK`: what a function of the API, or of the module, returns if it succeeded.
pub(super) const OK: c_int = 0;
/// `REDISMODULE_ERR`. From `RedisModule_OnLoad` and `RedisModule_OnUnload` it means: refused.
pub(super) const ERR: c_int = 1;

/// The server during one call. It is valid until that call returns.
pub(super) type Ctx = *mut RedisModuleCtx;
/// The first of several pointers to strings; how many there are is passed beside it.
pub(super) type Argv = *mut *mut RedisModuleString;

/// The function that Redis calls for a command.
pub(crate) type EntryPoint = unsafe extern "C" fn(Ctx, Argv, c_int) -> c_int;

/// Calls a function of the API that every supported server has. The call itself is unsafe, and the block around it says
/// why it is sound.
///
/// Only the functions of the list below compile here, and the load fails if the server lacks one of them.
macro_rules! api {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        const { super::ffi::required::$function };
        match ::redis_module::raw::$function {
            Some(function) => function($($argument),*),
            None => unreachable!(concat!(stringify!($function), " was checked at load")),
        }
    }};
}
pub(super) use api;

/// Declares the required functions: a constant each, which [`api`] names, and the check at load. A function that is
/// missing in the list does not compile where it is called, and one that is never called is an unused constant.
macro_rules! required {
    ($($function:ident)*) => {
        #[expect(non_upper_case_globals, reason = "the constants are named as the functions are")]
        pub(super) mod required {
            $(pub(crate) const $function: () = ();)*
        }

        /// The name of the first required function that this server does not have. `None` if it has all of them.
        ///
        /// Call it at load, after the API was initialised and before anything else: the pointers are null until then.
        /// The newest function of the list is `SetAbsExpire`, which Redis has since 6.2.2.
        pub(crate) fn missing_function() -> Option<&'static str> {
            // SAFETY: the pointers were set when the API was initialised, and are only read.
            let functions = [$((stringify!($function), unsafe { raw::$function }.is_some())),*];
            functions.into_iter().find(|(_, exists)| !exists).map(|(name, _)| name)
        }
    };
}

required! {
    RedisModule_Call RedisModule_CallReplyArrayElement RedisModule_CallReplyLength RedisModule_CallReplyStringPtr
    RedisModule_CallReplyType RedisModule_CloseKey RedisModule_CreateCommand RedisModule_CreateString RedisModule_DeleteKey
    RedisModule_FreeCallReply RedisModule_FreeServerInfo RedisModule_FreeString RedisModule_GetContextFlags
    RedisModule_GetExpire RedisModule_GetServerInfo RedisModule_InfoAddFieldULongLong RedisModule_InfoAddSection
    RedisModule_KeyType RedisModule_Log
    RedisModule_NotifyKeyspaceEvent RedisModule_OpenKey RedisModule_RegisterInfoFunc RedisModule_Replicate
    RedisModule_ReplicateVerbatim RedisModule_ReplyWithArray RedisModule_ReplyWithError RedisModule_ReplyWithLongLong
    RedisModule_ReplyWithNull RedisModule_ReplyWithStringBuffer RedisModule_RetainString
    RedisModule_ServerInfoGetFieldUnsigned RedisModule_SetAbsExpire RedisModule_SetModuleOptions
    RedisModule_SignalModifiedKey RedisModule_StringDMA RedisModule_StringPtrLen RedisModule_StringSet
    RedisModule_SubscribeToServerEvent RedisModule_ValueLength RedisModule_WrongArity
}
