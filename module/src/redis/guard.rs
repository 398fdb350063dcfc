//! Catches panics: one that left the module would end the server.
//!
//! Everything that Redis calls is run under [`guard`]: commands (in `dispatch.rs`), load and unload, events, and INFO.
//! The module has no panic of its own; `lib.rs` denies the usual ones, so what is caught here is a defect.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::Context;

/// Panics since the load.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// The number of panics caught since the module was loaded. INFO shows it as `rl_panics`; anything but zero is a bug.
pub(crate) fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Runs `body`. Returns `None` if it panicked; the hook has logged the panic then, and it is counted.
///
/// It works only because the module is built with `panic = "unwind"`. A panic while another one unwinds, as from a
/// `Drop`, still ends the process.
pub(crate) fn guard<T>(body: impl FnOnce() -> T) -> Option<T> {
    // Nothing that `body` held when it panicked is used again: the next command reads its key again.
    let result = catch_unwind(AssertUnwindSafe(body)).ok();
    if result.is_none() {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }
    result
}

/// Logs panics in one line each. No backtrace is taken and the hook of std is not called: under Valkey's RTLD_DEEPBIND
/// that hook frees memory of another allocator and crashes the server.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(log_panic));
}

/// Writes the place and the message of a panic as one line of the server's log, with a null context: the hook does not
/// know in which call it happened.
fn log_panic(info: &PanicHookInfo<'_>) {
    Context::NULL.warn(&format!("{info} (caught; please report it)").replace('\n', " "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_pass_the_guard() {
        let before = panics();
        assert_eq!(guard(|| 1), Some(1));
        assert_eq!(guard(|| -> i32 { unreachable!("caught") }), None);
        assert_eq!(panics(), before + 1);
    }
}
