//! Reads the 44 bytes of a bucket by the documented layout, without the code under test.

/// The state of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `T` or `L`.
    pub algorithm: char,
    /// Units used: one token is `period_us` of them.
    pub used: u128,
    /// When it last changed.
    pub updated_us: u64,
    /// Tokens per period, in lowest terms.
    pub count: u64,
    /// Microseconds of a period, in lowest terms.
    pub period_us: u64,
    /// Burst or capacity.
    pub capacity: u64,
}

impl Stored {
    /// Whether these bytes are valid: known letter and version, a rate in lowest terms, a capacity, and fewer than 2^48
    /// tokens used.
    #[must_use]
    pub fn is_valid(bytes: &[u8]) -> bool {
        if bytes.len() != 44 || !matches!(bytes[0], b'T' | b'L') || bytes[1] != b'1' {
            return false;
        }
        let stored = Self::read(bytes);
        let (mut a, mut b) = (stored.count, stored.period_us);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let max = u128::from(stored.period_us) * ((1 << 48) - 1);
        a == 1
            && stored.count > 0
            && stored.period_us > 0
            && stored.capacity > 0
            && stored.used <= max
    }

    /// When the bucket is full (token) or empty (leaky) again.
    #[must_use]
    pub fn resets_at_us(&self) -> u128 {
        u128::from(self.updated_us) + self.used.div_ceil(self.count.into())
    }

    /// P10: whether the deadline is no earlier than the reset of the bucket, and later by at most an eighth of the time
    /// that a full bucket takes to empty, and a millisecond.
    #[must_use]
    pub fn may_live_until(&self, deadline_ms: i64) -> bool {
        let full_us =
            u128::from(self.capacity) * u128::from(self.period_us) / u128::from(self.count);
        let deadline_us = u128::try_from(deadline_ms).unwrap_or(0) * 1000;
        (self.resets_at_us()..=self.resets_at_us() + full_us / 8 + 1000).contains(&deadline_us)
    }

    /// Reads the bytes.
    ///
    /// # Panics
    ///
    /// If the length or the version is wrong.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len(), 44);
        assert_eq!(bytes[1], b'1');
        let number = |from: usize, to: usize| {
            bytes[from..to]
                .iter()
                .rev()
                .fold(0_u128, |number, byte| number << 8 | u128::from(*byte))
        };
        let short = |from, to| u64::try_from(number(from, to)).expect("at most eight bytes");
        Self {
            algorithm: char::from(bytes[0]),
            used: number(2, 18),
            updated_us: short(18, 26),
            count: short(26, 32),
            period_us: short(32, 38),
            capacity: short(38, 44),
        }
    }
}
