//! RL.THROTTLE and CL.THROTTLE: charge a token bucket with the arguments and the reply of redis-cell.

use rl_bucket::{Algorithm, Bucket, Capacity, Policy, Rate, Request, State};

use crate::args::Words;
use crate::describe::{CommandSpec, KEY};
use crate::dispatch::Handler;
use crate::error::Error;
use crate::redis::{Argument, Call, Documentation, Key, Kind};
use crate::reply::Reply;
use crate::stats::Counters;
use crate::{clock, denials, redis_cell};

/// `RL.THROTTLE key max_burst count period [quantity]`
pub(super) const THROTTLE: CommandSpec =
    CommandSpec::new::<Throttle>(c"rl.throttle", DOCUMENTATION);

/// `CL.THROTTLE key max_burst count period [quantity]`
pub(super) const CL_THROTTLE: CommandSpec =
    CommandSpec::new::<ClThrottle>(c"cl.throttle", DOCUMENTATION);

const DOCUMENTATION: Documentation = Documentation {
    summary: c"Takes tokens from a token bucket, with the arguments and the reply of redis-cell.",
    complexity: c"O(1)",
    arity: -5,
    arguments: &[
        KEY,
        Argument::new(c"max_burst", Kind::Integer),
        Argument::new(c"count", Kind::Integer),
        Argument::new(c"period", Kind::Integer),
        Argument::new(c"quantity", Kind::Integer).optional(),
    ],
};

struct Throttle;

impl Handler for Throttle {
    fn counters() -> &'static Counters {
        static COUNTERS: Counters = Counters::new();
        &COUNTERS
    }

    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        charge(call, "rl.throttle")
    }
}

struct ClThrottle;

impl Handler for ClThrottle {
    fn counters() -> &'static Counters {
        Throttle::counters()
    }

    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        charge(call, "cl.throttle")
    }
}

fn charge(call: &mut Call<'_>, command: &'static str) -> Result<Reply, Error> {
    let (policy, request) = parse(command, call.words_after_key())?;
    let mut key = call.open_for_writing(1)?;
    let now = clock::now();
    let state = match value_of_redis_cell(&key).and_then(redis_cell::resets_at) {
        Some(resets_at) => {
            let algorithm = Algorithm::Token;
            Some(State::resetting_at(algorithm, policy, resets_at, now))
        }
        None => key.state()?,
    };
    let mut bucket = Bucket::open(state, Algorithm::Token, policy, now)?;
    let decision = bucket.decide(request)?;
    key.save(bucket.change())?;
    denials::count(call, 1, &decision, now);
    Ok(Reply::RedisCell(decision))
}

/// A value that redis-cell may have stored, if the module was loaded to take such values over.
fn value_of_redis_cell<'k>(key: &'k Key<'_>) -> Option<&'k [u8]> {
    redis_cell::takes_over().then(|| key.string_with_deadline(redis_cell::VALUE_LEN))?
}

/// Reads the words after the key: `count` tokens per `period` seconds, and a capacity of `max_burst` and one more.
pub(super) fn parse<'a>(
    command: &'static str,
    words: impl Iterator<Item = &'a [u8]>,
) -> Result<(Policy, Request), Error> {
    let mut words = Words::new(command, words);
    let max_burst = words.tokens()?.get();
    let count = words.at_least_one("count")?.get();
    let period_s = words.at_least_one("period")?.get();
    let quantity = words.tokens_or_one()?;
    words.end()?;
    let capacity = Capacity::new(max_burst.saturating_add(1)).ok_or(Error::OutOfRange)?;
    let rate = Rate::new(count.into(), u128::from(period_s).saturating_mul(1_000_000));
    let policy = Policy::new(rate.ok_or(Error::OutOfRange)?, capacity);
    Ok((policy, Request::Cost(quantity)))
}
