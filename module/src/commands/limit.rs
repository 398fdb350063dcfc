//! RL.TOKEN and RL.LEAKY: charge one bucket.

use rl_bucket::{Algorithm, Bucket, Policy, Request};

use crate::args::Words;
use crate::clock;
use crate::describe::{CAPACITY, COST, CommandSpec, KEY, RATE};
use crate::dispatch::Handler;
use crate::error::Error;
use crate::redis::{Argument, Call, Documentation, Kind};
use crate::reply::Reply;
use crate::stats::Counters;

/// `RL.TOKEN key rate burst [COST n [PARTIAL] | FORCE n | REFUND n]`
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

/// `RL.LEAKY key rate capacity [COST n [PARTIAL] | FORCE n | REFUND n]`
pub(super) const LEAKY: CommandSpec = CommandSpec::new::<Leaky>(
    c"rl.leaky",
    Documentation {
        summary: c"Adds tokens to a leaky bucket if they fit, and returns the delay. Creates the bucket if needed.",
        complexity: c"O(1)",
        arity: -4,
        arguments: &[KEY, RATE, CAPACITY, REQUEST],
    },
);

/// `[COST n [PARTIAL] | FORCE n | REFUND n]`
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

fn charge(call: &mut Call<'_>, algorithm: Algorithm) -> Result<Reply, Error> {
    let (policy, request) = parse(algorithm, call.words_after_key())?;
    let mut key = call.open_for_writing(1)?;
    let mut bucket = Bucket::open(key.state()?, algorithm, policy, clock::now())?;
    let decision = bucket.decide(request)?;
    key.save(bucket.change())?;
    Ok(Reply::Decision(algorithm, decision))
}

/// Reads the words after the key.
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
