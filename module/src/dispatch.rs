//! What every call of a command goes through: catch panics, run the handler, count the outcome, send the reply.
//!
//! A command is a type without values that implements [`Handler`]; every such type is a [`Command`], and so has an
//! entry point that Redis can call. What the handlers do is in the files below `commands/`. A handler neither counts
//! nor replies: it returns, and this file does both.

use crate::error::Error;
use crate::redis::{Call, Command, guard};
use crate::reply::{self, Reply};
use crate::stats::{Counters, Outcome};

/// What one command does. It is implemented by a type without values, in the command's file.
///
/// The type must have no values because Redis hands an entry point no data of its own: all that a handler has is the
/// call. The shortest one is that of RL.PEEK, in `commands/inspect.rs`.
pub(crate) trait Handler {
    /// The counters of its calls, shown by `INFO rl`.
    ///
    /// They are a `static` inside the function. CL.THROTTLE returns those of RL.THROTTLE, so that one line of INFO has
    /// both.
    fn counters() -> &'static Counters;

    /// Carries out one call. An error leaves every key as it was.
    ///
    /// Read and check all words before the first key is opened, so that a call with a wrong word has no effect. Nothing
    /// may be replied here.
    ///
    /// # Errors
    ///
    /// Every [`Error`] except [`Error::Internal`], which stands for a panic.
    fn handle(call: &mut Call<'_>) -> Result<Reply, Error>;

    /// How a reply of this command is counted. Commands that charge nothing override it; errors do not come here, since
    /// all of them count as [`Outcome::Failed`].
    fn outcome(reply: &Reply) -> Outcome {
        Outcome::of_charge(reply)
    }
}

/// A panic is caught between the handler and Redis, which would not survive it. The call is then answered with
/// [`Error::Internal`] and counted as a panic, not by its outcome.
impl<H: Handler> Command for H {
    fn call(mut call: Call<'_>) {
        let context = call.context();
        let replied = guard(|| {
            let result = H::handle(&mut call);
            let outcome = result.as_ref().map_or(Outcome::Failed, H::outcome);
            H::counters().count(outcome);
            reply::send(context, &result);
        });
        if replied.is_none() {
            reply::send(context, &Err(Error::Internal));
        }
    }
}
