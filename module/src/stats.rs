//! What `INFO rl` counts since the module was loaded.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::listeners;
use crate::reply::Reply;

/// The commands that are counted apart; CL.THROTTLE counts as RL.THROTTLE.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    Token,
    Leaky,
    Peek,
    Info,
    Multi,
    Throttle,
}

/// Their names in INFO, which puts `rl_` before each.
const NAMES: [&CStr; 6] = [c"token", c"leaky", c"peek", c"info", c"multi", c"throttle"];

/// What may become of a call. A denial that no wait can help is `never` and not `denied`.
const OUTCOMES: [&CStr; 5] = [c"allowed", c"denied", c"never", c"peeked", c"failed"];

static CALLS: [[AtomicU64; OUTCOMES.len()]; NAMES.len()] =
    [const { [const { AtomicU64::new(0) }; OUTCOMES.len()] }; NAMES.len()];
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts one call by what became of it.
pub(crate) fn count(command: Counted, outcome: &Result<Reply, Error>) {
    let counter = CALLS
        .get(command as usize)
        .and_then(|calls| calls.get(place(command, outcome)));
    if let Some(counter) = counter {
        increment(counter);
    }
}

/// Counts a panic that was caught.
pub(crate) fn count_panic() {
    increment(&PANICS);
}

/// Redis runs commands on one thread, so that a load and a store lose nothing and cost less than a locked addition.
fn increment(counter: &AtomicU64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

/// The place of an outcome in [`OUTCOMES`].
fn place(command: Counted, outcome: &Result<Reply, Error>) -> usize {
    let (allowed, never) = match (command, outcome) {
        (_, Err(_)) => return 4,
        (Counted::Peek | Counted::Info, _) | (_, Ok(Reply::Nil | Reply::Info(_))) => return 3,
        (_, Ok(Reply::Decision(_, decision) | Reply::Cell(decision))) => {
            (decision.allowed > 0, decision.retry_after_ms.is_none())
        }
        (_, Ok(Reply::Together(denied, told))) => (
            denied.is_none(),
            told.iter()
                .any(|(_, decision)| decision.retry_after_ms.is_none()),
        ),
    };
    match (allowed, never) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 2,
    }
}

/// Tells all that was counted: `command` tells a command's line, and `number` each of the numbers after them.
pub(crate) fn tell(
    mut command: impl FnMut(&CStr, &mut dyn Iterator<Item = (&'static CStr, u64)>),
    mut number: impl FnMut(&CStr, u64),
) {
    for (name, calls) in NAMES.iter().zip(&CALLS) {
        let counts = calls.iter().map(|counter| counter.load(Ordering::Relaxed));
        command(name, &mut OUTCOMES.iter().copied().zip(counts));
    }
    number(c"panics", PANICS.load(Ordering::Relaxed));
    number(c"propagating", listeners::are_there().into());
}
