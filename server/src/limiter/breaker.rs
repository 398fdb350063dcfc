//! The circuit breaker: whether calls are sent to a server, and what ends its connection. Pure.
//!
//! ```text
//!              opened                  lost, mismatched
//! Connecting ----------> Connected ---------------------> Connecting
//!     |                    |                                  |
//!     | failed             | silent, rejecting                | failed
//!     v        opened      v                                  v
//!   Gone   <----------   Gone                               Gone
//! ```
//!
//! While connecting, requests wait for the attempt, within their deadline. While connected, they wait for their
//! reply. While the server is gone they do not wait: the link keeps trying to connect, and the first success closes
//! the breaker.

use std::fmt;

use super::traffic::MAX_TIMEOUTS;
use crate::limit::Unavailable;
use crate::metrics::BreakerState;

/// Error codes of a server that refuses every call, whatever it is.
///
/// - `LOADING`: the server reads its data from disk.
/// - `MASTERDOWN`: a replica without its primary, which does not serve stale data.
/// - `NOAUTH`: the server demands a login that this connection does not have.
/// - `READONLY`: a replica, for example an old primary after a failover.
///
/// The link then connects anew until its first call is not refused so, to the address that Sentinels name by then, if
/// there are any. `OOM` and `NOPERM` are not among the codes: they depend on the command and its key.
const NOT_SERVING_CODES: [&str; 4] = ["LOADING", "MASTERDOWN", "NOAUTH", "READONLY"];

/// What is known of a server: `C` is what requests use while it is connected.
///
/// [`super::link`] keeps one for its server, and [`super::cluster`] one for the map of slots. Only the task that
/// connects changes it; requests read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkState<C> {
    /// An attempt to connect is running, and requests wait for it.
    Connecting,
    /// Requests use this.
    Connected(C),
    /// Requests fail at once, for this reason.
    Gone(Unavailable),
}

impl<C> LinkState<C> {
    /// The state of the circuit breaker: closed while calls pass.
    ///
    /// The breaker is open while the server is [`LinkState::Gone`]. There is no half-open state: attempts to connect,
    /// and not requests, find out whether the server is back.
    pub(super) fn breaker_state(&self) -> BreakerState {
        match self {
            Self::Connecting => BreakerState::Connecting,
            Self::Connected(_) => BreakerState::Closed,
            Self::Gone(_) => BreakerState::Open,
        }
    }
}

impl<C: Clone> LinkState<C> {
    /// What requests use, or why they fail. `None` while connecting, which has neither yet.
    pub(super) fn outcome(&self) -> Option<Result<C, Unavailable>> {
        match self {
            Self::Connecting => None,
            Self::Connected(connection) => Some(Ok(connection.clone())),
            Self::Gone(reason) => Some(Err(reason.clone())),
        }
    }
}

/// Why a connection is given up.
///
/// The first reason of a connection counts. [`DisconnectReason::next_state`] says what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DisconnectReason {
    /// The connection is closed.
    Lost,
    /// Several calls in a row had no reply.
    Silent,
    /// A reply does not match its call, so later replies may not match theirs either.
    Mismatched,
    /// The server refuses all calls with this error code.
    Rejecting(String),
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the connection was closed"),
            Self::Mismatched => f.write_str("a reply does not match its call"),
            Self::Silent => write!(f, "no reply to {MAX_TIMEOUTS} calls in a row"),
            Self::Rejecting(code) => write!(f, "the server refuses all calls: {code}"),
        }
    }
}

impl DisconnectReason {
    /// The reason behind an error reply with this code, which is in upper case as Redis sends it. `None` if the error
    /// is about the call only.
    pub(super) fn from_error_code(code: &str) -> Option<Self> {
        NOT_SERVING_CODES
            .contains(&code)
            .then(|| Self::Rejecting(code.to_owned()))
    }

    /// The state that follows. A lost connection may just have been idle for too long, so it says nothing about the
    /// server, and requests wait for the next one.
    pub(super) fn next_state<C>(self) -> LinkState<C> {
        match self {
            Self::Lost | Self::Mismatched => LinkState::Connecting,
            Self::Silent | Self::Rejecting(_) => LinkState::Gone(self.into()),
        }
    }
}

/// What requests get that fail for this reason. Clients see only whether Redis answers, or its error code.
impl From<DisconnectReason> for Unavailable {
    fn from(reason: DisconnectReason) -> Self {
        match reason {
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
    fn only_a_refusal_of_all_calls_ends_the_connection() {
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
            assert_eq!(DisconnectReason::from_error_code(code), None);
        }
        for code in NOT_SERVING_CODES {
            assert_eq!(
                DisconnectReason::from_error_code(code),
                Some(DisconnectReason::Rejecting(code.to_owned()))
            );
        }
    }

    #[test]
    fn requests_wait_after_a_lost_connection_only() {
        let next = DisconnectReason::next_state::<()>;
        assert_eq!(
            next(DisconnectReason::Silent),
            LinkState::Gone(Unavailable::NoAnswer)
        );
        let readonly = DisconnectReason::Rejecting("READONLY".to_owned());
        assert_eq!(
            next(readonly),
            LinkState::Gone(Unavailable::Refused("READONLY".to_owned()))
        );
        assert_eq!(next(DisconnectReason::Lost), LinkState::Connecting);
        assert_eq!(next(DisconnectReason::Mismatched), LinkState::Connecting);
    }
}
