//! Rates, their grammar, and the exchange between tokens, units and time.

use core::fmt;
use core::num::NonZero;

use crate::quotient::{
    divide, greatest_common_divisor, greatest_common_divisor_64, rounded_down, rounded_up,
};
use crate::tokens::{Tokens, leading_digits, leading_number};

/// The largest count and the largest period, 2^48 - 1: each fills six bytes of the stored state.
const MAX: u64 = Tokens::MAX.get();

/// What a rate without a unit is per.
const SECOND_US: u128 = 1_000_000;

/// The units of a period and their microseconds.
const PERIODS: [(&str, u128); 5] = [
    ("ms", 1000),
    ("s", SECOND_US),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// Tokens per period: an exact ratio in lowest terms, never zero, never a float.
///
/// `60/m` and `1/s` are the same rate. How many tokens pass at once is the capacity's business, not the rate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZero<u64>,
    period_us: NonZero<u64>,
}

impl Rate {
    /// `count` tokens per `period_us` microseconds, brought into lowest terms.
    ///
    /// `None` if one of them is zero, or in lowest terms above 2^48 - 1 (a period of 8.9 years).
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
    /// The number is decimal, more than 0 and has at most six decimals; `n` is a whole number of at least 1; units are ms,
    /// s, m, h and d in small letters; without a unit the rate is per second. Anything else is `None`, and so is what
    /// [`Rate::new`] cannot hold exactly: a rate is never approximated.
    ///
    /// ```
    /// use rl_bucket::Rate;
    /// assert_eq!(Rate::parse(b"5/30s"), Rate::new(1, 6_000_000));
    /// assert_eq!(Rate::parse(b"0.5"), Rate::new(1, 2_000_000));
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

    /// Tokens per period, in lowest terms: 1 to 2^48 - 1.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count.get()
    }

    /// Microseconds of a period, in lowest terms: 1 to 2^48 - 1.
    #[must_use]
    pub const fn period_us(self) -> u64 {
        self.period_us.get()
    }

    /// The rate of a pair that [`Rate::new`] would keep unchanged; `None` for any other.
    #[inline]
    pub(crate) fn from_lowest_terms(count: u64, period_us: u64) -> Option<Self> {
        let rate = Self {
            count: in_range(count.into())?,
            period_us: in_range(period_us.into())?,
        };
        (greatest_common_divisor_64(count, period_us) == 1).then_some(rate)
    }

    /// The units of so many tokens, at most 2^96: one token is `period_us` units.
    pub(crate) fn units(self, tokens: Tokens) -> u128 {
        u128::from(tokens.get()).saturating_mul(u128::from(self.period_us()))
    }

    /// The whole tokens in so many units, rounded down.
    pub(crate) fn whole_tokens(self, units: u128) -> u128 {
        rounded_down(units, self.period_us)
    }

    /// The units that time gives back: `count` in each microsecond. At most 2^112.
    pub(crate) fn units_given_back(self, elapsed_us: u64) -> u128 {
        u128::from(elapsed_us).saturating_mul(u128::from(self.count()))
    }

    /// Microseconds in which so many units are given back, rounded up to where they all are.
    pub(crate) fn us_to_give_back(self, units: u128) -> u128 {
        rounded_up(units, self.count)
    }

    /// `used` units of this rate in units of `new`: as many tokens, rounded up to the new unit, against the caller.
    ///
    /// Whole tokens and the rest are converted apart, since their product need not fit in 128 bits.
    pub(crate) fn convert(self, used: u128, new: Self) -> u128 {
        if self.period_us == new.period_us {
            return used;
        }
        let (old, new) = (
            NonZero::<u128>::from(self.period_us),
            u128::from(new.period_us()),
        );
        let (tokens, rest) = (used / old, used % old);
        tokens
            .saturating_mul(new)
            .saturating_add(rest.saturating_mul(new).div_ceil(old.get()))
    }
}

/// Writes the rate as [`Rate::parse`] reads it: per second, minute, hour or day where that is a whole number, such as `10/s`,
/// and per so many days, hours, minutes, seconds or milliseconds otherwise, such as `1/10d`.
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

/// The decimal number that `text` begins with, as an integer and the power of ten that it is to be divided by, and what
/// follows it: `0.25/s` is 25, 100 and `/s`.
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

/// The microseconds of `[<n>]<unit>`.
fn parse_period(text: &[u8]) -> Option<u128> {
    let (n, unit) = match text {
        [b'0'..=b'9', ..] => leading_number(text)?,
        _ => (1, text),
    };
    let (_, unit_us) = PERIODS.iter().find(|(name, _)| name.as_bytes() == unit)?;
    n.checked_mul(*unit_us)
}

fn in_range(n: u128) -> Option<NonZero<u64>> {
    NonZero::new(u64::try_from(n).ok()?).filter(|n| n.get() <= MAX)
}
