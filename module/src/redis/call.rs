//! [`Call`]: one call of a command with its arguments, and the functions through which Redis calls commands.
//!
//! Keys are opened in `key.rs` and `keys.rs`. What happens between the call and its reply is in `dispatch.rs`.
//! Everything that a call lends out ends with it: Redis frees the arguments and the context when the entry point
//! returns.

use std::ffi::c_int;
use std::marker::PhantomData;

use redis_module::raw::RedisModuleString;

use super::context::Context;
use super::ffi::{Argv, Ctx, OK, api};

/// A command as Redis calls it. The type stands for the command: Redis hands an entry point no data of its own.
pub(crate) trait Command {
    /// Carries the command out and sends exactly one reply. Must not panic.
    ///
    /// A panic that left it would pass through C code and end the server, so the one implementation, in `dispatch.rs`,
    /// runs everything under [`guard`](super::guard::guard).
    fn call(call: Call<'_>);
}

/// The entry point of the command `C`. Each command has its own, since Redis passes no data of the module's to it.
///
/// It always returns `OK`: Redis ignores the result of a command, whose errors are replies.
///
/// # Safety
///
/// To be called by Redis, with a live context and `argc` arguments.
pub(crate) unsafe extern "C" fn entry_point<C: Command>(
    ctx: Ctx,
    argv: Argv,
    argc: c_int,
) -> c_int {
    // SAFETY: Redis gives a live context and `argc` arguments.
    C::call(unsafe { Call::new(ctx, argv, argc) });
    OK
}

/// One call of a command: its context and its arguments, which live as long as the call.
pub(crate) struct Call<'a> {
    context: Context,
    /// The first of `argc` pointers to strings. Argument 0 is the name of the command as the client spelt it, except at
    /// load, where there is no name.
    argv: Argv,
    /// The number of arguments, with the name.
    argc: usize,
    /// Ties the words that are lent out to the call.
    arguments: PhantomData<&'a [u8]>,
}

impl<'a> Call<'a> {
    /// # Safety
    ///
    /// `ctx` is a live context, and `argv` holds `argc` strings that live for `'a`.
    pub(super) unsafe fn new(ctx: Ctx, argv: Argv, argc: c_int) -> Self {
        let (context, argc) = (Context(ctx), usize::try_from(argc).unwrap_or(0));
        Self {
            context,
            argv,
            argc,
            arguments: PhantomData,
        }
    }

    /// The server, as this call sees it. It is a copy, and must not be kept beyond the call.
    pub(crate) fn context(&self) -> Context {
        self.context
    }

    /// Argument `i`; argument 0 is the name of the command. `None` if there are fewer.
    pub(super) fn argument(&self, i: usize) -> Option<*mut RedisModuleString> {
        // SAFETY: `i` is below `argc`, and `argv` holds as many strings, by the contract of `new`.
        (i < self.argc).then(|| unsafe { *self.argv.add(i) })
    }

    /// The bytes of argument `i`, empty if there are fewer. Arguments may contain any byte, zero included, and are not
    /// copied: `StringPtrLen` lends the bytes of the string itself.
    pub(crate) fn word(&self, i: usize) -> &'a [u8] {
        let Some(argument) = self.argument(i) else {
            return &[];
        };
        let mut len = 0;
        // SAFETY: the string lives for `'a`, the module never changes it, and it has `len` bytes.
        unsafe {
            let bytes = api!(RedisModule_StringPtrLen(argument, &raw mut len));
            std::slice::from_raw_parts(bytes.cast(), len)
        }
    }

    /// All arguments. At load these are the arguments of the module, without a name before them.
    pub(super) fn words(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.argc).map(|i| self.word(i))
    }

    /// All arguments after the command's name. Their number is known, which RL.MULTI needs to count its buckets.
    pub(crate) fn words_after_name(&self) -> impl ExactSizeIterator<Item = &'a [u8]> {
        (1..self.argc).map(|i| self.word(i))
    }

    /// The arguments after the key, which is argument 1.
    pub(crate) fn words_after_key(&self) -> impl Iterator<Item = &'a [u8]> {
        (2..self.argc).map(|i| self.word(i))
    }
}
