//! Bounds the calls that wait for one Redis server, in total and for each caller. Pure.
//!
//! Without a bound, one caller that floods makes all others wait. So a call that exceeds a bound is rejected at once.
//! Callers are distinguished by a hash of their key, as in stochastic fairness queueing (McKenney 1990): memory is
//! constant, and two callers share a bound only if their hashes collide. The hash has a random seed, so nobody can
//! plan a collision.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

/// The largest number of calls to one server that have no reply yet.
pub(super) const MAX_CALLS: u64 = 1024;

/// The largest number of calls that one caller may wait for: a quarter of all, so that one caller alone does not make
/// others wait for long.
const MAX_CALLS_PER_CALLER: u32 = 256;

/// The server is busy with this many calls, which takes more than one caller.
const BUSY_CALLS: u64 = MAX_CALLS / 2;

/// The largest number of calls that one caller may wait for while the server is busy.
const MAX_CALLS_PER_CALLER_WHILE_BUSY: u32 = 4;

/// The number of hash values that distinguish callers.
const HASHES: usize = 1024;

/// Counts the calls that each caller waits for.
#[derive(Debug)]
pub(super) struct Admission {
    /// The waiting calls by hash of their key.
    waiting: Box<[AtomicU32]>,
    hasher: RandomState,
}

/// Why a call is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The caller waits for too many calls.
    Caller,
    /// Too many calls wait for the server.
    Server,
}

/// Counts one waiting call until it is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a AtomicU32);

impl Default for Admission {
    fn default() -> Self {
        Self {
            waiting: (0..HASHES).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Admission {
    /// Admits one more call for `key` while `unanswered` calls to the server have no reply.
    ///
    /// # Errors
    ///
    /// The bound that the call exceeds. It must then not be sent.
    pub(super) fn admit(&self, key: &str, unanswered: u64) -> Result<Permit<'_>, Rejection> {
        if unanswered >= MAX_CALLS {
            return Err(Rejection::Server);
        }
        let max = match unanswered < BUSY_CALLS {
            true => MAX_CALLS_PER_CALLER,
            false => MAX_CALLS_PER_CALLER_WHILE_BUSY,
        };
        let waiting = self.waiting(key);
        // Made first, so that a rejected call is uncounted when it is dropped.
        let permit = Permit(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= max {
            return Err(Rejection::Caller);
        }
        Ok(permit)
    }

    fn waiting(&self, key: &str) -> &AtomicU32 {
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

    /// Admits calls for `key` until one is rejected.
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
    fn a_busy_server_admits_few_calls_of_each_caller() {
        let admission = Admission::default();
        assert_eq!(admitted(&admission, "a", BUSY_CALLS - 1).len(), 256);
        assert_eq!(admitted(&admission, "a", BUSY_CALLS).len(), 4);
        assert_eq!(admitted(&admission, "a", MAX_CALLS - 1).len(), 4);
    }

    #[test]
    fn a_caller_at_its_bound_does_not_affect_others() {
        let admission = Admission::default();
        let _flood = admitted(&admission, "flood", BUSY_CALLS);
        let others = (0..1000).map(|n| n.to_string());
        let rejected = others.filter(|key| admission.admit(key, BUSY_CALLS).is_err());
        // On average one other caller in 1024 has the same hash.
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
