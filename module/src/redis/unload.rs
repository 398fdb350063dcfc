//! Unloading, which servers do without a look at who still points to our commands.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::Ordering;

use redis_module::raw::{self, RedisModuleCallReply};

use super::{Context, Ctx, ERR, OK, PXAT};
use crate::guard::guard;
use crate::load;

/// What Redis calls before it forgets the module. `ERR` makes it keep the module.
///
/// # Safety
///
/// To be called by Redis, with a live context, while no command of ours runs.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn RedisModule_OnUnload(ctx: Ctx) -> c_int {
    let context = Context(ctx);
    if let Some(Err(reason)) = guard(|| load::may_unload(context)) {
        load::warn(context, &format!("not unloaded: {reason}"));
        return ERR;
    }
    let pxat = PXAT.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the string was made when the module was loaded, and is freed once: nothing finds it there any more.
    unsafe { api!(RedisModule_FreeString(ptr::null_mut(), pxat)) }
    OK
}

impl Context {
    /// Runs `command LIST`, whose reply is a text or an array of texts, and asks whether one of them is such. No if the
    /// server has no such command: it can be renamed.
    pub(crate) fn list_has(self, command: &CStr, is_such: impl Fn(&[u8]) -> bool) -> bool {
        // SAFETY: the context is alive; the format is that of the one argument. The reply is read before it is freed, once.
        unsafe {
            let (format, list) = (c"c".as_ptr(), c"LIST".as_ptr());
            let reply = api!(RedisModule_Call(self.0, command.as_ptr(), format, list));
            if reply.is_null() {
                return false;
            }
            let kind = api!(RedisModule_CallReplyType(reply));
            let has = if kind as isize == raw::REDISMODULE_REPLY_ARRAY {
                let mut places = 0..api!(RedisModule_CallReplyLength(reply));
                places.any(|i| is_such(text(api!(RedisModule_CallReplyArrayElement(reply, i)))))
            } else {
                is_such(text(reply))
            };
            api!(RedisModule_FreeCallReply(reply));
            has
        }
    }
}

/// # Safety
///
/// The reply, if it is not null, lives as long as the text is used.
unsafe fn text<'a>(reply: *mut RedisModuleCallReply) -> &'a [u8] {
    let mut len = 0;
    if reply.is_null() {
        return &[];
    }
    // SAFETY: the reply is alive; one that is no text has no bytes.
    unsafe {
        let bytes = api!(RedisModule_CallReplyStringPtr(reply, &raw mut len));
        if bytes.is_null() {
            return &[];
        }
        std::slice::from_raw_parts(bytes.cast(), len)
    }
}
