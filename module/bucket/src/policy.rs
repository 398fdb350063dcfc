//! What a bucket may do: its rate and its capacity.

use crate::rate::Rate;
use crate::tokens::Tokens;

/// The rate and the capacity of one bucket.
///
/// The capacity is the most the bucket holds, so the most that pass at once: the burst of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    rate: Rate,
    capacity: Tokens,
}

impl Policy {
    /// A policy, or `None` if the capacity is zero.
    #[must_use]
    pub fn new(rate: Rate, capacity: Tokens) -> Option<Self> {
        (capacity > Tokens::ZERO).then_some(Self { rate, capacity })
    }

    /// How fast tokens are given back.
    #[must_use]
    pub const fn rate(self) -> Rate {
        self.rate
    }

    /// The most tokens the bucket holds: at least 1.
    #[must_use]
    pub const fn capacity(self) -> Tokens {
        self.capacity
    }

    /// The units of a full bucket.
    pub(crate) fn full(self) -> u128 {
        self.rate.units(self.capacity)
    }

    /// The binary logarithm of a time in milliseconds that is at most an eighth of what a full bucket takes to empty, and
    /// more than a 64th; 0 if that is less than a millisecond.
    ///
    /// It is that of capacity x period / (8 ms x 1000 us x count) from the logarithms of all three, and so without a division.
    pub(crate) fn deadline_step_bits(self) -> u32 {
        let in_8_ms = 8000_u64.saturating_mul(self.rate.count());
        let below = in_8_ms.ilog2().saturating_add(1);
        let full = self
            .capacity
            .get()
            .max(1)
            .ilog2()
            .saturating_add(self.rate.period_us().ilog2());
        full.saturating_sub(below)
    }
}
