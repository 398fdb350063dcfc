//! What an error that Redis replies says about a call. Pure.

use rl_bucket::Request;

use super::call_error::CallError;
use super::slots::redirection;
use crate::limit::{LimitRequest, Unavailable};
use crate::redis_address::Node;

/// Classifies an error reply to the call for a request.
pub(super) fn call_error(error: &str, request: &LimitRequest) -> CallError {
    let (code, details) = error.split_once(' ').unwrap_or((error, ""));
    let redirect = |to: fn(Node) -> CallError| {
        redirection(details, request.key().as_bytes()).map_or(CallError::Mismatched, to)
    };
    let is_forced = matches!(request.charge, Request::Force(_));
    match code {
        "MOVED" => redirect(CallError::Moved),
        "ASK" => redirect(CallError::Ask),
        "ERR" if details.starts_with("unknown command") => {
            CallError::Undecided(Unavailable::NoModule)
        }
        "ERR" if is_forced && details.ends_with("out of range") => {
            CallError::Undecided(Unavailable::DebtTooLarge {
                others_charged: false,
            })
        }
        _ => refused(error),
    }
}

/// An error that only says that Redis refused a call.
pub(super) fn refused(error: &str) -> CallError {
    CallError::Undecided(Unavailable::Refused(error_code(error).to_owned()))
}

/// The first word of an error, in upper case as Redis sends it.
pub(super) fn error_code(error: &str) -> &str {
    error.split(' ').next().unwrap_or(error)
}
