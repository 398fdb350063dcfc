//! Instants, which the caller always gives.

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
    us.div_ceil(1000)
}
