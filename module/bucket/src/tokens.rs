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
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match leading_number(text)? {
            (n, []) => Self::new(u64::try_from(n).ok()?),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The whole number that `text` begins with, and what follows it.
///
/// `None` if it begins with no digit or with a leading zero, or if the number passes 128 bits.
#[inline]
pub(crate) fn leading_number(text: &[u8]) -> Option<(u128, &[u8])> {
    match text {
        [b'0', b'0'..=b'9', ..] => None,
        _ => leading_digits(text),
    }
}

/// The value of the decimal digits that `text` begins with, and what follows them.
///
/// `None` if there is no digit, or if the value passes 128 bits. As long as it fits 64 bits it is summed up in them, which
/// is several times faster.
#[inline]
pub(crate) fn leading_digits(text: &[u8]) -> Option<(u128, &[u8])> {
    let (mut value, mut rest) = split_digit(text)?;
    while let Some((digit, tail)) = split_digit(rest) {
        if value > ROOM_FOR_A_DIGIT {
            return leading_digits_after(value, rest);
        }
        (value, rest) = (value.wrapping_mul(10).wrapping_add(digit), tail);
    }
    Some((value.into(), rest))
}

/// The largest value that fits 64 bits with any digit after it.
const ROOM_FOR_A_DIGIT: u64 = (u64::MAX - 9) / 10;

/// Goes on in 128 bits from the value of the digits so far.
#[cold]
fn leading_digits_after(value: u64, mut rest: &[u8]) -> Option<(u128, &[u8])> {
    let mut value = u128::from(value);
    while let Some((digit, tail)) = split_digit(rest) {
        value = value.checked_mul(10)?.checked_add(digit.into())?;
        rest = tail;
    }
    Some((value, rest))
}

fn split_digit(text: &[u8]) -> Option<(u64, &[u8])> {
    let (byte, rest) = text.split_first()?;
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some((digit.into(), rest))
}
