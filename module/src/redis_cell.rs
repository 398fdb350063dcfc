//! What the module has in common with redis-cell: the form of its replies, and the values that it stored.
//!
//! The commands with redis-cell's arguments are in `commands/throttle.rs`. Without the module argument `cl-throttle` a
//! value of redis-cell is a string that is no bucket, and every command answers WRONGTYPE to it. With it, only the two
//! commands of `throttle.rs` take such a value over, and they replace it by a bucket when they charge it.

use std::sync::atomic::{AtomicBool, Ordering};

use rl_bucket::{Decision, UnixMicros};

/// Set once, at load, and only read after that.
static TAKES_OVER: AtomicBool = AtomicBool::new(false);

/// Whether a value that redis-cell stored is read as a bucket. Without the module argument `cl-throttle` it is not.
pub(crate) fn takes_over() -> bool {
    TAKES_OVER.load(Ordering::Relaxed)
}

/// Sets [`takes_over`]. Called at load.
pub(crate) fn set_takes_over(takes_over: bool) {
    TAKES_OVER.store(takes_over, Ordering::Relaxed);
}

/// The reply of CL.THROTTLE: 1 if limited or else 0, the limit, the remaining tokens, and two times in seconds, rounded
/// up: the wait before a retry (-1 if allowed, or if no wait helps), and until the bucket is full again.
///
/// The first number has the opposite meaning of that of [`Decision::to_wire`], and the times are seconds, not
/// milliseconds.
pub(crate) fn reply(decision: &Decision) -> [i64; 5] {
    let [allowed, limit, remaining, ..] = decision.to_wire();
    let retry_after_s = match (decision.allowed, decision.retry_after_ms) {
        (0, Some(ms)) => seconds(ms),
        _ => -1,
    };
    [
        1 - allowed,
        limit,
        remaining,
        retry_after_s,
        seconds(decision.reset_after_ms),
    ]
}

/// Milliseconds as seconds, rounded up, so that a caller that waits for them is not too early.
fn seconds(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX)
}

/// The length of a value that redis-cell stores: nanoseconds since the Unix epoch, for an instant between 2001 and
/// 2262.
pub(crate) const VALUE_LEN: usize = 19;

/// When the bucket is full again, from a value of redis-cell, rounded up to a microsecond. `None` for any other value.
///
/// Redis-cell stores that instant alone, the theoretical arrival time of GCRA, as decimal nanoseconds;
/// [`rl_bucket::State::resetting_at`] makes a bucket of it. A string of 19 digits that another program stored looks the
/// same, which is one reason why values are taken over only on request.
pub(crate) fn resets_at(value: &[u8]) -> Option<UnixMicros> {
    if value.len() != VALUE_LEN || !value.iter().all(u8::is_ascii_digit) || value.starts_with(b"0")
    {
        return None;
    }
    let nanoseconds: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(UnixMicros::new(nanoseconds.unsigned_abs().div_ceil(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_of_redis_cell_is_an_instant() {
        assert_eq!(
            resets_at(b"1700000000000000001"),
            Some(UnixMicros::new(1_700_000_000_000_001))
        );
        assert_eq!(
            resets_at(b"1700000000000000000"),
            Some(UnixMicros::new(1_700_000_000_000_000))
        );
        for other in [
            &b"170000000000000000"[..],
            b"0700000000000000000",
            b"+700000000000000000",
            b"9223372036854775808",
            b"17000000000000000x0",
        ] {
            assert_eq!(resets_at(other), None);
        }
    }

    #[test]
    fn whole_seconds_are_not_rounded_up() {
        let reply_of = |allowed, retry_after_ms, reset_after_ms| {
            reply(&Decision {
                allowed,
                limit: 16,
                remaining: 15,
                retry_after_ms,
                reset_after_ms,
                delay_ms: 0,
            })
        };
        assert_eq!(reply_of(1, Some(0), 2000), [0, 16, 15, -1, 2]);
        assert_eq!(reply_of(0, Some(2001), 32_000), [1, 16, 15, 3, 32]);
        assert_eq!(reply_of(0, None, 1), [1, 16, 15, -1, 1]);
    }
}
