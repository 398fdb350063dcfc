//! Division and the greatest common divisor of 128-bit numbers.
//!
//! Most quantities fit 64 bits, which a processor divides several times faster than 128, so each function tries 64 bits
//! first. The result is the same either way.

use core::num::NonZero;

/// Quotient, rounded down, and remainder; `None` for a division by zero.
pub(crate) fn divide(n: u128, by: u128) -> Option<(u128, u128)> {
    match (u64::try_from(n), u64::try_from(by)) {
        (Ok(n), Ok(by)) => Some((n.checked_div(by)?.into(), n.checked_rem(by)?.into())),
        _ => Some((n.checked_div(by)?, n.checked_rem(by)?)),
    }
}

/// `n / by`, rounded down.
#[inline]
pub(crate) fn rounded_down(n: u128, by: NonZero<u64>) -> u128 {
    match u64::try_from(n) {
        Ok(n) => u128::from(n / by),
        Err(_) => n / NonZero::<u128>::from(by),
    }
}

/// `n / by`, rounded up.
#[inline]
pub(crate) fn rounded_up(n: u128, by: NonZero<u64>) -> u128 {
    match u64::try_from(n) {
        Ok(n) => u128::from(n.div_ceil(by.get())),
        Err(_) => n.div_ceil(by.get().into()),
    }
}

/// The greatest common divisor by Euclid's algorithm. If one number is zero, it is the other; of two zeros, zero.
pub(crate) fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    loop {
        if let (Ok(a), Ok(b)) = (u64::try_from(a), u64::try_from(b)) {
            return greatest_common_divisor_64(a, b).into();
        }
        let Some((_, remainder)) = divide(a, b) else {
            return a;
        };
        (a, b) = (b, remainder);
    }
}

/// [`greatest_common_divisor`] of two 64-bit numbers.
#[inline]
pub(crate) fn greatest_common_divisor_64(mut a: u64, mut b: u64) -> u64 {
    while let Some(remainder) = a.checked_rem(b) {
        (a, b) = (b, remainder);
    }
    a
}
