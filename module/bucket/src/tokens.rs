//! Numbers of tokens: [`Tokens`], which may be zero, and [`Capacity`], which may not.
//!
//! Both are whole and at most 2^48 - 1, checked when they are made, so that no later product or sum of them can
//! overflow. Fractions of a token exist only as units, inside a bucket.

use core::num::NonZero;

use crate::decimal::leading_number;

/// A whole number of tokens, 0 to 2^48 - 1: what a request costs, takes, forces or gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tokens(u64);

impl Tokens {
    /// No token.
    pub const ZERO: Self = Self(0);
    /// One token: the cost of a request that names none.
    pub const ONE: Self = Self(1);
    /// The largest number of tokens, 2^48 - 1. It fills the six bytes that the stored form has for it.
    pub const MAX: Self = Self(0xFFFF_FFFF_FFFF);

    /// `n` tokens, or `None` above [`Tokens::MAX`].
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        if n <= Self::MAX.0 {
            Some(Self(n))
        } else {
            None
        }
    }

    /// Reads a whole number as Redis's own commands do: digits only, so no sign, no space and no leading zero.
    ///
    /// `None` for anything else, and above [`Tokens::MAX`].
    ///
    /// ```
    /// use rl_bucket::Tokens;
    /// assert_eq!(Tokens::parse(b"20"), Tokens::new(20));
    /// assert_eq!(Tokens::parse(b"020"), None);
    /// assert_eq!(Tokens::parse(b"281474976710656"), None);
    /// ```
    #[must_use]
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match leading_number(text)? {
            (n, []) => Self::new(u64::try_from(n).ok()?),
            _ => None,
        }
    }

    /// The number, 0 to 2^48 - 1.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The size of a bucket in tokens, 1 to 2^48 - 1: the burst of a token bucket, the capacity of a leaky one.
///
/// A bucket of no capacity would deny everything for ever, so there is none: with this type a [`Policy`](crate::Policy)
/// cannot fail to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capacity(NonZero<u64>);

impl Capacity {
    /// A capacity of `n` tokens, or `None` for 0 and above [`Tokens::MAX`].
    #[must_use]
    pub const fn new(n: u64) -> Option<Self> {
        match NonZero::new(n) {
            Some(n) if n.get() <= Tokens::MAX.0 => Some(Self(n)),
            _ => None,
        }
    }

    /// Reads a capacity as [`Tokens::parse`] reads a number; 0 is `None` as well.
    ///
    /// ```
    /// use rl_bucket::Capacity;
    /// assert_eq!(Capacity::parse(b"20"), Capacity::new(20));
    /// assert_eq!(Capacity::parse(b"0"), None);
    /// ```
    #[must_use]
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::new(Tokens::parse(text)?.get())
    }

    /// The number of tokens, 1 to 2^48 - 1.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The binary logarithm, rounded down: 0 to 47.
    pub(crate) const fn ilog2(self) -> u32 {
        self.0.ilog2()
    }
}

/// A full bucket's worth of tokens.
impl From<Capacity> for Tokens {
    fn from(capacity: Capacity) -> Self {
        Self(capacity.get())
    }
}
