//! RL.TOKEN and RL.LEAKY: take tokens from one bucket, or put them back. `multi.rs` charges several at once.
//!
//! Both reply [allowed, limit, remaining, retry_after_ms, reset_after_ms], and RL.LEAKY a sixth number, delay_ms. That is
//! the difference between the two: a token bucket makes only denied callers wait, and a leaky bucket also tells allowed
//! ones how long to wait, so that they proceed at an even rate. A denial is a reply and never an error.
//!
//! [`rl_bucket`] decides, and `redis/key.rs` reads, stores and replicates what it decides on.

use rl_bucket::{Algorithm, Bucket, Policy, Request};

use crate::args::Words;
use crate::describe::{CAPACITY, COST, CommandSpec, KEY, RATE};
use crate::dispatch::Handler;
use crate::error::Error;
use crate::redis::{Argument, Call, Documentation, Kind};
use crate::reply::Reply;
use crate::stats::Counters;
use crate::{clock, denials};

/// `RL.TOKEN key rate burst [COST n [PARTIAL] | FORCE n | REFUND n]`, for example `RL.TOKEN user:42 10/s 20 COST 3`.
///
/// The burst is the capacity of the bucket, under the name that token buckets usually give it.
pub(super) const TOKEN: CommandSpec = CommandSpec::new::<Token>(
    c"rl.token",
    Documentation {
        summary:
            c"Takes tokens from a token bucket if it holds enough. Creates the bucket if needed.",
        complexity: c"O(1)",
        arity: -4,
        arguments: &[KEY, RATE, Argument::new(c"burst", Kind::Integer), REQUEST],
    },
);

/// `RL.LEAKY key rate capacity [COST n [PARTIAL] | FORCE n | REFUND n]`, for example `RL.LEAKY jobs 600/m 100`.
pub(super) const LEAKY: CommandSpec = CommandSpec::new::<Leaky>(
    c"rl.leaky",
    Documentation {
        summary: c"Adds tokens to a leaky bucket if they fit, and returns the delay. Creates the bucket if needed.",
        complexity: c"O(1)",
        arity: -4,
        arguments: &[KEY, RATE, CAPACITY, REQUEST],
    },
);

/// `[COST n [PARTIAL] | FORCE n | REFUND n]`, one token (`COST 1`) if left out:
///
/// - `COST` takes n tokens or none, and 0 takes nothing and replies with what there is. `PARTIAL` takes as many as there are.
/// - `FORCE` takes n tokens, at least 1, even if the bucket then owes them.
/// - `REFUND` puts n tokens back, at least 1, up to a full (token) or empty (leaky) bucket.
const REQUEST: Argument = Argument::new(
    c"operation",
    Kind::OneOf(&[
        Argument::new(
            c"cost-block",
            Kind::Block(&[
                COST,
                Argument::new(c"partial", Kind::Word)
                    .with_token(c"PARTIAL")
                    .optional(),
            ]),
        ),
        Argument::new(c"force", Kind::Integer).with_token(c"FORCE"),
        Argument::new(c"refund", Kind::Integer).with_token(c"REFUND"),
    ]),
)
.optional();

/// The handler of RL.TOKEN.
struct Token;

impl Handler for Token {
    fn counters() -> &'static Counters {
        static COUNTERS: Counters = Counters::new();
        &COUNTERS
    }

    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        charge(call, Algorithm::Token)
    }
}

/// The handler of RL.LEAKY.
struct Leaky;

impl Handler for Leaky {
    fn counters() -> &'static Counters {
        static COUNTERS: Counters = Counters::new();
        &COUNTERS
    }

    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        charge(call, Algorithm::Leaky)
    }
}

/// Decides one call. A missing key is a full token bucket or an empty leaky one.
///
/// The words are parsed first, so that a malformed call opens no key. A stored bucket of another rate or capacity
/// continues under those of the call; a bucket of the other algorithm is an error.
fn charge(call: &mut Call<'_>, algorithm: Algorithm) -> Result<Reply, Error> {
    let (policy, request) = parse(algorithm, call.words_after_key())?;
    // The key is the first word after the command's name.
    let mut key = call.open_for_writing(1)?;
    let now = clock::now();
    let mut bucket = Bucket::open(key.state()?, algorithm, policy, now)?;
    let decision = bucket.decide(request)?;
    // A denied request changes nothing: then nothing is written, replicated or signalled.
    key.save(bucket.change())?;
    denials::count(call, 1, &decision, now);
    Ok(Reply::Decision(algorithm, decision))
}

/// Parses the words after the key: `rate burst|capacity`, and the options of [`REQUEST`]. A word too many is an error.
///
/// Takes words and not a call, so that a test replays the fuzz corpus without a server. The names are for error
/// messages.
pub(super) fn parse<'a>(
    algorithm: Algorithm,
    words: impl Iterator<Item = &'a [u8]>,
) -> Result<(Policy, Request), Error> {
    let (command, capacity_name) = match algorithm {
        Algorithm::Token => ("rl.token", "burst"),
        Algorithm::Leaky => ("rl.leaky", "capacity"),
    };
    let mut words = Words::new(command, words);
    let policy = words.policy(capacity_name)?;
    let request = words.request()?;
    words.end()?;
    Ok((policy, request))
}
