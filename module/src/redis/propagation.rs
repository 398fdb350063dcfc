//! Sends changes to replicas and the AOF, and tracks whether that is needed: true if an AOF is on, a replica is
//! attached, or one could resume from the backlog.
//!
//! Building the command to send is the most expensive step of a call, so it is skipped when nothing receives it. A
//! wrong "not needed" would lose a change, so whatever is unknown counts as needed.
//!
//! A new receiver always starts with a fork (the snapshot of a full synchronisation, diskless or not, or the first
//! rewrite of an AOF that is switched on) or with a change of role. The server sends an event for both at once, before
//! the next command. That the last receiver is gone is only checked from time to time.
//!
//! What is sent is the new contents of the key, as `SET key bytes PXAT deadline` or `DEL key`, and never the command of
//! the client. So a replica stores the same bytes as the primary whatever its clock says, and needs the module only to
//! answer commands itself.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use redis_module::raw::{self, RedisModuleCtx, RedisModuleEvent, RedisModuleString};
use rl_bucket::State;

use super::context::Context;
use super::ffi::{OK, api};
use super::guard::guard;
use crate::error::Error;

/// Whether changes are sent. It starts as true, and stays true on servers that lack one of the events.
static IS_ENABLED: AtomicBool = AtomicBool::new(true);

/// The word before a replicated deadline. It is kept, since Redis would create and free one for each change. Null
/// before [`init`] and after [`free`].
static PXAT: AtomicPtr<RedisModuleString> = AtomicPtr::new(ptr::null_mut());

/// Whether changes are sent to replicas and the AOF. INFO shows it as `rl_propagating`.
///
/// False only if the server is known to have no receiver. It changes in the events of the server, and not by anything
/// that the module does.
pub(crate) fn is_enabled() -> bool {
    IS_ENABLED.load(Ordering::Relaxed)
}

/// Enables propagation, because a receiver may come: a child process was started or has ended, or the server has become
/// a primary or a replica.
///
/// It does not check whether one really comes. If none does, [`disable_if_unused`] disables propagation again.
fn enable() {
    IS_ENABLED.store(true, Ordering::Relaxed);
}

/// Disables propagation if there is no receiver. Called by the server's timer, since nothing tells when the last one
/// has gone.
///
/// A replica that has disconnected can return and resume from the backlog, so an active backlog counts as a receiver.
/// In a cluster a receiver can come without a fork, with a slot, so there propagation stays on.
fn disable_if_unused(context: Context) {
    let fields = [c"connected_slaves", c"repl_backlog_active"];
    if is_enabled()
        && context.is_standalone_primary_without_aof()
        && context.replication_info_is_zero(&fields)
    {
        IS_ENABLED.store(false, Ordering::Relaxed);
    }
}

/// Subscribes to the events that [`is_enabled`] depends on.
///
/// The timer, which alone can disable propagation, comes last and only if the server has both events that enable it.
pub(crate) fn subscribe(context: Context) {
    let enabling = [
        raw::REDISMODULE_EVENT_FORK_CHILD,
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED,
    ];
    if enabling.into_iter().all(|id| subscribe_to(context, id)) {
        subscribe_to(context, raw::REDISMODULE_EVENT_CRON_LOOP);
    }
}

/// Subscribes to one event. `false` if the server does not have it.
///
/// A server that has the function but not the event refuses it.
fn subscribe_to(context: Context, id: u64) -> bool {
    let event = RedisModuleEvent { id, dataver: 1 };
    // SAFETY: the context is alive; the function has the type it will be called with.
    OK == unsafe {
        api!(RedisModule_SubscribeToServerEvent(
            context.0,
            event,
            Some(on_event)
        ))
    }
}

/// What Redis calls for each event, on the main thread and between commands, or inside the one that starts the fork.
/// The two events that enable propagation do so in all their forms.
unsafe extern "C" fn on_event(
    ctx: *mut RedisModuleCtx,
    event: RedisModuleEvent,
    _: u64,
    _: *mut c_void,
) {
    guard(|| match event.id {
        raw::REDISMODULE_EVENT_CRON_LOOP => disable_if_unused(Context(ctx)),
        _ => enable(),
    });
}

/// Creates what [`replicate`] needs. Call it once, at load, when nothing can fail any more: a module that is not loaded
/// would leak the string.
pub(super) fn init() {
    let (word, no_context) = (c"PXAT", ptr::null_mut());
    let (text, len) = (word.as_ptr(), word.count_bytes());
    // SAFETY: Redis copies the bytes; without a context the string belongs to the module until it is freed.
    let pxat = unsafe { api!(RedisModule_CreateString(no_context, text, len)) };
    PXAT.store(pxat, Ordering::Relaxed);
}

/// Frees what [`init`] created. Called when the module is unloaded; no call of [`replicate`] may follow.
pub(super) fn free() {
    let pxat = PXAT.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the string was created at load and is freed once: the swap leaves null for any later call.
    unsafe { api!(RedisModule_FreeString(ptr::null_mut(), pxat)) }
}

/// What a key holds after a change: the bytes of a bucket and its deadline in milliseconds since the Unix epoch, or
/// nothing.
pub(super) type Contents<'a> = Option<(&'a [u8; State::LEN], u64)>;

/// Sends the new contents of a key to replicas and the AOF, if [`is_enabled`], and counts a change for the save points.
/// Runs no code of other modules.
///
/// Call it before the key is changed: it is the only step that can fail. The server collects what is sent until the
/// command has ended, so receivers get it even if it is sent before the change, and get the changes of one call as a
/// transaction.
///
/// # Errors
///
/// [`Error::NotReplicated`] if the server has no command of the name SET or DEL. The format is a constant and cannot be
/// wrong.
pub(super) fn replicate(
    context: Context,
    name: *mut RedisModuleString,
    contents: Contents<'_>,
) -> Result<(), Error> {
    let status = if is_enabled() {
        replicate_contents(context, name, contents)
    } else {
        // This passes on the command of the client, which reads the clock: a replica that ran it could come to another
        // result. It is safe only because `is_enabled` says that nothing receives it. It is called to count a change.
        // SAFETY: the context is alive.
        unsafe { api!(RedisModule_ReplicateVerbatim(context.0)) }
    };
    if status == OK {
        Ok(())
    } else {
        Err(Error::NotReplicated)
    }
}

/// Sends the SET or the DEL. Returns the status of `Replicate`.
///
/// In the format `s` is a string of Redis, `b` a pointer and a length. The deadline is sent as an instant, so that a
/// replica deletes the key at the same moment, however late it applies the change.
fn replicate_contents(
    context: Context,
    name: *mut RedisModuleString,
    contents: Contents<'_>,
) -> c_int {
    let (ctx, set, del) = (context.0, c"SET".as_ptr(), c"DEL".as_ptr());
    let Some((bytes, deadline_ms)) = contents else {
        // SAFETY: the context and the name are alive; the format fits the one argument after it.
        return unsafe { api!(RedisModule_Replicate(ctx, del, c"s".as_ptr(), name)) };
    };
    let mut digits = itoa::Buffer::new();
    let deadline = digits.format(deadline_ms);
    // SAFETY: the context and the name are alive, and so is PXAT since the load; the format fits the arguments after
    // it.
    unsafe {
        api!(RedisModule_Replicate(
            ctx,
            set,
            c"sbsb".as_ptr(),
            name,
            bytes.as_ptr().cast::<c_char>(),
            State::LEN,
            PXAT.load(Ordering::Relaxed),
            deadline.as_ptr().cast::<c_char>(),
            deadline.len(),
        ))
    }
}
