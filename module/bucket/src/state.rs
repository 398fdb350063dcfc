//! What is stored of a bucket between requests: the 44 bytes, and how long they must be kept.
//!
//! Reading is strict: each state has one byte string, and other byte strings are refused. What time and requests do to
//! a state is in `bucket.rs`.

use crate::algorithm::Algorithm;
use crate::policy::Policy;
use crate::rate::Rate;
use crate::time::{UnixMicros, ms_rounded_up};
use crate::tokens::{Capacity, Tokens};

/// The version of the stored form. There is one so far.
const VERSION: u8 = b'1';

/// The largest deadline that Redis can hold, in milliseconds since the epoch: 292 million years after it.
const MAX_DEADLINE_MS: u64 = i64::MAX.unsigned_abs();

/// One bucket as it was when it last changed.
///
/// Time that has passed since is not in it: [`Bucket::open`](crate::Bucket::open) counts it. A bucket of which nothing
/// is used needs no state, since a new bucket is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub(crate) algorithm: Algorithm,
    /// In units of `policy.rate`: taken and not yet refilled (token bucket), or poured in and not yet leaked (leaky
    /// bucket). At most [`Tokens::MAX`] tokens, which is above the capacity after a forced cost.
    pub(crate) used: u128,
    /// The instant up to which refill is counted: the latest one that the bucket has seen.
    pub(crate) updated: UnixMicros,
    pub(crate) policy: Policy,
}

impl State {
    /// The length of the stored form in bytes.
    pub const LEN: usize = 44;

    /// Token bucket or leaky bucket.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The policy of the request that last changed the bucket. A request under another policy that changed nothing left
    /// no trace of its own.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// When the bucket last changed. After the clock went back, the latest instant before that.
    #[must_use]
    pub const fn updated(&self) -> UnixMicros {
        self.updated
    }

    /// The state of a bucket that is full again (token bucket) or empty again (leaky bucket) at the instant
    /// `resets_at`.
    ///
    /// Other limiters store that instant alone; GCRA calls it the theoretical arrival time. It is enough to continue
    /// their buckets: what is used now is what is refilled until then. At most [`Tokens::MAX`] tokens are used,
    /// whatever the instant, and none if it is not after `now`.
    #[must_use]
    pub fn resetting_at(
        algorithm: Algorithm,
        policy: Policy,
        resets_at: UnixMicros,
        now: UnixMicros,
    ) -> Self {
        let used = policy.rate().units_refilled(resets_at.us_since(now));
        Self {
            algorithm,
            used: used.min(policy.rate().units(Tokens::MAX)),
            updated: now,
            policy,
        }
    }

    /// When the bucket is full again (token bucket) or empty again (leaky bucket), in milliseconds since the Unix
    /// epoch, rounded up.
    ///
    /// The state may be deleted then and not before. At most 2^63 - 1, the largest deadline of Redis; a bucket that
    /// needs longer is deleted early, after 292 million years.
    #[must_use]
    #[inline]
    pub fn resets_at_ms(&self) -> u64 {
        let reset_us = u128::from(self.updated.get())
            .saturating_add(self.policy.rate().us_to_refill(self.used));
        u64::try_from(ms_rounded_up(reset_us)).map_or(MAX_DEADLINE_MS, |ms| ms.min(MAX_DEADLINE_MS))
    }

    /// When to delete the stored state, in milliseconds since the Unix epoch: [`State::resets_at_ms`], rounded up to a
    /// multiple of a power of two.
    ///
    /// The power of two is at most an eighth of the time that the whole capacity takes to refill (leak), or 1 if that
    /// is less than a millisecond. Most requests leave such a deadline where it was, and a deadline that has not moved
    /// need not be written. At most 2^63 - 1.
    #[must_use]
    #[inline]
    pub fn deadline_ms(&self) -> u64 {
        let below_step = !u64::MAX.unbounded_shl(self.policy.deadline_step_bits());
        self.resets_at_ms()
            .checked_add(below_step)
            .map_or(MAX_DEADLINE_MS, |ms| {
                (ms & !below_step).min(MAX_DEADLINE_MS)
            })
    }

    /// The stored form, 44 bytes, integers little-endian:
    ///
    /// | bytes | field | values |
    /// |---|---|---|
    /// | 0 | algorithm | `T` or `L` |
    /// | 1 | version | `1` |
    /// | 2 to 17 | used | units, at most `period * (2^48 - 1)` |
    /// | 18 to 25 | updated | microseconds since the Unix epoch |
    /// | 26 to 31 | count of the rate | 1 to 2^48 - 1, in lowest terms with the period |
    /// | 32 to 37 | period of the rate | microseconds, 1 to 2^48 - 1 |
    /// | 38 to 43 | capacity | 1 to 2^48 - 1 |
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

    /// Reads the stored form strictly: `decode(bytes)` is `Some` only if encoding the result gives the same bytes
    /// again.
    ///
    /// `None` for another length, letter or version, a rate that is zero or not in lowest terms, a capacity of zero,
    /// and more than [`Tokens::MAX`] tokens used.
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
        let policy = Policy::new(rate, Capacity::new(from_48_bits(get(rest)?))?);
        (used <= rate.units(Tokens::MAX)).then_some(Self {
            algorithm,
            used,
            updated,
            policy,
        })
    }
}

/// Writes `bytes` at the start of `rest` and moves `rest` past them. Does nothing if they do not fit, which
/// [`State::LEN`] rules out.
fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((head, tail)) = core::mem::take(rest).split_first_chunk_mut() {
        *head = bytes;
        *rest = tail;
    }
}

/// Reads N bytes from the start of `rest` and moves `rest` past them; `None` if there are fewer.
fn get<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// The low six bytes of a number, little-endian. Counts, periods and capacities have no more.
fn low_48_bits(n: u64) -> [u8; 6] {
    let [a, b, c, d, e, f, _, _] = n.to_le_bytes();
    [a, b, c, d, e, f]
}

/// The number of six bytes, little-endian.
fn from_48_bits([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}
