//! The only reading of the time, made once per command.

use std::time::{SystemTime, UNIX_EPOCH};

use rl_bucket::UnixMicros;

use crate::redis;

/// The server's wall clock.
///
/// Where the server has a cached time (Redis 7.2, Valkey 8) it is that one, so that a whole script or transaction sees one
/// instant. The wall clock and not a monotonic one, because the state outlives the process. A clock before 1970 is 1970.
pub(crate) fn now() -> UnixMicros {
    UnixMicros::new(redis::cached_us().unwrap_or_else(system_us))
}

fn system_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            let whole_us = since.as_secs().saturating_mul(1_000_000);
            whole_us.saturating_add(since.subsec_micros().into())
        })
}
