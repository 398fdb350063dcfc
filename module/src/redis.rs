//! The Redis module API behind a small safe face. All `unsafe` of the module is in this file and in `redis/`.
//!
//! What every block relies on: Redis calls us on one thread, with a context and arguments that live until we return, and
//! [`missing_function`] was asked at load, so that a function that is used here is there unless it is asked for first.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use redis_module::raw::{
    self, RedisModuleCommand, RedisModuleCommandInfo, RedisModuleCtx, RedisModuleEvent,
    RedisModuleInfoCtx, RedisModuleString,
};

use crate::docs::Command;
use crate::error::Error;
use crate::guard::{self, guard};
use crate::reply::{self, Reply};
use crate::stats::{self, Counted};
use crate::{commands, listeners, load, multi};

const OK: c_int = 0;
const ERR: c_int = 1;
const READ: c_int = raw::REDISMODULE_READ.cast_signed();
const WRITE: c_int = raw::REDISMODULE_WRITE.cast_signed();

/// The name in MODULE LIST, and the version there: 0.1.0.
const NAME: &CStr = c"rl";
const VERSION: c_int = 100;

/// The word that a replicated deadline follows, made once: Redis would make and free one for each change.
static PXAT: AtomicPtr<RedisModuleString> = AtomicPtr::new(ptr::null_mut());

/// Calls a function of the API that is there.
macro_rules! api {
    ($function:ident($($argument:expr),* $(,)?)) => {
        match raw::$function {
            Some(function) => function($($argument),*),
            None => unreachable!(concat!(stringify!($function), " is there since the module was loaded")),
        }
    };
}

/// The first of these functions that this server does not have.
macro_rules! first_missing {
    ($($function:ident)*) => {{
        // SAFETY: the pointers were filled in by the API's initialisation and are only read.
        let functions = [$((stringify!($function), unsafe { raw::$function }.is_some())),*];
        functions.into_iter().find(|(_, there)| !there).map(|(name, _)| name)
    }};
}

mod key;
mod keys;
mod unload;

pub(crate) use key::Key;
pub(crate) use keys::Keys;

/// The function without which the module cannot be, if one is missing.
pub(crate) fn missing_function() -> Option<&'static str> {
    first_missing![
        RedisModule_Call RedisModule_CallReplyArrayElement RedisModule_CallReplyLength
        RedisModule_CallReplyStringPtr RedisModule_CallReplyType RedisModule_CloseKey RedisModule_CreateCommand
        RedisModule_CreateString RedisModule_DeleteKey RedisModule_FreeCallReply RedisModule_FreeServerInfo RedisModule_FreeString RedisModule_GetContextFlags
        RedisModule_GetExpire RedisModule_GetServerInfo
        RedisModule_InfoAddFieldULongLong RedisModule_InfoAddSection RedisModule_InfoBeginDictField
        RedisModule_InfoEndDictField RedisModule_KeyType RedisModule_Log RedisModule_NotifyKeyspaceEvent
        RedisModule_OpenKey RedisModule_RegisterInfoFunc RedisModule_RetainString RedisModule_Replicate RedisModule_ReplicateVerbatim
        RedisModule_ReplyWithArray RedisModule_ReplyWithError RedisModule_ReplyWithLongLong
        RedisModule_ReplyWithNull RedisModule_ReplyWithStringBuffer RedisModule_ServerInfoGetFieldUnsigned
        RedisModule_SetAbsExpire RedisModule_SetModuleOptions RedisModule_SignalModifiedKey RedisModule_StringDMA
        RedisModule_StringPtrLen RedisModule_StringSet RedisModule_SubscribeToServerEvent
        RedisModule_ValueLength RedisModule_WrongArity
    ]
}

type Ctx = *mut RedisModuleCtx;
type Argv = *mut *mut RedisModuleString;

/// What Redis calls for a command.
pub(crate) type Entry = unsafe extern "C" fn(Ctx, Argv, c_int) -> c_int;

/// Makes the function that Redis calls for a command.
macro_rules! entry {
    ($name:ident, $counted:expr, $handler:path) => {
        pub(crate) unsafe extern "C" fn $name(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
            // SAFETY: Redis gives a live context and `argc` arguments.
            let call = unsafe { Call::new(ctx, argv, argc) };
            answer(call, $counted, $handler)
        }
    };
}

entry!(rl_token, Counted::Token, commands::token);
entry!(rl_leaky, Counted::Leaky, commands::leaky);
entry!(rl_peek, Counted::Peek, commands::peek);
entry!(rl_info, Counted::Info, commands::info);
entry!(rl_multi, Counted::Multi, multi::multi);
entry!(rl_throttle, Counted::Throttle, commands::throttle);
entry!(cl_throttle, Counted::Throttle, commands::cl_throttle);

fn answer(
    mut call: Call<'_>,
    counted: Counted,
    handler: fn(&mut Call<'_>) -> Result<Reply, Error>,
) -> c_int {
    let context = call.context;
    let answered = guard(|| {
        let outcome = handler(&mut call);
        stats::count(counted, &outcome);
        reply::send(context, &outcome);
    });
    if answered.is_none() {
        reply::send(context, &Err(Error::Internal));
    }
    OK
}

/// The server's cached time in microseconds since the epoch, where it has one: Redis 7.2 and Valkey 8 on.
pub(crate) fn cached_us() -> Option<u64> {
    // SAFETY: the function takes nothing and reads one number of the server.
    let us = unsafe { raw::RedisModule_CachedMicroseconds.map(|cached_us| cached_us()) };
    us.and_then(|us| u64::try_from(us).ok())
}

/// The server, as one call of it sees it.
#[derive(Clone, Copy)]
pub(crate) struct Context(Ctx);

/// Gives functions of the API that take the context, and plain values or what Redis copies, a safe name.
macro_rules! safe {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty)?) = $function:ident($($given:expr),*);)*) => {
        impl Context {
            $($(#[$doc])*
            pub(crate) fn $name(self $(, $argument: $type)?) {
                // SAFETY: the context is alive, and all that is pointed to lives until the function returns.
                unsafe { api!($function(self.0 $(, $given)*)) };
            })*
        }
    };
}

safe! {
    reply_nil() = RedisModule_ReplyWithNull();
    reply_integer(integer: i64) = RedisModule_ReplyWithLongLong(integer);
    reply_text(text: &str) = RedisModule_ReplyWithStringBuffer(text.as_ptr().cast(), text.len());
    /// Announces so many replies as one.
    reply_array(len: usize) = RedisModule_ReplyWithArray(len as _);
    reply_error(message: &CStr) = RedisModule_ReplyWithError(message.as_ptr());
    reply_wrong_arity() = RedisModule_WrongArity();
    /// All options go in one call, since each call replaces the ones before.
    set_options(options: c_int) = RedisModule_SetModuleOptions(options);
    register_info() = RedisModule_RegisterInfoFunc(Some(tell_info));
    /// The one function that needs no context.
    log_warning(line: &CStr) = RedisModule_Log(c"warning".as_ptr(), c"%s".as_ptr(), line.as_ptr());
}

impl Context {
    /// No call in particular: enough to log.
    pub(crate) const NONE: Self = Self(ptr::null_mut());

    /// Announces so many pairs as one: a map, or a flat array for a client or a server (6.2) that has none.
    pub(crate) fn reply_map(self, len: usize) {
        // SAFETY: the context is alive, here and in each function below.
        match unsafe { raw::RedisModule_ReplyWithMap } {
            // SAFETY: as above.
            Some(reply_map) => _ = unsafe { reply_map(self.0, len as _) },
            None => self.reply_array(2 * len),
        }
    }

    /// Whether the category is there: added now, or by this module when it was loaded before.
    pub(crate) fn add_category(self, name: &CStr) -> bool {
        // SAFETY: as above, and Redis copies the name.
        let added =
            unsafe { raw::RedisModule_AddACLCategory.map(|add| add(self.0, name.as_ptr())) };
        let exists = || std::io::Error::last_os_error().kind() == std::io::ErrorKind::ResourceBusy;
        added.is_some_and(|status| status == OK || exists())
    }

    /// Whether the name was free.
    pub(crate) fn create_command(self, command: &Command, flags: &CStr) -> bool {
        let (name, entry, flags) = (command.name.as_ptr(), Some(command.entry), flags.as_ptr());
        let (last, step) = (command.last_key, command.key_step);
        // SAFETY: as above; Redis copies the strings, and the entry point has the type it will be called with.
        OK == unsafe {
            api!(RedisModule_CreateCommand(
                self.0, name, entry, flags, 1, last, step
            ))
        }
    }

    /// Sets the categories of a command, where the server lets a module have them (7.2 on).
    pub(crate) fn set_categories(self, name: &CStr, categories: &CStr) {
        // SAFETY: as above; the command was created before.
        unsafe {
            if let Some(set) = raw::RedisModule_SetCommandACLCategories {
                set(self.command(name), categories.as_ptr());
            }
        }
    }

    /// Tells the server all of a command, where it listens (7.0 on).
    pub(crate) fn set_info(self, name: &CStr, info: &RedisModuleCommandInfo) {
        // SAFETY: as above; all that `info` points to is alive, and Redis copies it.
        unsafe {
            if let Some(set) = raw::RedisModule_SetCommandInfo {
                set(self.command(name), ptr::from_ref(info));
            }
        }
    }

    fn command(self, name: &CStr) -> *mut RedisModuleCommand {
        // SAFETY: as above; where there are the functions that take a command there is this one.
        unsafe { api!(RedisModule_GetCommand(self.0, name.as_ptr())) }
    }

    /// Asks for the events that [`listeners`] needs, and for time to look round only where there are all the others.
    pub(crate) fn subscribe_to_events(self) {
        let _all = [
            raw::REDISMODULE_EVENT_FORK_CHILD,
            raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
            raw::REDISMODULE_EVENT_CRON_LOOP,
        ]
        .into_iter()
        .all(|id| {
            let event = RedisModuleEvent { id, dataver: 1 };
            // SAFETY: as above; the function has the type it will be called with.
            OK == unsafe {
                api!(RedisModule_SubscribeToServerEvent(
                    self.0,
                    event,
                    Some(tell_event)
                ))
            }
        });
    }

    /// Whether this is a primary with no AOF, nor one about to be switched on, and no node of a cluster.
    pub(crate) fn is_primary_alone(self) -> bool {
        let (primary, others) = (
            raw::REDISMODULE_CTX_FLAGS_MASTER,
            raw::REDISMODULE_CTX_FLAGS_AOF | raw::REDISMODULE_CTX_FLAGS_CLUSTER,
        );
        // SAFETY: as above.
        let flags = unsafe { api!(RedisModule_GetContextFlags(self.0)) }.cast_unsigned();
        flags & (primary | others) == primary
    }

    /// Whether INFO replication has these fields, and all of them are 0.
    pub(crate) fn replication_info_is_zero(self, fields: &[&CStr]) -> bool {
        // SAFETY: as above; the info is read before it is freed, once.
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
}

/// What Redis calls for an event that was asked for.
unsafe extern "C" fn tell_event(ctx: Ctx, event: RedisModuleEvent, _: u64, _: *mut c_void) {
    guard(|| match event.id {
        raw::REDISMODULE_EVENT_CRON_LOOP => listeners::look_round(Context(ctx)),
        _ => listeners::expect(),
    });
}

/// What Redis calls for `INFO rl`, and for a crash report.
unsafe extern "C" fn tell_info(ctx: *mut RedisModuleInfoCtx, _for_crash_report: c_int) {
    guard(|| {
        // SAFETY: Redis gives a live context; it copies the names, here and below.
        unsafe { api!(RedisModule_InfoAddSection(ctx, ptr::null())) };
        stats::tell(
            |command, counts| {
                // SAFETY: as above.
                unsafe { api!(RedisModule_InfoBeginDictField(ctx, command.as_ptr())) };
                counts.for_each(|(outcome, count)| add_field(ctx, outcome, count));
                // SAFETY: as above.
                unsafe { api!(RedisModule_InfoEndDictField(ctx)) };
            },
            |name, number| add_field(ctx, name, number),
        );
    });
}

fn add_field(ctx: *mut RedisModuleInfoCtx, name: &CStr, value: u64) {
    // SAFETY: as above.
    unsafe { api!(RedisModule_InfoAddFieldULongLong(ctx, name.as_ptr(), value)) };
}

/// One call of a command: its words and its keys. The words live as long as the call, the keys until they are closed.
pub(crate) struct Call<'a> {
    context: Context,
    argv: Argv,
    argc: usize,
    words: PhantomData<&'a [u8]>,
}

impl<'a> Call<'a> {
    /// # Safety
    ///
    /// `ctx` is a live context, and `argv` holds `argc` strings that live for `'a`.
    unsafe fn new(ctx: Ctx, argv: Argv, argc: c_int) -> Self {
        let (context, argc) = (Context(ctx), usize::try_from(argc).unwrap_or(0));
        Self {
            context,
            argv,
            argc,
            words: PhantomData,
        }
    }

    fn argument(&self, i: usize) -> Option<*mut RedisModuleString> {
        // SAFETY: `i` is within `argv`, by the check before it and the promise made to `new`.
        (i < self.argc).then(|| unsafe { *self.argv.add(i) })
    }

    fn word(&self, i: usize) -> &'a [u8] {
        let Some(argument) = self.argument(i) else {
            return &[];
        };
        let mut len = 0;
        // SAFETY: the string lives for `'a`, is never changed by us, and has `len` bytes.
        unsafe {
            let bytes = api!(RedisModule_StringPtrLen(argument, &raw mut len));
            std::slice::from_raw_parts(bytes.cast(), len)
        }
    }

    /// All words after the command's name.
    pub(crate) fn words_after_name(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        (1..self.argc).map(|i| self.word(i))
    }

    /// The words after the key, which is argument 1.
    pub(crate) fn words_after_key(&self) -> impl Iterator<Item = &'a [u8]> {
        (2..self.argc).map(|i| self.word(i))
    }
}

/// What Redis calls to load the module.
///
/// # Safety
///
/// To be called by Redis, with a live context and `argc` module arguments.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn RedisModule_OnLoad(ctx: Ctx, argv: Argv, argc: c_int) -> c_int {
    let version = raw::REDISMODULE_APIVER_1.cast_signed();
    // SAFETY: the context is alive, and the name is a C string that Redis copies.
    if unsafe { raw::Export_RedisModule_Init(ctx, NAME.as_ptr(), VERSION, version) } != OK {
        return ERR;
    }
    std::panic::set_hook(Box::new(guard::log_panic));
    // SAFETY: Redis gives a live context and `argc` arguments.
    let call = unsafe { Call::new(ctx, argv, argc) };
    match guard(|| load::load(call.context, (0..call.argc).map(|i| call.word(i)))) {
        Some(Ok(())) => {
            let (word, no_context) = (c"PXAT", ptr::null_mut());
            let (text, len) = (word.as_ptr(), word.count_bytes());
            // SAFETY: Redis copies the bytes; without a context the string is ours until it is freed.
            let pxat = unsafe { api!(RedisModule_CreateString(no_context, text, len)) };
            PXAT.store(pxat, Ordering::Relaxed);
            OK
        }
        Some(Err(reason)) => {
            load::warn(call.context, &format!("not loaded: {reason}"));
            ERR
        }
        None => ERR,
    }
}
