//! Division of wide numbers. Most quantities fit 64 bits, which a processor divides several times faster than 128.

use core::num::NonZero;

/// Quotient and rest; `None` for a division by zero.
pub(crate) fn divide(n: u128, by: u128) -> Option<(u128, u128)> {
    match (u64::try_from(n), u64::try_from(by)) {
        (Ok(n), Ok(by)) => Some((n.checked_div(by)?.into(), n.checked_rem(by)?.into())),
        _ => Some((n.checked_div(by)?, n.checked_rem(by)?)),
    }
}

/// `n / by`, rounded down.
pub(crate) fn rounded_down(n: u128, by: NonZero<u64>) -> u128 {
    match u64::try_from(n) {
        Ok(n) => u128::from(n / by),
        Err(_) => n / NonZero::<u128>::from(by),
    }
}

/// `n / by`, rounded up.
pub(crate) fn rounded_up(n: u128, by: NonZero<u64>) -> u128 {
    match u64::try_from(n) {
        Ok(n) => u128::from(n.div_ceil(by.get())),
        Err(_) => n.div_ceil(by.get().into()),
    }
}

/// Euclid's algorithm; the other number where one is zero.
pub(crate) fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while let Some((_, rest)) = divide(a, b) {
        (a, b) = (b, rest);
    }
    a
}
