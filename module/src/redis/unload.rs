//! Calls `LIST` commands of the server, which the check before unloading needs. What is looked for is in
//! `../unload.rs`.

use std::ffi::CStr;

use redis_module::raw::{self, RedisModuleCallReply};

use super::context::Context;
use super::ffi::api;

impl Context {
    /// Runs `command LIST`, whose reply is a string or an array of strings, and returns whether `matches` is true of
    /// one.
    ///
    /// `false` if the server does not have the command: it can be renamed.
    ///
    /// `Call` runs the command with all rights, whatever the user may run who unloads the module. It can run code of
    /// other modules, so no key may be open.
    pub(crate) fn list_has(self, command: &CStr, matches: impl Fn(&[u8]) -> bool) -> bool {
        // SAFETY: the context is alive; the format fits the one argument. The reply is read before it is freed, once.
        unsafe {
            let (format, list) = (c"c".as_ptr(), c"LIST".as_ptr());
            let reply = api!(RedisModule_Call(self.0, command.as_ptr(), format, list));
            if reply.is_null() {
                return false;
            }
            let kind = api!(RedisModule_CallReplyType(reply));
            let has = if kind as isize == raw::REDISMODULE_REPLY_ARRAY {
                let mut indices = 0..api!(RedisModule_CallReplyLength(reply));
                indices.any(|i| matches(text(api!(RedisModule_CallReplyArrayElement(reply, i)))))
            } else {
                matches(text(reply))
            };
            api!(RedisModule_FreeCallReply(reply));
            has
        }
    }
}

/// The bytes of a string reply. Empty for null and for a reply of another type.
///
/// # Safety
///
/// The reply, unless it is null, lives as long as the text is used.
unsafe fn text<'a>(reply: *mut RedisModuleCallReply) -> &'a [u8] {
    let mut len = 0;
    if reply.is_null() {
        return &[];
    }
    // SAFETY: the reply is alive; one that is no string has no bytes.
    unsafe {
        let bytes = api!(RedisModule_CallReplyStringPtr(reply, &raw mut len));
        if bytes.is_null() {
            return &[];
        }
        std::slice::from_raw_parts(bytes.cast(), len)
    }
}
