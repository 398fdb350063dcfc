//! Counts calls by their outcome, and writes `INFO rl`.
//!
//! Each command has its own [`Counters`], in its file. All counts start at zero when the module is loaded.
//! `dispatch.rs` counts; a handler does not. A call that Redis refuses itself, for example for its ACL rules or for
//! want of memory, never reaches the module and is in no count.
//!
//! Each field has one number, such as `rl_token_allowed:3`, as exporters of INFO read them.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::redis::{InfoWriter, panics, propagation};
use crate::reply::Reply;

/// What became of a call. Each call has one outcome, RL.MULTI too, however many buckets it names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Allowed. A partial grant counts here, and so do FORCE and REFUND, which are always allowed.
    Allowed,
    /// Denied, with a wait after which the call passes.
    Denied,
    /// Denied, and no wait helps: the cost is above the capacity. Such calls show a wrong configuration, so they are
    /// not counted as [`Outcome::Denied`].
    Never,
    /// Answered without a charge, by RL.PEEK, RL.INFO or RL.TOP.
    Peeked,
    /// Answered with an error. A caught panic is not among them; [`panics`] counts those.
    Failed,
}

impl Outcome {
    /// The outcome of a command that charges a bucket. RL.MULTI counts as [`Outcome::Never`] if it was denied and no
    /// wait helps for one of its charges.
    pub(crate) fn of_charge(reply: &Reply) -> Self {
        let (allowed, never) = match reply {
            Reply::Nil | Reply::Info(_) | Reply::Top(_) => return Self::Peeked,
            Reply::Decision(_, decision) | Reply::RedisCell(decision) => {
                (decision.allowed > 0, decision.retry_after_ms.is_none())
            }
            Reply::Batch(denied, decisions) => (
                denied.is_none(),
                decisions
                    .iter()
                    .any(|(_, decision)| decision.retry_after_ms.is_none()),
            ),
        };
        match (allowed, never) {
            (true, _) => Self::Allowed,
            (false, false) => Self::Denied,
            (false, true) => Self::Never,
        }
    }
}

/// The calls of one command, by outcome. A count wraps around after 2^64 calls.
///
/// The numbers are atomic because they are in statics, not because threads compete for them.
pub(crate) struct Counters {
    allowed: AtomicU64,
    denied: AtomicU64,
    never: AtomicU64,
    peeked: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    /// All zero.
    pub(crate) const fn new() -> Self {
        Self {
            allowed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            never: AtomicU64::new(0),
            peeked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Counts one call.
    ///
    /// Redis runs commands on one thread, so a load and a store lose no count, and cost less than a locked addition.
    pub(crate) fn count(&self, outcome: Outcome) {
        let counter = self.counter(outcome);
        counter.store(
            counter.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
    }

    /// The counter of one outcome.
    fn counter(&self, outcome: Outcome) -> &AtomicU64 {
        match outcome {
            Outcome::Allowed => &self.allowed,
            Outcome::Denied => &self.denied,
            Outcome::Never => &self.never,
            Outcome::Peeked => &self.peeked,
            Outcome::Failed => &self.failed,
        }
    }

    /// The ends of the names of the command's fields in INFO, in the order in which they are written.
    fn fields(&self) -> [(&'static CStr, u64); 5] {
        [
            (c"allowed", Outcome::Allowed),
            (c"denied", Outcome::Denied),
            (c"never", Outcome::Never),
            (c"peeked", Outcome::Peeked),
            (c"failed", Outcome::Failed),
        ]
        .map(|(name, outcome)| (name, self.counter(outcome).load(Ordering::Relaxed)))
    }
}

/// The most bytes of the name of a field, with the zero at its end.
const MAX_NAME_BYTES: usize = 32;

/// Writes five fields for each command, then the number of caught panics, and whether changes are sent to replicas and the
/// AOF.
///
/// `propagating` is 1 or 0. It is 1 too while the module does not know; see [`propagation::is_enabled`].
pub(crate) fn write_info<'a>(
    writer: &InfoWriter,
    commands: impl Iterator<Item = (&'a CStr, &'a Counters)>,
) {
    for (name, counters) in commands {
        for (outcome, count) in counters.fields() {
            writer.field(field_name(&mut [0; MAX_NAME_BYTES], name, outcome), count);
        }
    }
    writer.field(c"panics", panics());
    writer.field(c"propagating", propagation::is_enabled().into());
}

/// `token_allowed` for `token` and `allowed`. It is written into the buffer, because a crash report must not allocate.
fn field_name<'b>(
    buffer: &'b mut [u8; MAX_NAME_BYTES],
    command: &CStr,
    outcome: &CStr,
) -> &'b CStr {
    let name = command.to_bytes().iter().chain(b"_");
    let name = name.chain(outcome.to_bytes_with_nul());
    for (to, from) in buffer.iter_mut().zip(name) {
        *to = *from;
    }
    CStr::from_bytes_until_nul(buffer).unwrap_or_default()
}
