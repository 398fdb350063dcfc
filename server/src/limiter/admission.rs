//! Bounds the calls that wait for one Redis server, in total and for each caller. Pure.
//!
//! Without a bound, one caller that floods makes all others wait. So a call that exceeds a bound is rejected at once.
//! Callers are distinguished by a hash of their key, as in stochastic fairness queueing (McKenney 1990): memory is
//! constant, and two callers share a bound only if their hashes collide. The hash has a random seed, so nobody can plan
//! a collision.
//!
//! Each connection has its own [`Admission`], in [`super::live_connection`]. All threads that serve requests use it,
//! without a lock.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

/// The largest number of calls to one server that have no reply yet.
///
/// At 100,000 replies a second the last of them waits for 10 ms, a fifth of the default deadline. A queue that is
/// longer than the deadline would be work that nobody waits for.
pub(super) const MAX_CALLS: u64 = 1024;

/// The largest number of calls that one caller may wait for: a quarter of all, so that one caller alone does not make
/// others wait for long.
const MAX_CALLS_PER_CALLER: u32 = 256;

/// The server is busy with this many calls, which takes more than one caller.
const BUSY_CALLS: u64 = MAX_CALLS / 2;

/// The largest number of calls that one caller may wait for while the server is busy.
const MAX_CALLS_PER_CALLER_WHILE_BUSY: u32 = 4;

/// The number of hash values that distinguish callers. Two given callers have the same one with a probability of 1 in
/// 1024.
const HASHES: usize = 1024;

/// Counts the calls that each caller waits for.
#[derive(Debug)]
pub(super) struct Admission {
    /// The waiting calls by hash of their key. A call that was admitted and timed out waits no longer, although Redis
    /// may still have to process it; that one counts in `unanswered` only.
    waiting: Box<[AtomicU32]>,
    /// The hash, with a seed of this value alone.
    hasher: RandomState,
}

/// Why a call is not sent. Redis has no part in it, so no tokens are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The caller waits for too many calls. Others may still be admitted.
    Caller,
    /// Too many calls wait for the server, those of all callers together.
    Server,
}

/// Counts one waiting call until it is dropped. Keep it until the reply is there or the call is given up.
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
    /// | `unanswered` | calls that one caller may wait for |
    /// |---|---|
    /// | 0 to 511 | 256 |
    /// | 512 to 1023 | 4 |
    /// | 1024 and more | none |
    ///
    /// `unanswered` is that of [`Traffic`](super::traffic::Traffic) and not a count of permits: calls that timed out
    /// have no permit any longer, but Redis still has to process them.
    ///
    /// Several threads that call this at once may pass the bound of the server by a few calls. The bound of a caller is
    /// never passed.
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

    /// The counter that the callers with the hash of this key share.
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
