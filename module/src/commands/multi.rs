//! RL.MULTI: charges several buckets, all of them or none.
//!
//! The decision is [`decide_batch`] of `rl-bucket`; reading and writing several keys is [`Keys`]. What is left to this
//! file is the grammar, and that a key which several charges name is one bucket: each is opened once, and its costs add
//! up. In a cluster all keys must have one slot, which Redis checks before the call.

use rl_bucket::{Algorithm, BatchBucket, Bucket, Charge, Policy, Tokens, UnixMicros, decide_batch};

use crate::args::Words;
use crate::describe::{CAPACITY, CommandSpec, KEY, RATE};
use crate::dispatch::Handler;
use crate::error::Error;
use crate::redis::{Argument, Call, Documentation, KeyPositions, Keys, Kind};
use crate::reply::Reply;
use crate::stats::Counters;
use crate::{clock, denials};

/// `RL.MULTI key TOKEN|LEAKY rate capacity cost [key TOKEN|LEAKY rate capacity cost ...]`
pub(super) const MULTI: CommandSpec = CommandSpec {
    fast: false,
    keys: Some(KeyPositions { last: -5, step: 5 }),
    ..CommandSpec::new::<Multi>(
        c"rl.multi",
        Documentation {
            summary: c"Charges multiple buckets, all or none of them.",
            complexity: c"O(N log N) where N is the number of buckets",
            arity: -6,
            arguments: &[BUCKET],
        },
    )
};

/// The words of one bucket. They are repeated as a whole.
const BUCKET: Argument = Argument::new(
    c"bucket",
    Kind::Block(&[
        KEY,
        Argument::new(
            c"algorithm",
            Kind::OneOf(&[
                Argument::new(c"token", Kind::Word).with_token(c"TOKEN"),
                Argument::new(c"leaky", Kind::Word).with_token(c"LEAKY"),
            ]),
        ),
        RATE,
        CAPACITY,
        Argument::new(c"cost", Kind::Integer),
    ]),
)
.repeated();

/// The number of words for one bucket, starting with its key.
const WORDS: usize = 5;

/// The maximum number of buckets in one call, so that no call blocks the server for long. More than that is
/// [`Error::TooManyBuckets`].
const MAX_BUCKETS: usize = 1000;

/// The handler of RL.MULTI.
struct Multi;

impl Handler for Multi {
    fn counters() -> &'static Counters {
        static COUNTERS: Counters = Counters::new();
        &COUNTERS
    }

    /// Reads all buckets, decides at one instant, and stores what has changed: after a denial usually nothing. Charges
    /// on one bucket are decided in the order of the arguments.
    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        let limits = parse(call.words_after_name())?;
        let now = clock::now();
        let mut batch = Batch::read(call, &limits, now)?;
        let mut decisions = Vec::with_capacity(limits.len());
        let denied = decide_batch(&mut batch.buckets, &batch.charges, |decision| {
            decisions.push(decision);
        });
        batch.save()?;
        if let Some((index, decision)) = denied.and_then(|at| Some((at, decisions.get(at)?))) {
            denials::count(call, 1 + WORDS * index, decision, now);
        }
        let algorithms = limits.iter().map(|limit| limit.algorithm);
        Ok(Reply::Batch(denied, algorithms.zip(decisions).collect()))
    }
}

/// One bucket of a call, as its words describe it.
///
/// Its key is not here: the key is opened by the number of its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// `TOKEN` or `LEAKY`.
    algorithm: Algorithm,
    /// Rate and capacity. Both must be the same wherever a call names the same key.
    policy: Policy,
    /// The tokens to take. Zero takes nothing, and is denied while the bucket is in debt.
    cost: Tokens,
}

/// Reads the words after the command's name. The keys are skipped.
///
/// The result has as many elements as the call has buckets, in the order of the arguments, at least one and at most
/// [`MAX_BUCKETS`].
///
/// # Errors
///
/// [`Error::WrongArity`] unless there are five words for each bucket, [`Error::TooManyBuckets`], and the errors of
/// [`Words`] for the first word that is wrong. No key was opened then.
pub(super) fn parse<'a>(
    words: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Vec<Limit>, Error> {
    if words.len() == 0 || !words.len().is_multiple_of(WORDS) {
        return Err(Error::WrongArity);
    }
    let buckets = words.len() / WORDS;
    if buckets > MAX_BUCKETS {
        return Err(Error::TooManyBuckets);
    }
    let mut limits = Vec::with_capacity(buckets);
    let mut words = Words::new("rl.multi", words);
    for _ in 0..buckets {
        let _key = words.any()?;
        limits.push(Limit {
            algorithm: words.algorithm()?,
            policy: words.policy("capacity")?,
            cost: words.tokens()?,
        });
    }
    Ok(limits)
}

/// The buckets of a call, each key once, and which of them each charge goes to.
///
/// `keys` and `buckets` are in the same order, that of the names. `charges` is in the order of the arguments, which is
/// that of the reply.
struct Batch<'a, 'c> {
    keys: Keys<'a, 'c>,
    buckets: Vec<BatchBucket>,
    charges: Vec<Charge>,
}

impl<'a, 'c> Batch<'a, 'c> {
    /// Opens the bucket of each key. Equal keys are found by sorting the names, which is the `N log N` of the
    /// complexity.
    ///
    /// # Errors
    ///
    /// [`Error::TwoPolicies`] if a key comes under two policies, [`Error::WrongType`] or [`Error::OtherAlgorithm`] if
    /// one holds something else. Nothing has changed then.
    fn read(call: &'a mut Call<'c>, limits: &[Limit], now: UnixMicros) -> Result<Self, Error> {
        let names = call.words_after_name().step_by(WORDS);
        let mut by_name: Vec<_> = names.zip(limits).enumerate().collect();
        by_name.sort_by_key(|(_, (name, _))| *name);
        let mut batch = Self {
            keys: Keys::new(call, limits.len()),
            buckets: Vec::with_capacity(limits.len()),
            charges: limits
                .iter()
                .map(|limit| Charge {
                    bucket: 0,
                    cost: limit.cost,
                })
                .collect(),
        };
        let mut previous: Option<(&[u8], &Limit)> = None;
        for (index, (name, limit)) in by_name {
            match previous {
                Some((same, other)) if same == name => same_policy(limit, other)?,
                _ => batch.add(1 + WORDS * index, limit, now)?,
            }
            if let Some(charge) = batch.charges.get_mut(index) {
                charge.bucket = batch.buckets.len() - 1;
            }
            previous = Some((name, limit));
        }
        Ok(batch)
    }

    /// Reads the bucket in the key that argument `argument` names, and appends it.
    fn add(&mut self, argument: usize, limit: &Limit, now: UnixMicros) -> Result<(), Error> {
        let state = self.keys.read(argument)?;
        let bucket = Bucket::open(state, limit.algorithm, limit.policy, now)?;
        self.buckets.push(BatchBucket::new(bucket));
        Ok(())
    }

    /// Stores the buckets. After a denial some may have a change too, as [`BatchBucket::change`] says.
    fn save(self) -> Result<(), Error> {
        self.keys.save(self.buckets.iter().map(BatchBucket::change))
    }
}

/// Charges on one key add up, so they must be charges on the same bucket. Equal rates may be written differently:
/// `60/m` is `1/s`.
fn same_policy(one: &Limit, other: &Limit) -> Result<(), Error> {
    if (one.algorithm, one.policy) == (other.algorithm, other.policy) {
        Ok(())
    } else {
        Err(Error::TwoPolicies)
    }
}
