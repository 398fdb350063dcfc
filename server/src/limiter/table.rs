//! A bounded table of values by key, shared by all threads. When it is full it evicts the least recently used key.
//!
//! The deny cache and the local buckets keep their callers in it. Both can lose one: an evicted denial is requested
//! from Redis again, and an evicted local bucket starts anew.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// The table is divided into this many shards with a lock each, so that threads rarely wait for one another. A table
/// with fewer keys has a shard for each.
const SHARDS: usize = 16;

/// One part of the table. It bounds itself by [`Table::update`], since a bounded [`LruCache`] allocates for all of its
/// keys at once. A stored value is never `None`: a key whose value becomes `None` is removed.
type Shard<V> = LruCache<Box<str>, Option<V>>;

/// A least-recently-used table. Each shard evicts for itself, so the table may evict a little before it is full.
pub(super) struct Table<V> {
    shards: Vec<Mutex<Shard<V>>>,
    /// The maximum number of keys in each shard: the maximum of the table divided by the number of shards, rounded
    /// down.
    max_per_shard: usize,
    /// Assigns keys to shards. The seed is random, so clients cannot choose keys that fill one shard.
    hasher: RandomState,
}

impl<V> Table<V> {
    /// A table of at most `max` keys. Memory is allocated as keys are added. A table of zero keys keeps nothing.
    pub(super) fn with_capacity(max: usize) -> Self {
        let shards = max.clamp(1, SHARDS);
        let shard = || Mutex::new(LruCache::unbounded());
        Self {
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            max_per_shard: max / shards,
            hasher: RandomState::new(),
        }
    }

    /// Lets `update` read and change the value of `key`, and returns its result.
    ///
    /// The key is kept in the shard of `group`, so it always comes with the same group. Keys that are never updated
    /// together can each be their own.
    ///
    /// `update` gets `None` if the table does not have the key, and removes the key by leaving `None`. Updating a key
    /// that the table has does not allocate: a flood of denied requests does just that.
    ///
    /// Either way the key becomes the most recently used one. The shard is locked while `update` runs, so it must not
    /// wait and must not use the table, which would lock for ever.
    pub(super) fn update<R>(
        &self,
        group: &str,
        key: &str,
        update: impl FnOnce(&mut Option<V>) -> R,
    ) -> R {
        let mut shard = self.shard(group);
        if let Some(value) = shard.get_mut(key) {
            let result = update(value);
            if value.is_none() {
                shard.pop(key);
            }
            return result;
        }
        let mut value = None;
        let result = update(&mut value);
        self.put(&mut shard, key, value);
        result
    }

    fn put(&self, shard: &mut Shard<V>, key: &str, value: Option<V>) {
        if value.is_some() {
            shard.put(key.into(), value);
            if shard.len() > self.max_per_shard {
                shard.pop_lru();
            }
        }
    }

    /// Locks the shard of a group. A panic while the lock was held is ignored: values are replaced as a whole, so none is
    /// half written.
    fn shard(&self, group: &str) -> MutexGuard<'_, Shard<V>> {
        let hash = self.hasher.hash_one(group);
        let index = usize::try_from(hash).unwrap_or_default() % self.shards.len();
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Copy> Table<V> {
    /// Like [`Table::update`], for several keys of a group: nobody else reads or changes any of them meanwhile.
    pub(super) fn update_all<R>(
        &self,
        group: &str,
        keys: &[&str],
        update: impl FnOnce(&mut [Option<V>]) -> R,
    ) -> R {
        let mut shard = self.shard(group);
        let mut values: Vec<Option<V>> = keys.iter().map(|key| *shard.get(*key)?).collect();
        let result = update(&mut values);
        for (key, value) in keys.iter().zip(values) {
            match shard.get_mut(*key) {
                Some(stored) if value.is_some() => *stored = value,
                Some(_) => _ = shard.pop(*key),
                None => self.put(&mut shard, key, value),
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<V: Copy>(table: &Table<V>, key: &str) -> Option<V> {
        table.update(key, key, |value| *value)
    }

    #[test]
    fn a_value_stays_until_it_is_removed() {
        let table = Table::with_capacity(100);
        assert_eq!(get(&table, "a"), None);
        table.update("a", "a", |value| *value = Some(1));
        table.update("b", "b", |value| *value = Some(2));
        assert_eq!(table.update("a", "a", |value| value.replace(3)), Some(1));
        assert_eq!(table.update("b", "b", Option::take), Some(2));
        assert_eq!((get(&table, "a"), get(&table, "b")), (Some(3), None));
    }

    #[test]
    fn several_keys_are_updated_together() {
        let table = Table::with_capacity(100);
        let keys = ["a", "b", "c"];
        table.update_all("group", &keys, |values| {
            values.clone_from_slice(&[Some(1), None, Some(3)]);
        });
        let values = table.update_all("group", &keys, |values| {
            let before = values.to_vec();
            values[0] = None;
            before
        });
        assert_eq!(values, [Some(1), None, Some(3)]);
        let values = table.update_all("group", &keys, |values| values.to_vec());
        assert_eq!(values, [None, None, Some(3)]);
    }

    #[test]
    fn updating_a_stored_key_does_not_allocate() {
        let table = Table::with_capacity(100);
        table.update("key", "key", |value| *value = Some(0));
        let allocations = allocation_counter::measure(|| {
            (1..=100).for_each(|n| table.update("key", "key", |value| *value = Some(n)));
            assert_eq!(get(&table, "key"), Some(100));
            assert_eq!(get(&table, "unknown"), None);
        });
        assert_eq!(allocations.count_total, 0);
    }

    #[test]
    fn the_table_never_exceeds_its_capacity() {
        for max in [1, 2, 15, 16, 17, 1000] {
            let table = Table::with_capacity(max);
            for key in 0..20 * max {
                table.update(&key.to_string(), &key.to_string(), |value| {
                    *value = Some(key);
                });
            }
            let kept: usize = table
                .shards
                .iter()
                .map(|shard| shard.lock().unwrap().len())
                .sum();
            assert!(kept <= max && kept + SHARDS > max, "{kept} of {max}");
        }
    }

    #[test]
    fn a_key_in_steady_use_is_not_evicted() {
        let table = Table::with_capacity(320);
        for other in 0..10_000 {
            table.update("regular", "regular", |value| {
                *value = Some(value.unwrap_or(0) + 1);
            });
            table.update(&other.to_string(), &other.to_string(), |value| {
                *value = Some(0);
            });
        }
        assert_eq!(get(&table, "regular"), Some(10_000));
    }
}
