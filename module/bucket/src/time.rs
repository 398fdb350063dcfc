//! Instants and the one conversion of time, microseconds to milliseconds.
//!
//! No clock is read here or anywhere else in the crate: the caller passes every instant.

use core::num::NonZero;

use crate::quotient;

/// 1000, without the panic branch that `NonZero::new(1000).unwrap()` would have.
const US_PER_MS: NonZero<u64> = NonZero::<u64>::MIN.saturating_add(999);

/// An instant: whole microseconds since the Unix epoch, 0 to 2^64 - 1 (584,000 years).
///
/// It is neither a duration nor std's `Instant`: two of them cannot be added, and it is the same on every machine and
/// after a restart. It may go back, as wall clocks do; [`Bucket`](crate::Bucket) says what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(u64);

impl UnixMicros {
    /// The instant `us` microseconds after the epoch.
    #[must_use]
    pub const fn new(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Microseconds from `earlier` to this instant; 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn us_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds in `us` microseconds, rounded up: a caller that waits for them never comes too early.
pub(crate) fn ms_rounded_up(us: u128) -> u128 {
    quotient::rounded_up(us, US_PER_MS)
}
