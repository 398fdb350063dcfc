//! A policy: how fast a bucket refills or leaks, and how much it holds.
//!
//! The stored form of a policy is part of [`State`](crate::State).

use crate::rate::Rate;
use crate::tokens::Capacity;

/// The rate and the capacity of one bucket.
///
/// The two are independent. The rate bounds the long run. The capacity bounds the short run: it is the largest cost
/// that can ever pass at once. `10/s` with a capacity of 1 allows one request each 100 ms; with a capacity of 10 it
/// also allows ten at the same instant, after a second without requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    rate: Rate,
    capacity: Capacity,
}

impl Policy {
    /// The policy of this rate and this capacity. Every pair is one.
    #[must_use]
    pub const fn new(rate: Rate, capacity: Capacity) -> Self {
        Self { rate, capacity }
    }

    /// How fast tokens are refilled, or leak.
    #[must_use]
    pub const fn rate(self) -> Rate {
        self.rate
    }

    /// The largest number of tokens that the bucket holds.
    #[must_use]
    pub const fn capacity(self) -> Capacity {
        self.capacity
    }

    /// The capacity in units, 1 to 2^96.
    pub(crate) fn capacity_units(self) -> u128 {
        self.rate.units(self.capacity.into())
    }

    /// The binary logarithm of the step in which deadlines move, in milliseconds: 0 to 81.
    ///
    /// The step is at most an eighth, and more than a 32nd, of the time that the bucket takes from full use (empty for
    /// a token bucket, full for a leaky one) to none. If an eighth of that is less than a millisecond, the step is 1
    /// ms.
    ///
    /// That is the logarithm of capacity x period / (8 x 1000 us x count), computed from the logarithms of numerator
    /// and denominator, since a division on every request would cost more than the precision is worth.
    pub(crate) fn deadline_step_bits(self) -> u32 {
        let eight_ms_units = 8000_u64.saturating_mul(self.rate.count());
        let above_denominator = eight_ms_units.ilog2().saturating_add(1);
        let below_numerator = self
            .capacity
            .ilog2()
            .saturating_add(self.rate.period_us().ilog2());
        below_numerator.saturating_sub(above_denominator)
    }
}
