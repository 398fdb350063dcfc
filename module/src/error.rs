//! Every error reply, word for word. After an error every key is as it was.
//!
//! The first word of a reply is its code, by which clients distinguish errors: `ERR`, or `WRONGTYPE` if the key holds
//! something else. The texts are part of the interface and do not change. None contains anything that a client sent, so
//! no argument can forge a line of the reply.
//!
//! Reasons not to load or unload the module are in `load.rs` and `unload.rs`.

use std::fmt;

use rl_bucket::{Algorithm, DebtTooLarge, OtherAlgorithm};

/// Why a command failed. [`Display`](fmt::Display) is the text of the reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Error {
    /// Too few words, or for RL.MULTI a number of them that is no multiple of five. Redis has its own reply for that,
    /// which names the command, so the text here is not sent.
    ///
    /// Redis 7.0 and newer check the minimum themselves before they call the module; older servers leave it to the
    /// module.
    WrongArity,
    /// [`rl_bucket::Rate::parse`] refused the word: its form is wrong, or the rate is zero or cannot be held exactly.
    InvalidRate,
    /// Not a whole number, above 2^48 - 1, or a debt that would be above 2^48 - 1.
    OutOfRange,
    /// Zero where at least one is required.
    Zero {
        /// What was zero, in the words of the command: `burst`, `capacity`, `count`, `period`, `cost`, `force` or
        /// `refund`.
        what: &'static str,
        /// The name of the command in lower case, with its prefix.
        command: &'static str,
    },
    /// An unknown word where an option may be, an option without its number, or a word too many.
    Syntax,
    /// RL.MULTI names more buckets than one call may.
    TooManyBuckets,
    /// RL.MULTI names one key twice with different algorithms, rates or capacities.
    TwoPolicies,
    /// The key holds another type, or a string that is no bucket.
    WrongType,
    /// The key holds a bucket of the other algorithm. The code is WRONGTYPE as well, but the text says which one.
    OtherAlgorithm {
        /// The algorithm of the bucket in the key, which is not the one of the command.
        found: Algorithm,
    },
    /// The server cannot replicate the change, because its SET or DEL was renamed. It is found before the first key is
    /// changed.
    NotReplicated,
    /// A panic was caught. That is a bug of the module; the server's log has the details. It is the one error that says
    /// nothing about the keys: how far the call had come is not known.
    Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongArity => "ERR wrong number of arguments",
            Self::InvalidRate => {
                "ERR invalid rate: expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
                 units are ms, s, sec, m, min, h, hour, d and day"
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

/// A debt is a number of tokens, so one that is too large is reported as any number is that is out of range.
impl From<DebtTooLarge> for Error {
    fn from(_: DebtTooLarge) -> Self {
        Self::OutOfRange
    }
}
