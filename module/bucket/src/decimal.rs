//! Whole decimal numbers at the start of a text.
//!
//! Only digits are read here: no sign, no space, no decimal point. What a number means, and which numbers are in range,
//! is for `tokens.rs` and `rate.rs` to say.

/// Reads the whole number that `text` starts with. Returns it and the text after it.
///
/// `None` if the text starts with no digit or with a leading zero (`0` alone is a number, `01` is not), or if the
/// number does not fit 128 bits.
#[inline]
pub(crate) fn leading_number(text: &[u8]) -> Option<(u128, &[u8])> {
    match text {
        [b'0', b'0'..=b'9', ..] => None,
        _ => leading_digits(text),
    }
}

/// Reads the digits that `text` starts with, leading zeros included. Returns their value and the text after them.
///
/// `None` if there is no digit, or if the value does not fit 128 bits. The sum stays in 64 bits as long as it fits,
/// since 128-bit multiplication is several times slower and few numbers need it.
#[inline]
pub(crate) fn leading_digits(text: &[u8]) -> Option<(u128, &[u8])> {
    let (mut value, mut rest) = split_digit(text)?;
    while let Some((digit, tail)) = split_digit(rest) {
        if value > MAX_BEFORE_DIGIT {
            return leading_digits_after(value, rest);
        }
        (value, rest) = (value.wrapping_mul(10).wrapping_add(digit), tail);
    }
    Some((value.into(), rest))
}

/// The largest value that still fits 64 bits after any one more digit, so that the wrapping operations above never
/// wrap.
const MAX_BEFORE_DIGIT: u64 = (u64::MAX - 9) / 10;

/// Continues [`leading_digits`] in 128 bits: `value` is that of the digits before `rest`.
#[cold]
fn leading_digits_after(value: u64, mut rest: &[u8]) -> Option<(u128, &[u8])> {
    let mut value = u128::from(value);
    while let Some((digit, tail)) = split_digit(rest) {
        value = value.checked_mul(10)?.checked_add(digit.into())?;
        rest = tail;
    }
    Some((value, rest))
}

/// The value of the first byte and the bytes after it; `None` if the first byte is not an ASCII digit.
fn split_digit(text: &[u8]) -> Option<(u64, &[u8])> {
    let (byte, rest) = text.split_first()?;
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some((digit.into(), rest))
}
