//! Rates: their grammar, and the conversion between tokens, units and time.
//!
//! A rate is an exact ratio, never a float and never rounded. Everything that depends on a rate alone is here; what
//! depends on a capacity is in `policy.rs`, what depends on a bucket's past in `bucket.rs`. The crate's front page
//! defines units.

use core::fmt;
use core::num::NonZero;

use crate::decimal::{leading_digits, leading_number};
use crate::quotient::{
    divide, greatest_common_divisor, greatest_common_divisor_64, rounded_down, rounded_up,
};
use crate::tokens::Tokens;

/// The largest count and the largest period, 2^48 - 1: each fills six bytes of the stored state.
const MAX: u64 = Tokens::MAX.get();

const MILLISECOND_US: u128 = 1000;
/// Also the period of a rate that is written without one.
const SECOND_US: u128 = 1_000_000;
const MINUTE_US: u128 = 60_000_000;
const HOUR_US: u128 = 3_600_000_000;
const DAY_US: u128 = 86_400_000_000;

/// The names of units that a rate is written with, and their microseconds, shortest first. [`unit_us`] reads more.
const PERIODS: [(&str, u128); 5] = [
    ("ms", MILLISECOND_US),
    ("s", SECOND_US),
    ("m", MINUTE_US),
    ("h", HOUR_US),
    ("d", DAY_US),
];

/// Tokens per period: an exact ratio in lowest terms, more than zero.
///
/// Equal ratios are equal rates: `60/m` is `1/s`, and both keep a period of one second. So `600/m` does not mean that
/// 600 requests pass at the start of each minute; how many pass at once is the [`Capacity`](crate::Capacity).
///
/// The fastest rate is 2^48 - 1 tokens per microsecond, the slowest one token in 2^48 - 1 microseconds (8.9 years).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZero<u64>,
    period_us: NonZero<u64>,
}

impl Rate {
    /// `count` tokens per `period_us` microseconds, reduced to lowest terms.
    ///
    /// `None` if one of them is zero, or is above 2^48 - 1 once reduced.
    #[must_use]
    pub fn new(count: u128, period_us: u128) -> Option<Self> {
        let divisor = greatest_common_divisor(count, period_us);
        Some(Self {
            count: in_range(divide(count, divisor)?.0)?,
            period_us: in_range(divide(period_us, divisor)?.0)?,
        })
    }

    /// Reads `<number>[/[<n>]<unit>]`, such as `10`, `0.5/s`, `600/m`, `5/30s` or `1000/1d`.
    ///
    /// - `number`: decimal, more than 0, at most six decimals, no sign, no exponent, no superfluous leading zero
    /// - `n`: a whole number, at least 1; 1 if it is left out
    /// - `unit`: `ms`, `s` or `sec`, `m` or `min`, `h` or `hour`, `d` or `day` (24 hours), in lower case; without a unit
    ///   the rate is per second
    ///
    /// `None` for anything else, and for a rate that [`Rate::new`] cannot hold exactly: a rate is never approximated.
    ///
    /// ```
    /// use rl_bucket::Rate;
    /// assert_eq!(Rate::parse(b"5/30s"), Rate::new(1, 6_000_000));
    /// assert_eq!(Rate::parse(b"0.5"), Rate::new(1, 2_000_000));
    /// assert_eq!(Rate::parse(b"600/min"), Rate::parse(b"600/m"));
    /// assert_eq!(Rate::parse(b"10/30"), None);
    /// ```
    #[must_use]
    #[inline]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (number, scale, rest) = parse_number(text)?;
        let period_us = match rest {
            [] => SECOND_US,
            [b'/', period @ ..] => parse_period(period)?,
            _ => return None,
        };
        Self::new(number, period_us.checked_mul(scale)?)
    }

    /// Tokens per period, in lowest terms: 1 to 2^48 - 1. It is also the number of units refilled in a microsecond.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count.get()
    }

    /// Microseconds of a period, in lowest terms: 1 to 2^48 - 1. It is also the number of units in a token.
    #[must_use]
    pub const fn period_us(self) -> u64 {
        self.period_us.get()
    }

    /// The rate of a pair that is in lowest terms and in range; `None` for any other.
    ///
    /// The stored form has one spelling of each rate, so [`Rate::new`], which would reduce the pair, is too lenient
    /// there.
    #[inline]
    pub(crate) fn from_lowest_terms(count: u64, period_us: u64) -> Option<Self> {
        let rate = Self {
            count: in_range(count.into())?,
            period_us: in_range(period_us.into())?,
        };
        (greatest_common_divisor_64(count, period_us) == 1).then_some(rate)
    }

    /// The units of `tokens`, at most 2^96. One token is `period_us` units.
    pub(crate) fn units(self, tokens: Tokens) -> u128 {
        u128::from(tokens.get()).saturating_mul(u128::from(self.period_us()))
    }

    /// The whole tokens in `units`, rounded down.
    pub(crate) fn whole_tokens(self, units: u128) -> u128 {
        rounded_down(units, self.period_us)
    }

    /// The units refilled (leaked) in `elapsed_us` microseconds, at most 2^112. One microsecond refills `count` units.
    pub(crate) fn units_refilled(self, elapsed_us: u64) -> u128 {
        u128::from(elapsed_us).saturating_mul(u128::from(self.count()))
    }

    /// The microseconds in which `units` are refilled (leaked), rounded up: after them no unit is missing.
    pub(crate) fn us_to_refill(self, units: u128) -> u128 {
        rounded_up(units, self.count)
    }

    /// Converts `used` units of this rate to units of `new`: the same number of tokens, rounded up, against the caller.
    ///
    /// That is `used * new.period_us / self.period_us`. The product may need 144 bits, so whole tokens and the
    /// remainder are converted separately.
    pub(crate) fn convert(self, used: u128, new: Self) -> u128 {
        if self.period_us == new.period_us {
            return used;
        }
        let (old, new) = (
            NonZero::<u128>::from(self.period_us),
            u128::from(new.period_us()),
        );
        let (tokens, remainder) = (used / old, used % old);
        tokens
            .saturating_mul(new)
            .saturating_add(remainder.saturating_mul(new).div_ceil(old.get()))
    }
}

/// Writes the rate so that [`Rate::parse`] reads the same rate back.
///
/// It is written per second, minute, hour or day, the shortest of them that makes the number whole, such as `10/s`;
/// otherwise per a whole number of days, hours, minutes, seconds or milliseconds, the longest that fits, such as
/// `1/10d`. The text is not always the one that was read: `600/m` is written `10/s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, period_us) = (u128::from(self.count()), u128::from(self.period_us()));
        let per = |(_, unit_us): &&(&str, u128)| unit_us.checked_rem(period_us) == Some(0);
        if let Some((unit, unit_us)) = PERIODS.iter().skip(1).find(per) {
            let whole = unit_us
                .checked_div(period_us)
                .map_or(count, |times| count.saturating_mul(times));
            return write!(f, "{whole}/{unit}");
        }
        let times = |(_, unit_us): &&(&str, u128)| period_us.checked_rem(*unit_us) == Some(0);
        if let Some((unit, unit_us)) = PERIODS.iter().rev().find(times) {
            return write!(
                f,
                "{count}/{}{unit}",
                period_us.checked_div(*unit_us).unwrap_or(period_us)
            );
        }
        write!(f, "{}/{period_us}ms", count.saturating_mul(1000))
    }
}

/// Reads the decimal number that `text` starts with: `0.25/s` gives 25, 100 and `/s`.
///
/// The first two are a numerator and a power of ten, at most 10^6, as the denominator.
#[inline]
fn parse_number(text: &[u8]) -> Option<(u128, u128, &[u8])> {
    let (whole, rest) = leading_number(text)?;
    let [b'.', decimals @ ..] = rest else {
        return Some((whole, 1, rest));
    };
    let (fraction, rest) = leading_digits(decimals)?;
    let scale = match decimals.len().checked_sub(rest.len())? {
        1 => 10,
        2 => 100,
        3 => 1000,
        4 => 10_000,
        5 => 100_000,
        6 => 1_000_000,
        _ => return None,
    };
    let number = whole.checked_mul(scale)?.checked_add(fraction)?;
    Some((number, scale, rest))
}

/// The microseconds of `[<n>]<unit>`; `None` if it is something else or does not fit 128 bits.
fn parse_period(text: &[u8]) -> Option<u128> {
    let (n, unit) = match text {
        [b'0'..=b'9', ..] => leading_number(text)?,
        _ => (1, text),
    };
    n.checked_mul(unit_us(unit)?)
}

/// The microseconds of a unit of time. A match, which takes fewer instructions than a search through a table.
fn unit_us(name: &[u8]) -> Option<u128> {
    match name {
        b"ms" => Some(MILLISECOND_US),
        b"s" | b"sec" => Some(SECOND_US),
        b"m" | b"min" => Some(MINUTE_US),
        b"h" | b"hour" => Some(HOUR_US),
        b"d" | b"day" => Some(DAY_US),
        _ => None,
    }
}

/// A count or a period: `None` unless 1 to [`MAX`].
fn in_range(n: u128) -> Option<NonZero<u64>> {
    NonZero::new(u64::try_from(n).ok()?).filter(|n| n.get() <= MAX)
}
