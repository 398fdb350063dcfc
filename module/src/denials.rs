//! Which keys were denied most, lately: what RL.TOP lists. It is not stored and not replicated, and is empty when the
//! module is loaded.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rl_bucket::{Decision, UnixMicros};

use crate::frequent_keys::{FrequentKey, FrequentKeys};
use crate::redis::Call;

/// Redis runs commands on one thread, so nothing waits for the lock.
static DENIALS: Mutex<FrequentKeys> = Mutex::new(FrequentKeys::new());

/// Counts the key, argument `key` of the call, if the decision is a denial after which a wait helps: one that INFO
/// counts as `denied`.
pub(crate) fn count(call: &Call<'_>, key: usize, decision: &Decision, now: UnixMicros) {
    if decision.allowed == 0 && decision.retry_after_ms.is_some() {
        add(call.word(key), now);
    }
}

/// Not inlined, so that an allowed call costs no more.
#[cold]
fn add(key: &[u8], now: UnixMicros) {
    denials().add(key, now.get());
}

/// At most `max` keys, those that were denied most first.
pub(crate) fn most_denied(max: usize, now: UnixMicros) -> Vec<FrequentKey> {
    denials().list(max, now.get())
}

/// Forgets all denials.
pub(crate) fn clear() {
    denials().clear();
}

fn denials() -> MutexGuard<'static, FrequentKeys> {
    DENIALS.lock().unwrap_or_else(PoisonError::into_inner)
}
