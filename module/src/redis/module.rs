//! Loading and unloading as Redis does them: the two symbols of the shared library, and what both need of the C API.
//!
//! What the module registers is in `load.rs`; when it refuses to be unloaded is in `unload.rs`. Both are passed in as
//! functions, because this folder imports nothing above it.

use std::ffi::{CStr, c_int};

use redis_module::raw;

use super::call::Call;
use super::context::Context;
use super::ffi::{Argv, Ctx, ERR, OK};
use super::guard::{guard, log_panics};
use super::propagation;

/// The name in MODULE LIST, and the prefix of the fields in INFO. Redis refuses to load a second module of this name.
const NAME: &CStr = c"rl";
/// The version in MODULE LIST, from Cargo.toml: 10203 stands for 1.2.3, and 100 for 0.1.0.
const VERSION: c_int = number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
    + number(env!("CARGO_PKG_VERSION_PATCH"));

/// The number of a part of the version, which is decimal digits. The build fails if it has more than two, because two
/// versions could then have one number.
const fn number(part: &str) -> c_int {
    let (mut number, mut rest) = (0, part.as_bytes());
    while let [digit, tail @ ..] = rest {
        number = number * 10 + (*digit - b'0') as c_int;
        rest = tail;
    }
    assert!(number < 100, "a part of the version is above 99");
    number
}

/// Defines the symbols that Redis looks for in a module. `$load` registers everything or gives the reason why not;
/// `$may_unload` gives the reason why the module must stay.
macro_rules! module {
    ($load:path, $may_unload:path) => {
        #[expect(
            unsafe_code,
            reason = "Redis finds the two by name; their bodies are in redis/module.rs"
        )]
        mod symbols {
            use std::ffi::c_int;

            use redis_module::raw::{RedisModuleCtx, RedisModuleString};

            #[unsafe(no_mangle)]
            unsafe extern "C" fn RedisModule_OnLoad(
                ctx: *mut RedisModuleCtx,
                argv: *mut *mut RedisModuleString,
                argc: c_int,
            ) -> c_int {
                // SAFETY: Redis gives a live context and `argc` module arguments.
                unsafe { $crate::redis::module::on_load(ctx, argv, argc, $load) }
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn RedisModule_OnUnload(ctx: *mut RedisModuleCtx) -> c_int {
                // SAFETY: Redis gives a live context, and calls this while no command of the module runs.
                unsafe { $crate::redis::module::on_unload(ctx, $may_unload) }
            }
        }
    };
}
pub(crate) use module;

/// Loads the module. `ERR` makes Redis refuse it and take back what was registered.
///
/// `Export_RedisModule_Init` comes first: it looks up the functions of the API, none of which can be called before, not
/// even to log. It fails if a module of this name is loaded. A panic in `load` refuses the module as well.
///
/// # Safety
///
/// `ctx` is a live context, and `argv` holds `argc` live strings.
pub(crate) unsafe fn on_load(
    ctx: Ctx,
    argv: Argv,
    argc: c_int,
    load: fn(Context, &[&[u8]]) -> Result<(), String>,
) -> c_int {
    let version = raw::REDISMODULE_APIVER_1.cast_signed();
    // SAFETY: the context is alive, and the name is a C string that Redis copies.
    if unsafe { raw::Export_RedisModule_Init(ctx, NAME.as_ptr(), VERSION, version) } != OK {
        return ERR;
    }
    log_panics();
    // SAFETY: by this function's contract.
    let call = unsafe { Call::new(ctx, argv, argc) };
    match guard(|| load(call.context(), &call.words().collect::<Vec<_>>())) {
        Some(Ok(())) => {
            propagation::init();
            OK
        }
        Some(Err(reason)) => {
            call.context().warn(&format!("not loaded: {reason}"));
            ERR
        }
        None => ERR,
    }
}

/// Unloads the module. `ERR` makes Redis keep it.
///
/// Buckets stay in the keyspace. If `may_unload` panics, the module stays: nothing shows that unloading is safe.
///
/// # Safety
///
/// `ctx` is a live context, and no command of the module runs.
pub(crate) unsafe fn on_unload(ctx: Ctx, may_unload: fn(Context) -> Result<(), String>) -> c_int {
    let context = Context(ctx);
    match guard(|| may_unload(context)) {
        Some(Ok(())) => {
            propagation::free();
            OK
        }
        Some(Err(reason)) => {
            context.warn(&format!("not unloaded: {reason}"));
            ERR
        }
        None => ERR,
    }
}
