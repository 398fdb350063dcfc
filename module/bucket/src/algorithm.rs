//! The two kinds of bucket, with the name and the stored letter of each.
//!
//! What the two compute is in `bucket.rs`. This file imports nothing, so that the stored form and the decisions can
//! both use it.

/// Token bucket or leaky bucket.
///
/// Under one policy both allow and deny the same requests. They differ in one number of the answer: an allowed request
/// of a leaky bucket has a [delay](crate::Decision::delay_ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Starts full and refills at the rate; a request takes tokens out. A burst passes at once, then the rate.
    Token,
    /// Starts empty and leaks at the rate; a request pours tokens in. A queue for callers that wait for their delay, a
    /// meter for callers that ignore it.
    Leaky,
}

impl Algorithm {
    /// `"token"` or `"leaky"`: the word that stands for the algorithm in keys, paths, headers and replies.
    ///
    /// ```
    /// use rl_bucket::Algorithm;
    /// assert_eq!(Algorithm::Token.name(), "token");
    /// assert_eq!(Algorithm::Leaky.name(), "leaky");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Leaky => "leaky",
        }
    }

    /// The first byte of the stored form. It never changes: stored buckets outlive the code that wrote them.
    pub(crate) const fn letter(self) -> u8 {
        match self {
            Self::Token => b'T',
            Self::Leaky => b'L',
        }
    }

    /// The inverse of [`Algorithm::letter`], `None` for any other byte.
    pub(crate) const fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'T' => Some(Self::Token),
            b'L' => Some(Self::Leaky),
            _ => None,
        }
    }
}
