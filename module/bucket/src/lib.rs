//! Token bucket and leaky bucket in exact integers.
//!
//! A [`Policy`] is a [`Rate`] and a capacity. A [`Bucket`] is one caller's policy at one instant, made from what was
//! stored of it; it decides one [`Request`] and says what is to be stored next. The crate reads no clock and knows no
//! Redis: the instant is an argument, the [`State`] is 44 bytes.
//!
//! # The arithmetic
//!
//! A rate of `count` tokens per `period` microseconds is kept in lowest terms. One token is `period` **units**, and one
//! microsecond gives back `count` units. So every quantity is an integer, and under one rate nothing is rounded but the
//! reply. Of a bucket only what is **used** is kept, in units: 0 when it is new, so a new bucket needs no state, and a
//! changed capacity needs no correction.
//!
//! **Token bucket.** `used` is what was taken and is not yet refilled. A request of cost c is allowed when
//! `used + c * period <= capacity * period`: a burst of `capacity` at once, then the rate.
//!
//! **Leaky bucket.** `used` is what is in the bucket and has not yet leaked out. A request is allowed under the same
//! condition, and is told its **delay**: the time until what was in the bucket before it has leaked out. Callers that wait
//! for it leave at an even rate (a queue); callers that do not have a meter, which allows what the token bucket allows.
//!
//! Ten tokens a second, twenty at once:
//!
//! ```
//! use rl_bucket::{Algorithm, Bucket, Change, Policy, Rate, Request, Tokens, UnixMicros};
//!
//! let rate = Rate::parse(b"10/s").ok_or("a rate")?;
//! let policy = Policy::new(rate, Tokens::new(20).ok_or("too many")?).ok_or("no capacity")?;
//! let now = UnixMicros::new(1_700_000_000_000_000);
//!
//! let mut bucket = Bucket::new(Algorithm::Token, policy, now);
//! let decision = bucket.decide(Request::Cost(Tokens::ONE)).map_err(|_| "too much debt")?;
//! assert_eq!((decision.allowed, decision.remaining, decision.reset_after_ms), (1, 19, 100));
//! assert!(matches!(bucket.change(), Change::Store(_)));
//! # Ok::<(), &str>(())
//! ```
//!
//! # Rounding
//!
//! `remaining` is rounded down; `retry_after`, `reset_after` and `delay` are rounded up, to milliseconds. A changed period
//! rounds `used` up to the new unit. So no rounding ever admits more, and a caller that waits as told is let through.
//!
//! # Time
//!
//! What has passed until now counts at the rate that was stored, from now on at the one that is asked for. A clock that
//! goes back makes no tokens: no time has passed, the later instant is kept, and every wait is counted from now until the
//! clock is past it again. Only if now lies further back than the bucket takes to empty from full is it taken as the new
//! instant, so that nobody is locked out for longer than that.
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod bucket;
mod decision;
mod policy;
mod quotient;
mod rate;
mod state;
mod time;
mod together;
mod tokens;

pub use bucket::{Algorithm, Bucket, Change, DebtTooLarge, OtherAlgorithm, Request};
pub use decision::Decision;
pub use policy::Policy;
pub use rate::Rate;
pub use state::State;
pub use time::UnixMicros;
pub use together::{Member, Part, decide_together};
pub use tokens::Tokens;
