//! The answer to one request, and the order of its numbers in a reply.
//!
//! How the numbers come about is in `bucket.rs`; how a reply is sent is up to the caller.

/// The answer to one request.
///
/// Times are whole milliseconds, rounded up, so that waiting for them is always enough, and at most
/// [`Decision::LONGEST_MS`]. They count from the instant of the request. `remaining` is rounded down, so it never
/// promises a token that is not whole yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// 1 if allowed, 0 if denied; for [`Request::Partial`](crate::Request::Partial) the number of tokens granted.
    pub allowed: u64,
    /// The capacity that this decision was made with.
    pub limit: u64,
    /// Whole tokens left after this request, 0 to `limit`, rounded down. 0 as well while the bucket is in debt.
    pub remaining: u64,
    /// The shortest wait after which the same request passes if nobody else takes tokens meanwhile; for a partial
    /// request, after which at least one token is granted.
    ///
    /// `Some(0)` if allowed, `Some` of at least 1 if denied, and `None` if no wait helps, because the cost is above the
    /// capacity. `None` is not 0: a caller that retries at once on `None` retries for ever.
    pub retry_after_ms: Option<u64>,
    /// How long until the bucket is full again (token bucket) or empty again (leaky bucket). 0 if it is already.
    ///
    /// It is above capacity / rate while the bucket is in debt, and after the clock went back.
    pub reset_after_ms: u64,
    /// Leaky bucket only: how long an allowed request waits in the queue, until what was in the bucket before it has
    /// leaked. The caller does the waiting.
    ///
    /// 0 for a denied request, for a refund, and for every request of a token bucket.
    pub delay_ms: u64,
}

impl Decision {
    /// The longest time in an answer, 2^53 - 1 (285,000 years): the largest integer that JSON and Lua numbers, which
    /// are doubles, count up to exactly. Longer times are given as this one.
    pub const LONGEST_MS: u64 = 0x1F_FFFF_FFFF_FFFF;

    /// The six numbers of a command's reply, in their fixed order: allowed, limit, remaining, retry_after, reset_after,
    /// delay, with times in milliseconds and -1 for a `retry_after_ms` of `None`.
    ///
    /// RL.TOKEN replies the first five.
    #[must_use]
    #[inline]
    pub fn to_wire(&self) -> [i64; 6] {
        [
            integer(self.allowed),
            integer(self.limit),
            integer(self.remaining),
            self.retry_after_ms.map_or(-1, integer),
            integer(self.reset_after_ms),
            integer(self.delay_ms),
        ]
    }

    /// Reads a reply of five numbers (RL.TOKEN) or six (RL.LEAKY), the inverse of [`Decision::to_wire`].
    ///
    /// `None` for another length, and for a negative number other than a `retry_after` of -1. Nothing else is checked:
    /// a reply may contradict itself.
    #[must_use]
    pub fn from_wire(reply: &[i64]) -> Option<Self> {
        let (allowed, limit, remaining, retry_after, reset_after, delay) = match *reply {
            [a, b, c, d, e] => (a, b, c, d, e, 0),
            [a, b, c, d, e, f] => (a, b, c, d, e, f),
            _ => return None,
        };
        Some(Self {
            allowed: u64::try_from(allowed).ok()?,
            limit: u64::try_from(limit).ok()?,
            remaining: u64::try_from(remaining).ok()?,
            retry_after_ms: match retry_after {
                -1 => None,
                ms => Some(u64::try_from(ms).ok()?),
            },
            reset_after_ms: u64::try_from(reset_after).ok()?,
            delay_ms: u64::try_from(delay).ok()?,
        })
    }
}

/// A number of a reply. All are at most 2^53 - 1, so none saturates.
fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
