//! RL.MULTI: several limits, all of them charged or none.

use rl_bucket::{BatchBucket, Bucket, Charge, UnixMicros, decide_batch};

use crate::args::Limit;
use crate::error::Error;
use crate::redis::{Call, Key};
use crate::reply::Reply;
use crate::{args, clock};

/// How many words a charge has, its key first.
const WORDS: usize = 5;

/// `RL.MULTI key TOKEN|LEAKY rate capacity cost [key TOKEN|LEAKY rate capacity cost ...]`
pub(crate) fn multi(call: &Call) -> Result<Reply, Error> {
    let limits = args::multi(call.words_after_name())?;
    let mut opened = Opened::new(call, &limits, clock::now())?;
    let mut told = Vec::with_capacity(limits.len());
    let denied = decide_batch(&mut opened.buckets, &opened.charges, |decision| {
        told.push(decision);
    });
    opened.save()?;
    let algorithms = limits.iter().map(|limit| limit.algorithm);
    Ok(Reply::Together(denied, algorithms.zip(told).collect()))
}

/// Every key, open once, with the bucket in it, and which of them each charge is for.
struct Opened<'a> {
    keys: Vec<Key<'a>>,
    buckets: Vec<BatchBucket>,
    charges: Vec<Charge>,
}

impl<'a> Opened<'a> {
    fn new(call: &'a Call, limits: &[Limit], now: UnixMicros) -> Result<Self, Error> {
        let mut opened = Self {
            keys: Vec::with_capacity(limits.len()),
            buckets: Vec::with_capacity(limits.len()),
            charges: limits
                .iter()
                .map(|limit| Charge {
                    bucket: 0,
                    cost: limit.cost,
                })
                .collect(),
        };
        let names = call.words_after_name().step_by(WORDS);
        let mut by_name: Vec<_> = names.zip(limits).enumerate().collect();
        by_name.sort_by_key(|(_, (name, _))| *name);
        let mut before: Option<(&[u8], &Limit)> = None;
        for (place, (name, limit)) in by_name {
            match before {
                Some((same, other)) if same == name => same_policy(limit, other)?,
                _ => opened.add(call.open_for_writing(1 + WORDS * place)?, limit, now)?,
            }
            if let Some(charge) = opened.charges.get_mut(place) {
                charge.bucket = opened.buckets.len() - 1;
            }
            before = Some((name, limit));
        }
        Ok(opened)
    }

    fn add(&mut self, mut key: Key<'a>, limit: &Limit, now: UnixMicros) -> Result<(), Error> {
        let bucket = Bucket::open(key.state()?, limit.algorithm, limit.policy, now)?;
        self.keys.push(key);
        self.buckets.push(BatchBucket::new(bucket));
        Ok(())
    }

    fn save(&mut self) -> Result<(), Error> {
        let changes = self.buckets.iter().map(BatchBucket::change);
        self.keys
            .iter_mut()
            .zip(changes)
            .try_for_each(|(key, change)| key.save(change))
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
