//! Numbers of tokens, and whole numbers as clients write them.

/// How many tokens: a capacity, a cost, a grant. At most 2^48 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tokens(u64);

impl Tokens {
    /// No token.
    pub const ZERO: Self = Self(0);
    /// What a request costs unless it says otherwise.
    pub const ONE: Self = Self(1);
    /// The largest number of tokens, 2^48 - 1: it fills six bytes of the stored state.
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
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::new(u64::try_from(whole_number(text)?).ok()?)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The whole number that `text` writes without a leading zero; `None` if it is none or passes 128 bits.
pub(crate) fn whole_number(text: &[u8]) -> Option<u128> {
    if let [b'0', _, ..] = text {
        return None;
    }
    digits(text)
}

/// The value of a run of at least one decimal digit; `None` if it is none or passes 128 bits.
pub(crate) fn digits(text: &[u8]) -> Option<u128> {
    if text.is_empty() {
        return None;
    }
    // So many digits fit 64 bits, in which it is done several times faster.
    let (head, tail) = text.split_at(text.len().min(19));
    let head = head.iter().try_fold(0, |value: u64, byte| {
        Some(value.wrapping_mul(10).wrapping_add(digit(*byte)?))
    })?;
    tail.iter().try_fold(u128::from(head), |value, byte| {
        value.checked_mul(10)?.checked_add(digit(*byte)?.into())
    })
}

fn digit(byte: u8) -> Option<u64> {
    byte.checked_sub(b'0')
        .filter(|digit| *digit <= 9)
        .map(u64::from)
}
