//! What every call of a command goes through: catch panics, run the handler, count the outcome, send the reply.

use crate::error::Error;
use crate::redis::{Call, Command, guard};
use crate::reply::{self, Reply};
use crate::stats::{Counters, Outcome};

/// What one command does. It is implemented by a type without values, in the command's file.
pub(crate) trait Handler {
    /// The counters of its calls, shown by `INFO rl`.
    fn counters() -> &'static Counters;

    /// Carries out one call. An error leaves every key as it was.
    fn handle(call: &mut Call<'_>) -> Result<Reply, Error>;

    /// How a reply of this command is counted.
    fn outcome(reply: &Reply) -> Outcome {
        Outcome::of_charge(reply)
    }
}

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
