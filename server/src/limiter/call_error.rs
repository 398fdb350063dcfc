//! Why a call to Redis has no decision. Pure.

use super::pipeline::Closed;
use crate::limit::Unavailable;
use crate::redis_address::Node;

/// Why a call has no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The connection was closed before the reply arrived.
    Closed,
    /// The reply cannot belong to this call. Redis, or a proxy in front of it, sent one reply too many or too few.
    Mismatched,
    /// Redis did not decide, for this reason.
    Undecided(Unavailable),
    /// MOVED: this node serves the slot of the key.
    Moved(Node),
    /// ASK: this node may have the key already. It accepts this one call after ASKING.
    Ask(Node),
}

impl From<Closed> for CallError {
    fn from(_closed: Closed) -> Self {
        Self::Closed
    }
}

impl From<CallError> for Unavailable {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Closed | CallError::Mismatched => Self::NoAnswer,
            CallError::Undecided(reason) => reason,
            CallError::Moved(_) => Self::Refused("MOVED".to_owned()),
            CallError::Ask(_) => Self::Refused("ASK".to_owned()),
        }
    }
}
