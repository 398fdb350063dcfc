//! The answer to one request, and its order on the wire.

/// What one request is told.
///
/// Times are in milliseconds, rounded up; waits beyond 2^53 - 1 are given as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// 1 if allowed, 0 if denied; for a partial request the tokens granted.
    pub allowed: u64,
    /// The capacity that this decision was made with.
    pub limit: u64,
    /// Whole tokens that could be had now, rounded down: 0 to `limit`.
    pub remaining: u64,
    /// The shortest wait after which the same request would pass (for a partial one: one token of it).
    ///
    /// 0 if allowed, at least 1 if denied, `None` if it can never pass because its cost is above the capacity.
    pub retry_after_ms: Option<u64>,
    /// How long until the bucket is as new.
    pub reset_after_ms: u64,
    /// Leaky bucket only: how long an allowed request waits for its turn. 0 if denied, and for a token bucket.
    pub delay_ms: u64,
}

impl Decision {
    /// The longest wait that is told, 2^53 - 1: what every JSON and Lua number holds exactly.
    pub const LONGEST_MS: u64 = 0x1F_FFFF_FFFF_FFFF;

    /// The reply of a command, in its fixed order; a token bucket's leaves out the last. -1 stands for "never".
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

    /// Reads a reply of five integers (RL.TOKEN) or six (RL.LEAKY).
    ///
    /// `None` if there are more or fewer, or if one is negative that may not be.
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

/// A number of a reply: none is above 2^53 - 1.
fn integer(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
