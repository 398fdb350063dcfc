//! What each command does: read the words, open the key, decide, save, reply. RL.MULTI is in `multi`.

use std::sync::atomic::{AtomicBool, Ordering};

use rl_bucket::{Algorithm, Bucket, Request, State, Tokens, UnixMicros};

use crate::error::Error;
use crate::redis::{Call, Key};
use crate::reply::{Info, Reply};
use crate::{args, cell, clock};

/// Whether a value that redis-cell left is taken over: set at load, by the module argument `cl-throttle`.
pub(crate) static TAKES_OVER: AtomicBool = AtomicBool::new(false);

/// `RL.TOKEN key rate burst [COST n [PARTIAL] | FORCE n | REFUND n]`
pub(crate) fn token(call: &mut Call<'_>) -> Result<Reply, Error> {
    limit(call, Algorithm::Token)
}

/// `RL.LEAKY key rate capacity [COST n [PARTIAL] | FORCE n | REFUND n]`
pub(crate) fn leaky(call: &mut Call<'_>) -> Result<Reply, Error> {
    limit(call, Algorithm::Leaky)
}

fn limit(call: &mut Call<'_>, algorithm: Algorithm) -> Result<Reply, Error> {
    let (policy, request) = args::limit(algorithm, call.words_after_key())?;
    let mut key = call.open_for_writing(1)?;
    let mut bucket = Bucket::open(key.state()?, algorithm, policy, clock::now())?;
    let decision = bucket.decide(request)?;
    key.save(bucket.change())?;
    Ok(Reply::Decision(algorithm, decision))
}

/// `RL.PEEK key [COST n]`
pub(crate) fn peek(call: &mut Call<'_>) -> Result<Reply, Error> {
    let request = args::peek(call.words_after_key())?;
    let Some(state) = call.open_for_reading(1)?.state()? else {
        return Ok(Reply::Nil);
    };
    let decision = Bucket::stored(state, clock::now()).decide(request)?;
    Ok(Reply::Decision(state.algorithm(), decision))
}

/// `RL.INFO key`
pub(crate) fn info(call: &mut Call<'_>) -> Result<Reply, Error> {
    args::end(call.words_after_key())?;
    let Some(state) = call.open_for_reading(1)?.state()? else {
        return Ok(Reply::Nil);
    };
    let mut bucket = Bucket::stored(state, clock::now());
    let untaken = bucket.decide(Request::Cost(Tokens::ZERO))?;
    let one = bucket.decide(Request::Cost(Tokens::ONE))?;
    Ok(Reply::Info(Box::new(Info {
        state,
        remaining: untaken.remaining,
        retry_after_ms: one.retry_after_ms,
        reset_after_ms: untaken.reset_after_ms,
    })))
}

/// `RL.THROTTLE key max_burst count period [quantity]`
pub(crate) fn throttle(call: &mut Call<'_>) -> Result<Reply, Error> {
    throttle_as("rl.throttle", call)
}

/// `CL.THROTTLE key max_burst count period [quantity]`
pub(crate) fn cl_throttle(call: &mut Call<'_>) -> Result<Reply, Error> {
    throttle_as("cl.throttle", call)
}

fn throttle_as(command: &'static str, call: &mut Call<'_>) -> Result<Reply, Error> {
    let (policy, request) = args::throttle(command, call.words_after_key())?;
    let mut key = call.open_for_writing(1)?;
    let now = clock::now();
    let state = match left_by_redis_cell(&key) {
        Some(as_new) => Some(State::resetting_at(Algorithm::Token, policy, as_new, now)),
        None => key.state()?,
    };
    let mut bucket = Bucket::open(state, Algorithm::Token, policy, now)?;
    let decision = bucket.decide(request)?;
    key.save(bucket.change())?;
    Ok(Reply::Cell(decision))
}

fn left_by_redis_cell(key: &Key<'_>) -> Option<UnixMicros> {
    if !TAKES_OVER.load(Ordering::Relaxed) {
        return None;
    }
    cell::instant(key.volatile_text(cell::VALUE_LEN)?)
}
