//! What is remembered of a bucket between requests, and the 44 bytes that it is stored in.

use crate::bucket::Algorithm;
use crate::policy::Policy;
use crate::rate::Rate;
use crate::time::{UnixMicros, ms_rounded_up};
use crate::tokens::Tokens;

/// The only version of the stored form so far.
const VERSION: u8 = b'1';

/// The last instant that Redis can hold as a deadline, in milliseconds: 292 million years from the epoch.
const LAST_DEADLINE_MS: u64 = i64::MAX.unsigned_abs();

/// One bucket as it was when it last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub(crate) algorithm: Algorithm,
    /// Units of `policy.rate`, at most [`Tokens::MAX`] tokens' worth.
    pub(crate) used: u128,
    /// The latest instant the bucket has seen.
    pub(crate) updated: UnixMicros,
    pub(crate) policy: Policy,
}

impl State {
    /// The length of the stored form in bytes.
    pub const LEN: usize = 44;

    /// Which kind of bucket this is.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The policy of the request that last changed the bucket.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// When the bucket last changed.
    #[must_use]
    pub const fn updated(&self) -> UnixMicros {
        self.updated
    }

    /// A bucket of which only the instant is known at which it will be as new. At most [`Tokens::MAX`] tokens are used.
    #[must_use]
    pub fn until(
        algorithm: Algorithm,
        policy: Policy,
        as_new: UnixMicros,
        now: UnixMicros,
    ) -> Self {
        let used = policy.rate().units_given_back(as_new.us_since(now));
        Self {
            algorithm,
            used: used.min(policy.rate().units(Tokens::MAX)),
            updated: now,
            policy,
        }
    }

    /// When the bucket will be as new, in milliseconds since the Unix epoch, rounded up: the earliest deadline its key may
    /// have. At most 2^63 - 1, which is where Redis's own deadlines end.
    #[must_use]
    #[inline]
    pub fn as_new_at_ms(&self) -> u64 {
        let empty_us = u128::from(self.updated.get())
            .saturating_add(self.policy.rate().us_to_give_back(self.used));
        u64::try_from(ms_rounded_up(empty_us))
            .map_or(LAST_DEADLINE_MS, |ms| ms.min(LAST_DEADLINE_MS))
    }

    /// The deadline of the bucket's key: [`State::as_new_at_ms`] rounded up to the next multiple of a power of two that is
    /// at most an eighth of the time the bucket takes to empty from full.
    ///
    /// So it seldom moves from one request to the next, and what has not moved need not be written.
    #[must_use]
    #[inline]
    pub fn deadline_ms(&self) -> u64 {
        let below_step = !u64::MAX.unbounded_shl(self.policy.deadline_step_bits());
        self.as_new_at_ms()
            .checked_add(below_step)
            .map_or(LAST_DEADLINE_MS, |ms| {
                (ms & !below_step).min(LAST_DEADLINE_MS)
            })
    }

    /// The stored form, little-endian:
    ///
    /// ```text
    /// algorithm 'T' or 'L'   version '1'   used u128   updated_us u64   count u48   period_us u48   capacity u48
    /// ```
    #[must_use]
    #[inline]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let rest = &mut bytes.as_mut_slice();
        put(rest, [self.algorithm.letter(), VERSION]);
        put(rest, self.used.to_le_bytes());
        put(rest, self.updated.get().to_le_bytes());
        put(rest, low_48_bits(self.policy.rate().count()));
        put(rest, low_48_bits(self.policy.rate().period_us()));
        put(rest, low_48_bits(self.policy.capacity().get()));
        bytes
    }

    /// Reads the stored form strictly: `None` for any bytes that [`State::encode`] does not write.
    ///
    /// That is another length, letter or version, a rate that is zero or not in lowest terms, no capacity, or more used
    /// than [`Tokens::MAX`] tokens.
    #[must_use]
    #[inline]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let rest = &mut bytes.as_slice();
        let [letter, VERSION] = get(rest)? else {
            return None;
        };
        let algorithm = Algorithm::from_letter(letter)?;
        let used = u128::from_le_bytes(get(rest)?);
        let updated = UnixMicros::new(u64::from_le_bytes(get(rest)?));
        let rate = Rate::from_lowest_terms(from_48_bits(get(rest)?), from_48_bits(get(rest)?))?;
        let policy = Policy::new(rate, Tokens::new(from_48_bits(get(rest)?))?)?;
        (used <= rate.units(Tokens::MAX)).then_some(Self {
            algorithm,
            used,
            updated,
            policy,
        })
    }
}

/// Writes `bytes` at the head of `rest` and moves `rest` past them.
fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((head, tail)) = core::mem::take(rest).split_first_chunk_mut() {
        *head = bytes;
        *rest = tail;
    }
}

/// Takes N bytes from the head of `rest`.
fn get<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn low_48_bits(n: u64) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = n.to_le_bytes();
    [a, b, c, d, e, f]
}

fn from_48_bits([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}
