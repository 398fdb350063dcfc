//! What a command answers, and how it is sent.

use std::ffi::CString;

use rl_bucket::{Algorithm, Decision, State};

use crate::cell;
use crate::error::Error;
use crate::redis::Context;

/// The answer to a call that was carried out.
pub(crate) enum Reply {
    Nil,
    Decision(Algorithm, Decision),
    /// RL.MULTI's: the first part that denied, and what each is told.
    Together(Option<usize>, Vec<(Algorithm, Decision)>),
    /// CL.THROTTLE's, in redis-cell's form.
    Cell(Decision),
    /// Apart, so that no other reply is as large.
    Info(Box<Info>),
}

/// What RL.INFO tells of a bucket.
pub(crate) struct Info {
    pub(crate) state: State,
    pub(crate) remaining: u64,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) reset_after_ms: u64,
}

/// Sends the one reply of a call.
pub(crate) fn send(context: Context, outcome: &Result<Reply, Error>) {
    match outcome {
        Ok(Reply::Nil) => context.reply_nil(),
        Ok(Reply::Decision(algorithm, decision)) => send_decision(context, *algorithm, decision),
        Ok(Reply::Together(denied, told)) => send_together(context, *denied, told),
        Ok(Reply::Cell(decision)) => send_integers(context, &cell::reply(decision)),
        Ok(Reply::Info(info)) => send_info(context, info),
        Err(Error::WrongArity) => context.reply_wrong_arity(),
        Err(error) => context.reply_error(&CString::new(error.to_string()).unwrap_or_default()),
    }
}

fn send_decision(context: Context, algorithm: Algorithm, decision: &Decision) {
    let told = decision.to_wire();
    match algorithm {
        Algorithm::Token => {
            let [told @ .., _delay] = told;
            send_integers(context, &told);
        }
        Algorithm::Leaky => send_integers(context, &told),
    }
}

fn send_integers(context: Context, integers: &[i64]) {
    context.reply_array(integers.len());
    for integer in integers {
        context.reply_integer(*integer);
    }
}

fn send_together(context: Context, denied: Option<usize>, told: &[(Algorithm, Decision)]) {
    context.reply_array(2 + told.len());
    context.reply_integer(i64::from(denied.is_none()));
    context.reply_integer(denied.map_or(0, |place| i64::try_from(place + 1).unwrap_or(i64::MAX)));
    for (algorithm, decision) in told {
        send_decision(context, *algorithm, decision);
    }
}

fn send_info(context: Context, info: &Info) {
    let policy = info.state.policy();
    let algorithm = match info.state.algorithm() {
        Algorithm::Token => "token",
        Algorithm::Leaky => "leaky",
    };
    let integer = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let integers = [
        ("limit", integer(policy.capacity().get())),
        ("remaining", integer(info.remaining)),
        ("retry_after_ms", info.retry_after_ms.map_or(-1, integer)),
        ("reset_after_ms", integer(info.reset_after_ms)),
        ("updated_us", integer(info.state.updated().get())),
    ];
    context.reply_map(2 + integers.len());
    context.reply_text("algorithm");
    context.reply_text(algorithm);
    context.reply_text("rate");
    context.reply_text(&policy.rate().to_string());
    for (name, value) in integers {
        context.reply_text(name);
        context.reply_integer(value);
    }
}
