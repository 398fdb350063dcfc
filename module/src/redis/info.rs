//! Writes the module's section of INFO. Which fields it has is decided by the [`InfoSection`] that is registered.
//!
//! Redis calls it for `INFO rl`, `INFO modules` and `INFO everything`, and for a crash report, where the server is in
//! an unknown state.

use std::ffi::{CStr, c_int};
use std::ptr;

use redis_module::raw::RedisModuleInfoCtx;

use super::context::Context;
use super::ffi::api;
use super::guard::guard;

/// The contents of `INFO rl`. Like a command, it is a type without values: Redis passes no data of the module's to the
/// function. The module has one, in `load.rs`.
pub(crate) trait InfoSection {
    /// Writes all fields. A crash report calls this as well, so it allocates nothing.
    fn write_info(writer: &InfoWriter);
}

/// Writes fields of INFO. Redis puts `rl_` before the name of each. It ignores all of them if the client requested
/// other sections only.
pub(crate) struct InfoWriter(*mut RedisModuleInfoCtx);

impl InfoWriter {
    /// Writes `name:value`.
    pub(crate) fn field(&self, name: &CStr, value: u64) {
        // SAFETY: the context is alive; Redis copies the name.
        unsafe {
            api!(RedisModule_InfoAddFieldULongLong(
                self.0,
                name.as_ptr(),
                value
            ));
        }
    }
}

/// Makes `S` the contents of `INFO rl`, and of the module's part of a crash report. A module has one such function: a
/// second call replaces the first.
pub(crate) fn register_info<S: InfoSection>(context: Context) {
    // SAFETY: the context is alive; the function has the type it will be called with.
    unsafe {
        api!(RedisModule_RegisterInfoFunc(
            context.0,
            Some(write_info::<S>)
        ));
    }
}

/// What Redis calls. A null name stands for the section that is named as the module is, `rl`.
unsafe extern "C" fn write_info<S: InfoSection>(ctx: *mut RedisModuleInfoCtx, _crash: c_int) {
    guard(|| {
        // SAFETY: Redis gives a live context.
        unsafe { api!(RedisModule_InfoAddSection(ctx, ptr::null())) };
        S::write_info(&InfoWriter(ctx));
    });
}
