//! The times of the RateLimit fields and of Retry-After. Pure.
//!
//! All are whole seconds, rounded up; the body has the milliseconds. [`super::headers`] writes the fields.

use rl_bucket::{Decision, Rate};

/// The largest integer of a structured field (RFC 9651): fifteen digits.
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// The draft's `t`: seconds within which the caller may use no more than what remains, rounded up and at least 1.
///
/// - Denied: the Retry-After; `None` for a request that can never pass.
/// - Allowed: the time in which the remaining tokens are refilled. So a caller that spreads them over `t` is never
///   denied.
/// - Allowed with none remaining: the time until the next whole token.
pub(crate) fn effective_window_s(rate: Rate, decision: &Decision) -> Option<u64> {
    match (decision.allowed, decision.remaining) {
        (0, _) => retry_after_s(decision),
        (_, 0) => {
            let (count, period_us) = (u128::from(rate.count()), u128::from(rate.period_us()));
            // In units of the bucket: what is missing until it is full, less all tokens but one.
            let missing = u128::from(decision.reset_after_ms) * 1000 * count;
            let all_but_one = u128::from(decision.limit.saturating_sub(1)) * period_us;
            let next_token = missing.saturating_sub(all_but_one);
            Some(clamp_to_field(next_token.div_ceil(count * 1_000_000)))
        }
        (_, remaining) => Some(seconds_for(rate, remaining)),
    }
}

/// The wait of a denial in seconds, rounded up and at least 1, since 0 invites clients to retry in a loop. `None` if the
/// request can never pass.
pub(crate) fn retry_after_s(decision: &Decision) -> Option<u64> {
    decision
        .retry_after_ms
        .map(|ms| clamp_to_field(u128::from(ms).div_ceil(1000)))
}

/// Seconds in which this many tokens are refilled, rounded up and at least 1.
pub(crate) fn seconds_for(rate: Rate, tokens: u64) -> u64 {
    let units = u128::from(tokens) * u128::from(rate.period_us());
    clamp_to_field(units.div_ceil(u128::from(rate.count()) * 1_000_000))
}

fn clamp_to_field(seconds: u128) -> u64 {
    u64::try_from(seconds).map_or(MAX_INTEGER, |seconds| seconds.clamp(1, MAX_INTEGER))
}
