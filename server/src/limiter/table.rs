//! What is remembered of callers: a bounded table, shared by all threads.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Parts with a lock each, so that callers seldom wait for one another.
const PARTS: usize = 16;

/// A value for each of the keys used last, at most so many in all; the others are forgotten.
pub(super) struct Table<V> {
    parts: Vec<Mutex<LruCache<Box<str>, V>>>,
    /// The most keys of a part.
    most: usize,
    hasher: RandomState,
}

impl<V: Copy> Table<V> {
    /// For at most `most` keys. Takes no memory for those that are not there.
    pub(super) fn of(most: usize) -> Self {
        let parts = most.clamp(1, PARTS);
        let part = || Mutex::new(LruCache::unbounded());
        Self {
            parts: std::iter::repeat_with(part).take(parts).collect(),
            most: most / parts,
            hasher: RandomState::new(),
        }
    }

    /// Changes the value of `key`, which is `None` where nothing is known of it, and is forgotten where it becomes that.
    pub(super) fn change<R>(&self, key: &str, change: impl FnOnce(&mut Option<V>) -> R) -> R {
        let mut part = self.part(key);
        let mut value = part.get(key).copied();
        let was_known = value.is_some();
        let result = change(&mut value);
        match value {
            Some(value) => _ = part.put(key.into(), value),
            None if was_known => _ = part.pop(key),
            None => {}
        }
        if part.len() > self.most {
            part.pop_lru();
        }
        result
    }

    fn part(&self, key: &str) -> MutexGuard<'_, LruCache<Box<str>, V>> {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash).unwrap_or_default() % self.parts.len();
        self.parts[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known<V: Copy>(table: &Table<V>, key: &str) -> Option<V> {
        table.change(key, |value| *value)
    }

    #[test]
    fn a_value_is_known_until_it_is_taken_away() {
        let table = Table::of(100);
        assert_eq!(known(&table, "a"), None);
        table.change("a", |value| *value = Some(1));
        table.change("b", |value| *value = Some(2));
        assert_eq!(table.change("a", |value| value.replace(3)), Some(1));
        assert_eq!(table.change("b", Option::take), Some(2));
        assert_eq!((known(&table, "a"), known(&table, "b")), (Some(3), None));
    }

    #[test]
    fn there_are_never_more_than_the_most() {
        for most in [1, 2, 15, 16, 17, 1000] {
            let table = Table::of(most);
            for key in 0..20 * most {
                table.change(&key.to_string(), |value| *value = Some(key));
            }
            let kept: usize = table
                .parts
                .iter()
                .map(|part| part.lock().unwrap().len())
                .sum();
            assert!(kept <= most && kept + PARTS > most, "{kept} of {most}");
        }
    }

    #[test]
    fn who_comes_again_and_again_is_not_forgotten_for_those_who_come_once() {
        let table = Table::of(320);
        for stranger in 0..10_000 {
            table.change("guest", |value| *value = Some(value.unwrap_or(0) + 1));
            table.change(&stranger.to_string(), |value| *value = Some(0));
        }
        assert_eq!(known(&table, "guest"), Some(10_000));
    }
}
