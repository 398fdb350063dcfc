//! RL.TOP: lists the keys that were denied most, lately.
//!
//! It shows the names of keys whatever the key patterns of the user's ACL rules, so it belongs to `@admin` and
//! `@dangerous`, and not to `@ratelimit`. The list is that of one server: denials are neither stored nor replicated.

use crate::args::Words;
use crate::describe::CommandSpec;
use crate::dispatch::Handler;
use crate::error::Error;
use crate::redis::{Argument, Call, Documentation, Kind};
use crate::reply::Reply;
use crate::stats::{Counters, Outcome};
use crate::{clock, denials};

/// `RL.TOP [COUNT n] [RESET]`
pub(super) const TOP: CommandSpec = CommandSpec {
    writes: false,
    fast: false,
    admin: true,
    keys: None,
    ..CommandSpec::new::<Top>(
        c"rl.top",
        Documentation {
            summary: c"Returns the keys that were denied most often lately.",
            complexity: c"O(N log N) where N is the number of counters, 256",
            arity: -1,
            arguments: &[
                Argument::new(c"count", Kind::Integer)
                    .with_token(c"COUNT")
                    .optional(),
                Argument::new(c"reset", Kind::Word)
                    .with_token(c"RESET")
                    .optional(),
            ],
        },
    )
};

/// The number of keys if there is no `COUNT`.
const DEFAULT_COUNT: usize = 10;

/// The handler of RL.TOP.
struct Top;

impl Handler for Top {
    fn counters() -> &'static Counters {
        static COUNTERS: Counters = Counters::new();
        &COUNTERS
    }

    fn handle(call: &mut Call<'_>) -> Result<Reply, Error> {
        let (count, reset) = parse(call.words_after_name())?;
        let keys = denials::most_denied(count, clock::now());
        if reset {
            denials::clear();
        }
        Ok(Reply::Top(keys))
    }

    fn outcome(_: &Reply) -> Outcome {
        Outcome::Peeked
    }
}

/// Reads `[COUNT n] [RESET]`, in this order: how many keys at most, and whether the list is emptied afterwards.
pub(super) fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<(usize, bool), Error> {
    let mut words = Words::new("rl.top", words);
    let (count, reset) = words.count_and_reset()?;
    words.end()?;
    let count = count.map(|count| usize::try_from(count.get()).unwrap_or(usize::MAX));
    Ok((count.unwrap_or(DEFAULT_COUNT), reset))
}
