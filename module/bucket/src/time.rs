//! Instants, which the caller always gives.

use core::num::NonZero;

use crate::quotient;

const US_PER_MS: NonZero<u64> = NonZero::<u64>::MIN.saturating_add(999);

/// An instant: microseconds since the Unix epoch.
///
/// Not a span, and not std's `Instant`: two of them cannot be added.
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

    /// Microseconds from `earlier` until this instant; 0 if `earlier` is in truth the later one.
    #[must_use]
    pub const fn us_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds in `us` microseconds, rounded up.
pub(crate) fn ms_rounded_up(us: u128) -> u128 {
    quotient::rounded_up(us, US_PER_MS)
}
