//! What a command replies, and how that is sent. Redis-cell's form of a decision is in `redis_cell.rs`.
//!
//! A handler returns a [`Reply`], and `dispatch.rs` sends it. So the order and the number of values in each reply are
//! decided here alone, and clients, among them `rl-server`, rely on them: no value may change its place.

use std::ffi::CString;

use rl_bucket::{Algorithm, Decision, State};

use crate::error::Error;
use crate::frequent_keys::FrequentKey;
use crate::redis::Context;
use crate::redis_cell;

/// The reply of a command that succeeded. A denial is one too: it is no error.
pub(crate) enum Reply {
    /// Null: RL.PEEK and RL.INFO of a key that does not exist. A bucket that was never used has no key, so this says
    /// that it is full (token) or empty (leaky).
    Nil,
    /// An array of integers, [`Decision::to_wire`]: allowed, limit, remaining, retry_after_ms, reset_after_ms, and for
    /// a leaky bucket delay_ms. A bucket of 20 tokens that refills 10 a second and loses one replies `1 20 19 0 100`.
    Decision(Algorithm, Decision),
    /// RL.MULTI: the index of the first bucket that denied (from 0, `None` if all allowed), and the decision of each,
    /// in the order of the arguments.
    Batch(Option<usize>, Vec<(Algorithm, Decision)>),
    /// RL.THROTTLE and CL.THROTTLE: the form of redis-cell.
    RedisCell(Decision),
    /// RL.TOP: for each key an array of the key, the estimate and the overestimate.
    Top(Vec<FrequentKey>),
    /// RL.INFO: a map. Boxed, because it is larger than all other replies.
    Info(Box<Info>),
}

/// The reply of RL.INFO. The times count from the instant of the call.
pub(crate) struct Info {
    /// The bucket as it is stored. What was refilled since then is not in it, but in the fields below.
    pub(crate) state: State,
    /// Whole tokens left now, rounded down.
    pub(crate) remaining: u64,
    /// How long until one token is left, in milliseconds, rounded up; 0 if one is left now. `None`, sent as -1, would
    /// mean never, which a cost of one rules out: every capacity is at least that.
    pub(crate) retry_after_ms: Option<u64>,
    /// How long until the bucket is full (token bucket) or empty (leaky bucket) again, in milliseconds, rounded up.
    pub(crate) reset_after_ms: u64,
}

/// Sends the one reply of a call: Redis expects exactly one from each.
///
/// The server frames a reply by the counts that are sent first, so an array that announces another number of elements
/// than it has would break the connection of the client.
pub(crate) fn send(context: Context, result: &Result<Reply, Error>) {
    match result {
        Ok(Reply::Nil) => context.reply_nil(),
        Ok(Reply::Decision(algorithm, decision)) => send_decision(context, *algorithm, decision),
        Ok(Reply::Batch(denied, decisions)) => send_batch(context, *denied, decisions),
        Ok(Reply::RedisCell(decision)) => send_integers(context, &redis_cell::reply(decision)),
        Ok(Reply::Top(keys)) => send_top(context, keys),
        Ok(Reply::Info(info)) => send_info(context, info),
        Err(Error::WrongArity) => context.reply_wrong_arity(),
        Err(error) => context.reply_error(&CString::new(error.to_string()).unwrap_or_default()),
    }
}

/// Sends five integers for a token bucket, six for a leaky one, whose last is the delay.
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

/// Sends an array of integers.
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

/// Sends the list of RL.TOP.
fn send_top(context: Context, keys: &[FrequentKey]) {
    context.reply_array(keys.len());
    for key in keys {
        context.reply_array(3);
        context.reply_text(&key.key);
        context.reply_integer(integer(key.estimate));
        context.reply_integer(integer(key.overestimate));
    }
}

/// A number as RESP has it. One that is larger becomes the largest.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Sends the map of RL.INFO: algorithm, rate, limit, remaining, retry_after_ms, reset_after_ms, updated_us.
///
/// The rate is text, in the shortest form of [`rl_bucket::Rate`], which need not be the one that was sent. `updated_us`
/// is the stored instant in microseconds since the Unix epoch, unlike the durations before it.
fn send_info(context: Context, info: &Info) {
    let policy = info.state.policy();
    let integers = [
        ("limit", integer(policy.capacity().get())),
        ("remaining", integer(info.remaining)),
        ("retry_after_ms", info.retry_after_ms.map_or(-1, integer)),
        ("reset_after_ms", integer(info.reset_after_ms)),
        ("updated_us", integer(info.state.updated().get())),
    ];
    context.reply_map(2 + integers.len());
    context.reply_text(b"algorithm");
    context.reply_text(info.state.algorithm().name().as_bytes());
    context.reply_text(b"rate");
    context.reply_text(policy.rate().to_string().as_bytes());
    for (name, value) in integers {
        context.reply_text(name.as_bytes());
        context.reply_integer(value);
    }
}
