//! [`FrequentKeys`]: the most frequent keys of a stream, lately, in constant memory.
//!
//! The algorithm is that of Misra and Gries ("Finding repeated elements", 1982) with [`COUNTERS`] counters. It reports
//! upper bounds, as Space-Saving does (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k
//! elements in data streams", 2005). "Mergeable summaries" (Agarwal et al., 2012) shows that the two are the same.
//! Every count decays with a half-life of one minute.
//!
//! With n occurrences in all, decayed as each count is, for every key:
//!
//! - Its estimate is at least its true count, and exceeds it by its overestimate at most.
//! - An overestimate is at most n / 257.
//! - A key with more than n / 257 occurrences has a counter.
//!
//! Counts are rounded down each second, by 2^-16 of an occurrence. This makes an estimate too small by 0.002 at most.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

/// How many keys are counted.
pub(crate) const COUNTERS: usize = 256;

/// The most bytes of a key that are kept. A longer key is counted as a whole, and listed by its first bytes and `...`.
const MAX_NAME_BYTES: usize = 256;

/// What stands for the rest of a longer key.
const ELLIPSIS: &[u8] = b"...";

/// The number of counters whose smallest count is found together.
const ROW: usize = 16;

/// The number of lists by which a counter is found. A power of two.
const LISTS: usize = 2 * COUNTERS;

/// One occurrence. A count is a multiple of 2^-16.
const ONE: u64 = 1 << 16;

const SECOND_US: u64 = 1_000_000;

/// 2^(-1/60) of 2^32: what remains after a second of a count with a half-life of one minute.
const DECAY: u64 = 4_245_635_389;

/// After this many seconds every count is below 2^-16 of an occurrence, because 2^-60 of it remains.
const FORGOTTEN_S: u64 = 3600;

/// The most frequent keys. It allocates nothing, and is about 80 KiB.
pub(crate) struct FrequentKeys {
    /// Where the current second began, in microseconds since the Unix epoch.
    second_us: u64,
    /// No key without a counter has a larger count.
    floor: u64,
    /// By the index of a counter: the estimate of its key. None is below `floor`.
    estimates: [u64; COUNTERS],
    /// For each row of estimates a number that is at most the smallest of them.
    lower_bounds: [u64; COUNTERS / ROW],
    counters: [Counter; COUNTERS],
    /// By the hash of a key: the link to the first counter of a list.
    lists: [Link; LISTS],
    /// Gives the hashes. Its seed is random, so that no client can choose keys that have one hash.
    hashes: Option<RandomState>,
}

/// A counter, apart from its estimate.
#[derive(Clone, Copy)]
struct Counter {
    /// It stands for the key. Of two keys one would hide the other if all 64 bits were the same.
    hash: u64,
    overestimate: u64,
    /// The next counter of the list.
    next: Link,
    name_bytes: usize,
    name: [u8; MAX_NAME_BYTES],
}

/// The index of a counter and one more. 0 for none, so that an empty table is a page of zeros.
type Link = u16;

/// A key of the list, with numbers of occurrences, decayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrequentKey {
    /// The key. Of one with more than 256 bytes the first 253, and `...`.
    pub(crate) key: Vec<u8>,
    /// Rounded to the nearest integer. Never too small, but for the rounding.
    pub(crate) estimate: u64,
    /// How much too large the estimate may be, rounded up.
    pub(crate) overestimate: u64,
}

impl FrequentKeys {
    /// No key.
    pub(crate) const fn new() -> Self {
        const EMPTY: Counter = Counter {
            hash: 0,
            overestimate: 0,
            next: 0,
            name_bytes: 0,
            name: [0; MAX_NAME_BYTES],
        };
        Self {
            second_us: 0,
            floor: 0,
            estimates: [0; COUNTERS],
            lower_bounds: [0; COUNTERS / ROW],
            counters: [EMPTY; COUNTERS],
            lists: [0; LISTS],
            hashes: None,
        }
    }

    /// Forgets all keys.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Counts one occurrence of the key, at this time in microseconds since the Unix epoch. A clock that goes back makes
    /// no count larger, and decay continues from the earlier time.
    pub(crate) fn add(&mut self, key: &[u8], now_us: u64) {
        if now_us.wrapping_sub(self.second_us) >= SECOND_US {
            self.decay(now_us);
        }
        let mut hasher = self.hashes.get_or_insert_default().build_hasher();
        hasher.write(key);
        let hash = hasher.finish();
        match self.find(hash).and_then(|at| self.estimates.get_mut(at)) {
            Some(estimate) => *estimate = estimate.saturating_add(ONE),
            None => self.add_new(key, hash),
        }
    }

    /// At most `max` keys, the largest estimate first. Keys whose estimate rounds to 0 are left out.
    pub(crate) fn list(&mut self, max: usize, now_us: u64) -> Vec<FrequentKey> {
        self.decay(now_us);
        let mut keys: Vec<_> = self
            .estimates
            .iter()
            .zip(&self.counters)
            .filter(|(estimate, _)| **estimate >= ONE / 2)
            .collect();
        keys.sort_by_key(|(estimate, counter)| (u64::MAX - **estimate, counter.hash));
        keys.truncate(max);
        let listed = |(estimate, counter): (&u64, &Counter)| FrequentKey {
            key: counter.name().to_vec(),
            estimate: estimate.saturating_add(ONE / 2) / ONE,
            overestimate: counter.overestimate.div_ceil(ONE),
        };
        keys.into_iter().map(listed).collect()
    }

    /// The counter of the key with this hash.
    fn find(&self, hash: u64) -> Option<usize> {
        let mut link = *self.lists.get(list_of(hash))?;
        loop {
            let at = usize::from(link.checked_sub(1)?);
            let counter = self.counters.get(at)?;
            if counter.hash == hash {
                return Some(at);
            }
            link = counter.next;
        }
    }

    /// Counts one occurrence of a key that has no counter.
    ///
    /// It takes the counter with the smallest estimate if that is below the floor and one more. The floor rises to what
    /// that counter had, so that the occurrences of the old key are below it. Otherwise the floor rises by one.
    #[inline(never)]
    fn add_new(&mut self, key: &[u8], hash: u64) {
        let (floor, estimate) = (self.floor, self.floor.saturating_add(ONE));
        let Some((at, smallest)) = self.smallest_below(estimate) else {
            self.floor = estimate;
            return;
        };
        self.floor = smallest;
        self.unlink(at);
        self.link(at, hash);
        if let (Some(old), Some(counter)) = (self.estimates.get_mut(at), self.counters.get_mut(at))
        {
            *old = estimate;
            counter.overestimate = floor;
            counter.rename(key);
        }
    }

    /// The counter with the smallest estimate, and that estimate, if it is below `limit`.
    ///
    /// Estimates grow without a look at the lower bound of their row. Here the bounds are raised again, until the
    /// smallest one is that of an estimate.
    fn smallest_below(&mut self, limit: u64) -> Option<(usize, u64)> {
        loop {
            let bounds = self.lower_bounds.iter_mut().enumerate();
            let (row, bound) = bounds.min_by_key(|(_, bound)| **bound)?;
            if *bound >= limit {
                return None;
            }
            let estimates = self.estimates.iter().enumerate();
            let estimates = estimates.skip(row * ROW).take(ROW);
            let (at, smallest) = estimates.min_by_key(|(_, estimate)| **estimate)?;
            if *bound == *smallest {
                return Some((at, *smallest));
            }
            *bound = *smallest;
        }
    }

    /// Takes a counter out of its list, if it is in one.
    fn unlink(&mut self, at: usize) -> Option<()> {
        let counter = self.counters.get(at)?;
        let (list, next) = (list_of(counter.hash), counter.next);
        let mut link = self.lists.get_mut(list)?;
        loop {
            let other = usize::from(link.checked_sub(1)?);
            if other == at {
                *link = next;
                return Some(());
            }
            link = &mut self.counters.get_mut(other)?.next;
        }
    }

    /// Puts a counter at the head of the list of its new key.
    fn link(&mut self, at: usize, hash: u64) -> Option<()> {
        let counter = self.counters.get_mut(at)?;
        let first = self.lists.get_mut(list_of(hash))?;
        counter.hash = hash;
        counter.next = *first;
        *first = Link::try_from(at + 1).ok()?;
        Some(())
    }

    /// Makes all counts smaller for the whole seconds since the last time. If the clock went back, only the time is set.
    #[inline(never)]
    fn decay(&mut self, now_us: u64) {
        let Some(elapsed_us) = now_us.checked_sub(self.second_us) else {
            self.second_us = now_us;
            return;
        };
        let seconds = elapsed_us / SECOND_US;
        self.second_us += seconds * SECOND_US;
        if seconds >= FORGOTTEN_S {
            let (second_us, hashes) = (self.second_us, self.hashes.take());
            *self = Self {
                second_us,
                hashes,
                ..Self::new()
            };
            return;
        }
        let remaining = power(DECAY, seconds);
        let overestimates = self
            .counters
            .iter_mut()
            .map(|counter| &mut counter.overestimate);
        let counts = self.estimates.iter_mut().chain(&mut self.lower_bounds);
        for count in counts.chain(overestimates).chain([&mut self.floor]) {
            *count = part(*count, remaining);
        }
    }
}

impl Counter {
    fn name(&self) -> &[u8] {
        self.name.get(..self.name_bytes).unwrap_or_default()
    }

    fn rename(&mut self, key: &[u8]) {
        if let Some(name) = self.name.get_mut(..key.len()) {
            name.copy_from_slice(key);
            self.name_bytes = key.len();
        } else if let Some((name, end)) = self.name.split_last_chunk_mut::<{ ELLIPSIS.len() }>() {
            name.copy_from_slice(key.get(..name.len()).unwrap_or_default());
            end.copy_from_slice(ELLIPSIS);
            self.name_bytes = MAX_NAME_BYTES;
        }
    }
}

fn list_of(hash: u64) -> usize {
    // The remainder is below LISTS.
    (hash % LISTS as u64) as usize
}

/// `count` times `part` / 2^32, rounded down.
fn part(count: u64, part: u64) -> u64 {
    let product = (u128::from(count) * u128::from(part)) >> 32;
    // The part is at most 2^32, so the product is at most the count.
    product as u64
}

/// `base` to the power of `exponent`, both the base and the result of 2^32, rounded down.
fn power(base: u64, exponent: u64) -> u64 {
    let (mut result, mut square, mut rest) = (1 << 32, base, exponent);
    while rest > 0 {
        if rest % 2 == 1 {
            result = part(result, square);
        }
        square = part(square, square);
        rest /= 2;
    }
    result
}

#[cfg(test)]
mod tests;
