//! Bounds the calls that wait for one Redis server, in total and for each caller. Pure.
//!
//! Without a bound, one caller that floods makes all others wait. So a call that exceeds a bound is rejected at once.
//! Callers are distinguished by a hash of their key, as in stochastic fairness queueing (McKenney 1990): memory is
//! constant, and two callers share a bound only if their hashes collide. The hash has a random seed, so nobody can plan
//! a collision.
//!
//! All connections to one server share an [`Admission`], without a lock. [`super::live_connection`] asks it.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
    /// The calls without a reply, over all connections. A call that timed out counts until a later call of its
    /// connection has a reply, or the connection ends: until then Redis still has to process it.
    unanswered: AtomicU64,
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
pub(super) struct Permit<'a> {
    waiting: &'a AtomicU32,
    /// Whether no other call of the caller waited when this one was admitted.
    pub(super) is_first: bool,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            waiting: (0..HASHES).map(|_| AtomicU32::new(0)).collect(),
            unanswered: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }
}

impl Admission {
    /// Admits one more call for `key`.
    ///
    /// | calls without a reply | calls that one caller may wait for |
    /// |---|---|
    /// | 0 to 511 | 256 |
    /// | 512 to 1023 | 4 |
    /// | 1024 and more | none |
    ///
    /// Several threads that call this at once may pass the bound of the server by a few calls. The bound of a caller is
    /// never passed.
    ///
    /// # Errors
    ///
    /// The bound that the call exceeds. It must then not be sent.
    pub(super) fn admit(&self, key: &str) -> Result<Permit<'_>, Rejection> {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        if unanswered >= MAX_CALLS {
            return Err(Rejection::Server);
        }
        let max = match unanswered < BUSY_CALLS {
            true => MAX_CALLS_PER_CALLER,
            false => MAX_CALLS_PER_CALLER_WHILE_BUSY,
        };
        let waiting = self.waiting(key);
        // Counted before it is compared: a rejected call is uncounted when it is dropped.
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let permit = Permit {
            waiting,
            is_first: before == 0,
        };
        if before >= max {
            return Err(Rejection::Caller);
        }
        Ok(permit)
    }

    /// Counts a call that is sent.
    pub(super) fn count_sent(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts calls that have a reply, or that will have none.
    pub(super) fn count_answered(&self, calls: u64) {
        self.unanswered.fetch_sub(calls, Ordering::Relaxed);
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
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An admission while this many calls have no reply.
    fn with_unanswered(calls: u64) -> Admission {
        let admission = Admission::default();
        (0..calls).for_each(|_| admission.count_sent());
        admission
    }

    /// Admits calls for `key`, which are not sent, until one is rejected.
    fn admitted<'a>(admission: &'a Admission, key: &str) -> Vec<Permit<'a>> {
        std::iter::from_fn(|| admission.admit(key).ok()).collect()
    }

    #[test]
    fn one_caller_waits_for_a_quarter_of_all_calls() {
        let admission = Admission::default();
        let permits = admitted(&admission, "flood");
        assert_eq!(permits.len() as u64, MAX_CALLS / 4);
        assert_eq!(admission.admit("flood").unwrap_err(), Rejection::Caller);
        drop(permits);
        assert_eq!(admitted(&admission, "flood").len() as u64, MAX_CALLS / 4);
    }

    #[test]
    fn a_busy_server_admits_few_calls_of_each_caller() {
        let admitted = |unanswered| admitted(&with_unanswered(unanswered), "a").len();
        assert_eq!(admitted(BUSY_CALLS - 1), 256);
        assert_eq!(admitted(BUSY_CALLS), 4);
        assert_eq!(admitted(MAX_CALLS - 1), 4);
    }

    #[test]
    fn a_caller_at_its_bound_does_not_affect_others() {
        let admission = with_unanswered(BUSY_CALLS);
        let _flood = admitted(&admission, "flood");
        let others = (0..1000).map(|n| n.to_string());
        let rejected = others.filter(|key| admission.admit(key).is_err());
        // On average one other caller in 1024 has the same hash.
        assert!(rejected.count() < 15);
    }

    #[test]
    fn a_full_server_admits_no_call_until_one_is_answered() {
        let admission = with_unanswered(MAX_CALLS);
        assert_eq!(admission.admit("a").unwrap_err(), Rejection::Server);
        admission.count_answered(1);
        assert!(admission.admit("a").is_ok());
    }
}
