//! The only reading of the time. Each command reads it once.
//!
//! Everything that a call decides and stores counts from that one instant. A second reading could be earlier, since
//! wall clocks can be set. Bucket arithmetic takes the instant as an argument and reads no clock of its own.

use std::time::{SystemTime, UNIX_EPOCH};

use rl_bucket::UnixMicros;

use crate::redis;

/// The wall clock of the server, in microseconds since the Unix epoch. A clock before 1970 reads as 1970.
///
/// Redis 7.2 and Valkey 8 on have a cached time (`CachedMicroseconds`, set before each command), so that all commands
/// of a script or a transaction see the same instant. Older servers have no such function, and there each command of a
/// script reads the system's clock for itself.
///
/// It is the wall clock and not a monotonic one, because the state outlives the process, and a replica that becomes the
/// primary must read the stored instant in the same way. It can go back; [`rl_bucket::Bucket`] says what happens to a
/// bucket then.
pub(crate) fn now() -> UnixMicros {
    UnixMicros::new(redis::cached_us().unwrap_or_else(system_us))
}

/// The system's clock in microseconds since the Unix epoch. 0 before 1970.
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
