//! Several charges decided together: all of them are made, or none.
//!
//! A charge is one cost for one bucket; several charges may go to the same bucket. How a single bucket decides is in
//! `bucket.rs`. The caller opens and stores the buckets.

use crate::bucket::{Bucket, Change};
use crate::decision::Decision;
use crate::tokens::Tokens;

/// One bucket of a batch. Make one for each distinct bucket, however many charges it has.
#[derive(Clone, Copy, Debug)]
pub struct BatchBucket {
    /// The bucket as it was opened, and after [`decide_batch`] with the charges applied, if all were allowed.
    pub bucket: Bucket,
    /// The sum of the costs seen so far, in units.
    requested: u128,
    /// Whether [`Bucket::change`] counts: the bucket was charged, or it denied a charge itself.
    dirty: bool,
}

/// One cost of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The index of the bucket to charge. A charge whose index is out of range is skipped, without an answer.
    pub bucket: usize,
    /// The tokens to take, or none of them. A cost of zero takes nothing, and is denied while the bucket is in debt.
    pub cost: Tokens,
}

impl BatchBucket {
    /// A bucket that has not been charged yet.
    #[must_use]
    pub const fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            requested: 0,
            dirty: false,
        }
    }

    /// Adds `cost` to what is requested of the bucket, and returns whether all that is requested so far fits.
    fn request(&mut self, cost: Tokens) -> bool {
        self.requested = self.requested.saturating_add(self.bucket.units(cost));
        self.bucket.used_plus(self.requested) <= self.bucket.capacity_units()
    }

    /// Takes `cost`, which is known to fit.
    fn charge(&mut self, cost: Tokens) -> Decision {
        let used = self.bucket.used_plus(self.bucket.units(cost));
        self.dirty = true;
        self.bucket.grant(1, used)
    }

    /// Answers a charge of a batch that was denied, and takes nothing.
    ///
    /// A charge that fits is answered as a cost of zero. One that does not fit is denied, with the wait after which it
    /// and the charges before it on the same bucket all fit.
    fn report(&mut self, cost: Tokens) -> Decision {
        if self.request(cost) {
            return self.bucket.grant(1, self.bucket.used());
        }
        self.dirty = true;
        self.bucket.denial(self.bucket.used_plus(self.requested))
    }

    /// What to do with the stored state, as [`Bucket::change`].
    ///
    /// [`Change::Nothing`] if only other buckets denied the batch: the answers of this one promise no `retry_after`
    /// that a changed rate or clock would have to be stored for.
    #[must_use]
    pub const fn change(&self) -> Change {
        if self.dirty {
            self.bucket.change()
        } else {
            Change::Nothing
        }
    }
}

/// Makes every charge, or none if one of them does not fit. The costs of charges on one bucket add up.
///
/// Calls `on_decision` once for each charge, in order, with the answer of its bucket. Returns the index of the first
/// charge that was denied, `None` if all were made. Waiting for the longest `retry_after` of the answers passes if
/// nobody else takes tokens meanwhile; if one of them is `None`, no wait helps.
///
/// Decide once: the buckets keep what was requested of them.
///
/// ```
/// use rl_bucket::{Algorithm, BatchBucket, Bucket, Capacity, Charge, Policy, Rate, Tokens, UnixMicros, decide_batch};
///
/// let bucket = |rate: &[u8], capacity| {
///     let policy = Policy::new(Rate::parse(rate)?, Capacity::new(capacity)?);
///     Some(BatchBucket::new(Bucket::new(Algorithm::Token, policy, UnixMicros::new(0))))
/// };
/// let mut buckets = [bucket(b"10/s", 20).ok_or("a policy")?, bucket(b"1000/h", 2).ok_or("a policy")?];
/// let three = Tokens::new(3).ok_or("in range")?;
/// let charges = [0, 1].map(|bucket| Charge { bucket, cost: three });
///
/// let mut remaining = Vec::new();
/// let denied = decide_batch(&mut buckets, &charges, |decision| remaining.push(decision.remaining));
/// assert_eq!(denied, Some(1)); // 3 of 20 fit, 3 of 2 do not
/// assert_eq!(remaining, [20, 2]); // so nothing is taken of either
/// # Ok::<(), &str>(())
/// ```
pub fn decide_batch(
    buckets: &mut [BatchBucket],
    charges: &[Charge],
    mut on_decision: impl FnMut(Decision),
) -> Option<usize> {
    let denied = first_denied(buckets, charges);
    for charge in charges {
        if let Some(bucket) = buckets.get_mut(charge.bucket) {
            on_decision(match denied {
                None => bucket.charge(charge.cost),
                Some(_) => bucket.report(charge.cost),
            });
        }
    }
    denied
}

/// The index of the first charge that does not fit beside those before it on the same bucket.
fn first_denied(buckets: &mut [BatchBucket], charges: &[Charge]) -> Option<usize> {
    let denied = charges.iter().position(|charge| {
        let bucket = buckets.get_mut(charge.bucket);
        bucket.is_some_and(|bucket| !bucket.request(charge.cost))
    });
    for bucket in buckets {
        bucket.requested = 0;
    }
    denied
}
