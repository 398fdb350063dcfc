//! When a Redis that does not answer is no longer asked: the circuit breaker, pure.
//!
//! ```text
//!              opened                      lost
//! Connecting ----------> Connected ------------------> Connecting
//!     |                    |                               |
//!     | failed             | silent, turned away           | failed
//!     v        opened      v                               v
//!   Gone   <----------   Gone                            Gone
//! ```
//!
//! Requests wait only while Connecting, which ends with the first attempt to connect, and for the answer while Connected.
//! While Gone nobody waits: the attempts go on beside the requests, and the first that succeeds brings all of them back.

use std::fmt;

use super::traffic::MAX_TIMEOUTS;
use crate::limit::Unavailable;
use crate::metrics::BreakerState;

/// Refusals that have nothing to do with the call: this connection leads to a server that decides for nobody.
const NOT_SERVING_CODES: [&str; 4] = ["LOADING", "MASTERDOWN", "NOAUTH", "READONLY"];

/// Whether Redis is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkState<C> {
    /// Not known: whoever asks waits, within its deadline, for the attempt that is being made.
    Connecting,
    /// Whoever asks is sent over this connection.
    Connected(C),
    /// Nobody asks, for this reason.
    Gone(Unavailable),
}

impl<C> LinkState<C> {
    /// What that is for a breaker.
    pub(super) fn breaker(&self) -> BreakerState {
        match self {
            Self::Connecting => BreakerState::Connecting,
            Self::Connected(_) => BreakerState::Closed,
            Self::Gone(_) => BreakerState::Open,
        }
    }
}

impl<C: Clone> LinkState<C> {
    /// What is to be used, or why there is none. `None` while that is not known.
    pub(super) fn known(&self) -> Option<Result<C, Unavailable>> {
        match self {
            Self::Connecting => None,
            Self::Connected(connection) => Some(Ok(connection.clone())),
            Self::Gone(reason) => Some(Err(reason.clone())),
        }
    }
}

/// What ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DisconnectReason {
    /// It was closed, by whomever.
    Lost,
    /// Calls got no answer.
    Silent,
    /// A reply does not fit its call, so no reply on this connection can be trusted.
    Mismatched,
    /// The server decides for nobody, with this error code.
    Rejecting(String),
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the connection is closed"),
            Self::Mismatched => f.write_str("a reply does not fit its call; connecting anew"),
            Self::Silent => write!(f, "{MAX_TIMEOUTS} calls in a row got no answer"),
            Self::Rejecting(code) => write!(f, "every call is refused: {code}"),
        }
    }
}

impl DisconnectReason {
    /// Whether a call that was refused with this error code ends the connection for all.
    pub(super) fn by(code: &str) -> Option<Self> {
        let all = NOT_SERVING_CODES.contains(&code);
        all.then(|| Self::Rejecting(code.to_owned()))
    }

    /// What comes after the connection. One that was closed may have been idle, so that nothing is known of Redis.
    pub(super) fn phase<C>(self) -> LinkState<C> {
        match self {
            Self::Lost | Self::Mismatched => LinkState::Connecting,
            end => LinkState::Gone(end.into()),
        }
    }
}

impl From<DisconnectReason> for Unavailable {
    fn from(end: DisconnectReason) -> Self {
        match end {
            DisconnectReason::Lost | DisconnectReason::Silent | DisconnectReason::Mismatched => {
                Self::NoAnswer
            }
            DisconnectReason::Rejecting(code) => Self::Refused(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_call_leaves_the_connection_and_one_of_all_ends_it() {
        for code in [
            "OOM",
            "NOPERM",
            "WRONGTYPE",
            "ERR",
            "MOVED",
            "CLUSTERDOWN",
            "BUSY",
            "loading",
        ] {
            assert_eq!(DisconnectReason::by(code), None);
        }
        for code in NOT_SERVING_CODES {
            assert_eq!(
                DisconnectReason::by(code),
                Some(DisconnectReason::Rejecting(code.to_owned()))
            );
        }
    }

    #[test]
    fn nobody_waits_for_a_silent_server_or_one_that_turns_all_away_and_all_do_for_a_lost_connection()
     {
        let phase = DisconnectReason::phase::<()>;
        assert_eq!(
            phase(DisconnectReason::Silent),
            LinkState::Gone(Unavailable::NoAnswer)
        );
        let readonly = DisconnectReason::Rejecting("READONLY".to_owned());
        assert_eq!(
            phase(readonly),
            LinkState::Gone(Unavailable::Refused("READONLY".to_owned()))
        );
        assert_eq!(phase(DisconnectReason::Lost), LinkState::Connecting);
        assert_eq!(phase(DisconnectReason::Mismatched), LinkState::Connecting);
    }
}
