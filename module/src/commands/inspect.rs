//! RL.PEEK and RL.INFO: read one bucket and change nothing.
//!
//! Both are registered as read-only, so a replica answers them too. They take no policy: the bucket is looked at under
//! the one that is stored with it, and a key that does not exist gives null. Nothing is written, not even the refill
//! since the last change, which the next charge computes again.

use rl_bucket::{Bucket, Request, Tokens};

use crate::args::Words;
use crate::clock;
use crate::describe::{COST, CommandSpec, KEY};
use crate::dispatch::Handler;
use crate::error::Error;
use crate::redis::{Call, Documentation};
use crate::reply::{self, Reply};
use crate::stats::{Counters, Outcome};

/// `RL.PEEK key [COST n]`
pub(super) const PEEK: CommandSpec = CommandSpec {
    writes: false,
    ..CommandSpec::new::<Peek>(
        c"rl.peek",
        Documentation {
            summary:
                c"Returns the reply that a request to a bucket would get. The bucket isn't changed.",
            complexity: c"O(1)",
            arity: -2,
            arguments: &[KEY, COST.optional()],
        },
    )
};

/// `RL.INFO key`
pub(super) const INFO: CommandSpec = CommandSpec {
    writes: false,
    ..CommandSpec::new::<Info>(
        c"rl.info",
        Documentation {
            summary: c"Returns information about a bucket.",
            complexity: c"O(1)",
            arity: 2,
            arguments: &[KEY],
        },
    )
};

/// The handler of RL.PEEK. Its reply has the form of RL.TOKEN or RL.LEAKY, by the algorithm of the bucket.
struct Peek;

impl Handler for Peek {
    fn counters() -> &'static Counters {
        static COUNTERS: Counters = Counters::new();
        &COUNTERS
    }

    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        let request = parse_peek(call.words_after_key())?;
        let Some(state) = call.open_for_reading(1)?.state()? else {
            return Ok(Reply::Nil);
        };
        let decision = Bucket::stored(state, clock::now()).decide(request)?;
        Ok(Reply::Decision(state.algorithm(), decision))
    }

    fn outcome(_: &Reply) -> Outcome {
        Outcome::Peeked
    }
}

/// Reads the words of RL.PEEK after the key. The request is a cost, 1 if there is no `COST`; the options that charge in
/// other ways are no part of the grammar.
pub(super) fn parse_peek<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Request, Error> {
    let mut words = Words::new("rl.peek", words);
    let cost = words.cost()?;
    words.end()?;
    Ok(Request::Cost(cost))
}

/// The handler of RL.INFO.
///
/// It decides two requests on a copy of the bucket that is never stored. A cost of zero gives what is left and when the
/// bucket is reset; a cost of one then gives the wait for the next token.
struct Info;

impl Handler for Info {
    fn counters() -> &'static Counters {
        static COUNTERS: Counters = Counters::new();
        &COUNTERS
    }

    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        Words::new("rl.info", call.words_after_key()).end()?;
        let Some(state) = call.open_for_reading(1)?.state()? else {
            return Ok(Reply::Nil);
        };
        let mut bucket = Bucket::stored(state, clock::now());
        let free = bucket.decide(Request::Cost(Tokens::ZERO))?;
        let one = bucket.decide(Request::Cost(Tokens::ONE))?;
        Ok(Reply::Info(Box::new(reply::Info {
            state,
            remaining: free.remaining,
            retry_after_ms: one.retry_after_ms,
            reset_after_ms: free.reset_after_ms,
        })))
    }

    fn outcome(_: &Reply) -> Outcome {
        Outcome::Peeked
    }
}
