//! Every error reply, word for word. After an error every key is as it was.
//!
//! Reasons not to load or unload the module are in `load.rs` and `unload.rs`.

use std::fmt;

use rl_bucket::{Algorithm, DebtTooLarge, OtherAlgorithm};

/// Why a command failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Error {
    /// Too few words. Redis has its own reply for that.
    WrongArity,
    InvalidRate,
    /// Not a whole number, above 2^48 - 1, or a debt that would be above 2^48 - 1.
    OutOfRange,
    /// Zero where at least one is required.
    Zero {
        what: &'static str,
        command: &'static str,
    },
    Syntax,
    TooManyBuckets,
    TwoPolicies,
    /// The key holds another type, or a string that is no bucket.
    WrongType,
    OtherAlgorithm {
        found: Algorithm,
    },
    /// The server cannot replicate the change, because its SET or DEL was renamed.
    NotReplicated,
    /// A panic was caught. That is a bug of the module; the server's log has the details.
    Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongArity => "ERR wrong number of arguments",
            Self::InvalidRate => {
                "ERR invalid rate: expected <number>[/[<n>]<unit>], such as 10, 0.5/s, 600/m or 5/30s"
            }
            Self::OutOfRange => "ERR value is not an integer or out of range",
            Self::Zero { what, command } => {
                return write!(f, "ERR invalid {what} in '{command}' command");
            }
            Self::Syntax => "ERR syntax error",
            Self::TooManyBuckets => "ERR too many buckets",
            Self::TwoPolicies => "ERR one key under two policies",
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            Self::OtherAlgorithm {
                found: Algorithm::Token,
            } => "WRONGTYPE Key holds a token bucket, not a leaky bucket",
            Self::OtherAlgorithm {
                found: Algorithm::Leaky,
            } => "WRONGTYPE Key holds a leaky bucket, not a token bucket",
            Self::NotReplicated => "ERR cannot replicate: the server's SET or DEL is renamed",
            Self::Internal => "ERR internal error",
        })
    }
}

impl From<OtherAlgorithm> for Error {
    fn from(OtherAlgorithm(found): OtherAlgorithm) -> Self {
        Self::OtherAlgorithm { found }
    }
}

impl From<DebtTooLarge> for Error {
    fn from(_: DebtTooLarge) -> Self {
        Self::OutOfRange
    }
}
