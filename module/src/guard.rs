//! Where a panic ends: one that left the module would end the server.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use crate::load::warn;
use crate::redis::Context;
use crate::stats;

/// Runs `body`, and stops a panic there. The hook has logged it.
pub(crate) fn guard<T>(body: impl FnOnce() -> T) -> Option<T> {
    // What `body` held when it panicked is not looked at again: the next command reads its key anew.
    let done = catch_unwind(AssertUnwindSafe(body)).ok();
    if done.is_none() {
        stats::count_panic();
    }
    done
}

/// Logs a panic in one line. No backtrace is taken and std's own hook is not called: under Valkey's RTLD_DEEPBIND that
/// hook frees memory of another allocator and crashes the server.
pub(crate) fn log_panic(info: &PanicHookInfo<'_>) {
    warn(
        Context::NONE,
        &format!("{info} (caught; please report it)").replace('\n', " "),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_pass_the_guard() {
        assert_eq!(guard(|| 1), Some(1));
        assert_eq!(guard(|| -> i32 { unreachable!("caught") }), None);
    }
}
