//! What a command replies, and how that is sent. Redis-cell's form of a decision is in `redis_cell.rs`.

use std::ffi::CString;

use rl_bucket::{Algorithm, Decision, State};

use crate::error::Error;
use crate::redis::Context;
use crate::redis_cell;

/// The reply of a command that succeeded.
pub(crate) enum Reply {
    Nil,
    Decision(Algorithm, Decision),
    /// RL.MULTI: the index of the first bucket that denied, and the decision of each.
    Batch(Option<usize>, Vec<(Algorithm, Decision)>),
    /// The form of redis-cell.
    RedisCell(Decision),
    /// Boxed, because it is larger than all other replies.
    Info(Box<Info>),
}

/// The reply of RL.INFO.
pub(crate) struct Info {
    pub(crate) state: State,
    pub(crate) remaining: u64,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) reset_after_ms: u64,
}

/// Sends the one reply of a call.
pub(crate) fn send(context: Context, result: &Result<Reply, Error>) {
    match result {
        Ok(Reply::Nil) => context.reply_nil(),
        Ok(Reply::Decision(algorithm, decision)) => send_decision(context, *algorithm, decision),
        Ok(Reply::Batch(denied, decisions)) => send_batch(context, *denied, decisions),
        Ok(Reply::RedisCell(decision)) => send_integers(context, &redis_cell::reply(decision)),
        Ok(Reply::Info(info)) => send_info(context, info),
        Err(Error::WrongArity) => context.reply_wrong_arity(),
        Err(error) => context.reply_error(&CString::new(error.to_string()).unwrap_or_default()),
    }
}

fn send_decision(context: Context, algorithm: Algorithm, decision: &Decision) {
    let integers = decision.to_wire();
    match algorithm {
        Algorithm::Token => {
            let [integers @ .., _delay] = integers;
            send_integers(context, &integers);
        }
        Algorithm::Leaky => send_integers(context, &integers),
    }
}

fn send_integers(context: Context, integers: &[i64]) {
    context.reply_array(integers.len());
    for integer in integers {
        context.reply_integer(*integer);
    }
}

/// Whether all are allowed, the number of the first bucket that denied (0 if none, else from 1 on), and each decision.
fn send_batch(context: Context, denied: Option<usize>, decisions: &[(Algorithm, Decision)]) {
    context.reply_array(2 + decisions.len());
    context.reply_integer(i64::from(denied.is_none()));
    context.reply_integer(denied.map_or(0, |index| i64::try_from(index + 1).unwrap_or(i64::MAX)));
    for (algorithm, decision) in decisions {
        send_decision(context, *algorithm, decision);
    }
}

fn send_info(context: Context, info: &Info) {
    let policy = info.state.policy();
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
    context.reply_text(info.state.algorithm().name());
    context.reply_text("rate");
    context.reply_text(&policy.rate().to_string());
    for (name, value) in integers {
        context.reply_text(name);
        context.reply_integer(value);
    }
}
