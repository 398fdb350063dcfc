//! The only reading of the time. Each command reads it once.

use std::time::{SystemTime, UNIX_EPOCH};

use rl_bucket::UnixMicros;

use crate::redis;

/// The wall clock of the server, in microseconds since the Unix epoch. A clock before 1970 reads as 1970.
///
/// Redis 7.2 and Valkey 8 on have a cached time, so that all commands of a script or a transaction see the same instant. It
/// is the wall clock and not a monotonic one, because the state outlives the process.
pub(crate) fn now() -> UnixMicros {
    UnixMicros::new(redis::cached_us().unwrap_or_else(system_us))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock, for servers without a cached time"
)]
fn system_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            let whole_us = since.as_secs().saturating_mul(1_000_000);
            whole_us.saturating_add(since.subsec_micros().into())
        })
}
