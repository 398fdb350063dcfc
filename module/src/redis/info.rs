//! Writes the module's section of INFO. Which fields it has is decided by the [`InfoSection`] that is registered.

use std::ffi::{CStr, c_int};
use std::ptr;

use redis_module::raw::RedisModuleInfoCtx;

use super::context::Context;
use super::ffi::api;
use super::guard::guard;

/// The contents of `INFO rl`.
pub(crate) trait InfoSection {
    /// Writes all fields. A crash report calls this as well, so it allocates nothing.
    fn write_info(writer: &InfoWriter);
}

/// Writes fields of INFO. Redis puts `rl_` before the name of each.
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

    /// Writes `name:field=value,field=value`.
    pub(crate) fn dictionary<'a>(
        &self,
        name: &CStr,
        fields: impl IntoIterator<Item = (&'a CStr, u64)>,
    ) {
        // SAFETY: the context is alive; Redis copies the name.
        unsafe { api!(RedisModule_InfoBeginDictField(self.0, name.as_ptr())) };
        for (field, value) in fields {
            self.field(field, value);
        }
        // SAFETY: the context is alive.
        unsafe { api!(RedisModule_InfoEndDictField(self.0)) };
    }
}

/// Makes `S` the contents of `INFO rl`, and of the module's part of a crash report.
pub(crate) fn register_info<S: InfoSection>(context: Context) {
    // SAFETY: the context is alive; the function has the type it will be called with.
    unsafe {
        api!(RedisModule_RegisterInfoFunc(
            context.0,
            Some(write_info::<S>)
        ));
    }
}

unsafe extern "C" fn write_info<S: InfoSection>(ctx: *mut RedisModuleInfoCtx, _crash: c_int) {
    guard(|| {
        // SAFETY: Redis gives a live context.
        unsafe { api!(RedisModule_InfoAddSection(ctx, ptr::null())) };
        S::write_info(&InfoWriter(ctx));
    });
}
