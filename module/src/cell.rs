//! What redis-cell's users find unchanged: its replies, and the values it left.

use rl_bucket::{Decision, UnixMicros};

/// The reply of CL.THROTTLE: limited 0 or 1, limit, remaining, and in whole seconds, rounded up, how long to wait (-1 if
/// allowed, or if no wait helps) and until the bucket is as new.
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

fn seconds(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX)
}

/// The length of a value that redis-cell leaves: nanoseconds of the Unix clock between 2001 and 2262.
pub(crate) const VALUE_LEN: usize = 19;

/// The instant that redis-cell left, when the bucket will be as new, up to the next microsecond. `None` if it is none.
pub(crate) fn instant(value: &[u8]) -> Option<UnixMicros> {
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
    fn a_value_of_redis_cell_is_an_instant_and_nothing_else_is() {
        assert_eq!(
            instant(b"1700000000000000001"),
            Some(UnixMicros::new(1_700_000_000_000_001))
        );
        assert_eq!(
            instant(b"1700000000000000000"),
            Some(UnixMicros::new(1_700_000_000_000_000))
        );
        for other in [
            &b"170000000000000000"[..],
            b"0700000000000000000",
            b"+700000000000000000",
            b"9223372036854775808",
            b"17000000000000000x0",
        ] {
            assert_eq!(instant(other), None);
        }
    }

    #[test]
    fn exact_seconds_gain_none() {
        let told = |allowed, retry_after_ms, reset_after_ms| {
            reply(&Decision {
                allowed,
                limit: 16,
                remaining: 15,
                retry_after_ms,
                reset_after_ms,
                delay_ms: 0,
            })
        };
        assert_eq!(told(1, Some(0), 2000), [0, 16, 15, -1, 2]);
        assert_eq!(told(0, Some(2001), 32_000), [1, 16, 15, 3, 32]);
        assert_eq!(told(0, None, 1), [1, 16, 15, -1, 1]);
    }
}
