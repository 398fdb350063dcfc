//! RL.MULTI: several limits, all of them charged or none.

use rl_bucket::{BatchBucket, Bucket, Charge, UnixMicros, decide_batch};

use crate::args::Limit;
use crate::error::Error;
use crate::redis::{Call, Keys};
use crate::reply::Reply;
use crate::{args, clock};

/// How many words a part has, its key first.
const WORDS: usize = 5;

/// `RL.MULTI key TOKEN|LEAKY rate capacity cost [key TOKEN|LEAKY rate capacity cost ...]`
pub(crate) fn multi(call: &mut Call<'_>) -> Result<Reply, Error> {
    let limits = args::multi(call.words_after_name())?;
    let mut batch = Batch::read(call, &limits, clock::now())?;
    let mut decisions = Vec::with_capacity(limits.len());
    let denied = decide_batch(&mut batch.buckets, &batch.charges, |decision| {
        decisions.push(decision);
    });
    batch.save()?;
    let algorithms = limits.iter().map(|limit| limit.algorithm);
    Ok(Reply::Together(denied, algorithms.zip(decisions).collect()))
}

/// Every key, once, with the bucket in it, and which of them each part is charged to.
struct Batch<'a, 'c> {
    keys: Keys<'a, 'c>,
    buckets: Vec<BatchBucket>,
    charges: Vec<Charge>,
}

impl<'a, 'c> Batch<'a, 'c> {
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
        let mut before: Option<(&[u8], &Limit)> = None;
        for (place, (name, limit)) in by_name {
            match before {
                Some((same, other)) if same == name => same_policy(limit, other)?,
                _ => batch.add(1 + WORDS * place, limit, now)?,
            }
            if let Some(charge) = batch.charges.get_mut(place) {
                charge.bucket = batch.buckets.len() - 1;
            }
            before = Some((name, limit));
        }
        Ok(batch)
    }

    fn add(&mut self, argument: usize, limit: &Limit, now: UnixMicros) -> Result<(), Error> {
        let state = self.keys.read(argument)?;
        let bucket = Bucket::open(state, limit.algorithm, limit.policy, now)?;
        self.buckets.push(BatchBucket::new(bucket));
        Ok(())
    }

    fn save(self) -> Result<(), Error> {
        self.keys.save(self.buckets.iter().map(BatchBucket::change))
    }
}

/// Both costs count, so they must be of one bucket.
fn same_policy(one: &Limit, other: &Limit) -> Result<(), Error> {
    if (one.algorithm, one.policy) == (other.algorithm, other.policy) {
        Ok(())
    } else {
        Err(Error::TwoPolicies)
    }
}
