//! Which calls may be sent to a Redis server: how many at a time, overall and for each caller. Pure.
//!
//! A queue that grows without a bound makes every caller wait for the one that floods. So a call that finds too many before
//! it is rejected at once. Callers are told apart by a hash of their key, as stochastic fairness queueing does (McKenney
//! 1990): memory is constant, and a caller takes another's share only if their hashes collide, which no one can plan,
//! since the hash has a random seed.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

/// The largest number of calls to one server that have no reply yet.
pub(super) const MAX_CALLS: u64 = 1024;

/// The largest number of calls that one caller waits for at a time: a quarter of all, so that one caller alone never makes
/// others wait long.
const MAX_CALLS_OF_A_CALLER: u32 = 256;

/// From this many calls on, which takes more than one caller, a caller waits for few.
const BUSY_CALLS: u64 = MAX_CALLS / 2;
const MAX_CALLS_WHILE_BUSY: u32 = 4;

/// Hash values that callers are told apart by.
const SHARES: usize = 1024;

/// Counts the calls that each caller waits for.
#[derive(Debug)]
pub(super) struct Admission {
    waiting: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// Why a call is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Its caller waits for as many calls as one caller may.
    Caller,
    /// The server has as many calls to answer as it may.
    Server,
}

/// The permission to wait for one call. Dropping it ends the wait.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a AtomicU32);

impl Default for Admission {
    fn default() -> Self {
        Self {
            waiting: (0..SHARES).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Admission {
    /// Admits one more call about `key`, while `unanswered` calls have no reply yet.
    pub(super) fn admit(&self, key: &str, unanswered: u64) -> Result<Permit<'_>, Rejection> {
        if unanswered >= MAX_CALLS {
            return Err(Rejection::Server);
        }
        let max = match unanswered < BUSY_CALLS {
            true => MAX_CALLS_OF_A_CALLER,
            false => MAX_CALLS_WHILE_BUSY,
        };
        let waiting = self.share(key);
        let permit = Permit(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= max {
            return Err(Rejection::Caller);
        }
        Ok(permit)
    }

    fn share(&self, key: &str) -> &AtomicU32 {
        let hash = self.hasher.hash_one(key);
        let index = usize::try_from(hash).unwrap_or_default() % self.waiting.len();
        &self.waiting[index]
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls about `key` are admitted before one is rejected.
    fn admitted<'a>(admission: &'a Admission, key: &str, unanswered: u64) -> Vec<Permit<'a>> {
        std::iter::from_fn(|| admission.admit(key, unanswered).ok()).collect()
    }

    #[test]
    fn one_caller_waits_for_a_quarter_of_all_calls() {
        let admission = Admission::default();
        let permits = admitted(&admission, "flood", 0);
        assert_eq!(permits.len() as u64, MAX_CALLS / 4);
        assert_eq!(admission.admit("flood", 0).unwrap_err(), Rejection::Caller);
        drop(permits);
        assert_eq!(admitted(&admission, "flood", 0).len() as u64, MAX_CALLS / 4);
    }

    #[test]
    fn a_busy_server_leaves_each_caller_a_few_calls() {
        let admission = Admission::default();
        assert_eq!(admitted(&admission, "a", BUSY_CALLS - 1).len(), 256);
        assert_eq!(admitted(&admission, "a", BUSY_CALLS).len(), 4);
        assert_eq!(admitted(&admission, "a", MAX_CALLS - 1).len(), 4);
    }

    #[test]
    fn a_caller_at_its_bound_leaves_others_theirs() {
        let admission = Admission::default();
        let _flood = admitted(&admission, "flood", BUSY_CALLS);
        let others = (0..1000).map(|n| n.to_string());
        let rejected = others.filter(|key| admission.admit(key, BUSY_CALLS).is_err());
        // Those whose hash collides: 1 of 1024 on average.
        assert!(rejected.count() < 15);
    }

    #[test]
    fn a_full_server_admits_no_call() {
        let admission = Admission::default();
        assert_eq!(
            admission.admit("a", MAX_CALLS).unwrap_err(),
            Rejection::Server
        );
        assert!(admission.admit("a", MAX_CALLS - 1).is_ok());
    }
}
