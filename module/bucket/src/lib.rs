//! Token bucket and leaky bucket rate limiting in exact integer arithmetic.
//!
//! A [`Policy`] is a [`Rate`] and a [`Capacity`]. A [`Bucket`] applies a policy to one caller at one instant: it is
//! opened from the stored [`State`], decides a [`Request`], and returns the [`Change`] to store. The crate reads no
//! clock, stores nothing and allocates nothing. The caller passes the instant and keeps 44 bytes a bucket.
//!
//! # The two algorithms
//!
//! **Token bucket.** The bucket holds at most `capacity` tokens and starts full. Tokens are added at the rate while it
//! is not full. A request of cost c is allowed if at least c tokens are there, and takes them out. So a burst of
//! `capacity` passes at once, and in the long run the rate passes. This is the committed bucket of the single rate
//! meter in [RFC 2697], with CIR = rate and CBS = capacity.
//!
//! **Leaky bucket.** The bucket holds at most `capacity` tokens and starts empty. It leaks at the rate while it is not
//! empty. A request of cost c is allowed if c more tokens fit, and pours them in. There are two ways to use it:
//!
//! - As a *meter* the test is all there is, and an allowed request proceeds at once. This is the counter of J. Turner,
//!   "New directions in communications (or which way to the information age?)", IEEE Communications Magazine 24 (10),
//!   1986. It is the token bucket seen from the other side: what is poured in here is what is missing there, so both
//!   allow the same.
//! - As a *queue* an allowed request waits until everything before it has leaked, and requests leave at the rate. The
//!   wait is [`Decision::delay_ms`]. The crate computes it; the caller does the waiting. A caller that ignores it has a
//!   meter.
//!
//! The generic cell rate algorithm (GCRA, ITU-T [I.371]) is the same meter for requests of cost 1. In its terms the
//! increment T is the time of one token, the limit is (capacity - 1) T, and the theoretical arrival time is the instant
//! at which the bucket is full (token bucket) or empty (leaky bucket) again.
//!
//! # Units and formulas
//!
//! A rate is kept as `count` tokens per `period` microseconds in lowest terms. One token is divided into `period`
//! **units**, so that one microsecond refills (or leaks) exactly `count` units. All quantities are then integers, and
//! no fraction of a token is lost between requests. A bucket stores one quantity, `used`: the units taken and not yet
//! refilled (token bucket), or poured in and not yet leaked (leaky bucket). It is 0 for a new bucket of either kind,
//! and it does not contain the capacity.
//!
//! | quantity | formula | rounded |
//! |---|---|---|
//! | refill, leak | `used = max(0, used - count * elapsed)` | not |
//! | allowed | `used + cost * period <= capacity * period` | not |
//! | `remaining`, in tokens | `(capacity * period - used) / period` | down |
//! | `retry_after` of a denial | `(used + cost * period - capacity * period) / count` | up |
//! | `reset_after` | `used / count`, with `used` after the request | up |
//! | `delay` of a leaky bucket | `used / count`, with `used` before the request | up |
//! | `used` at a new period | `used * new_period / period` | up |
//!
//! Every rounding is against the caller: none admits more than the policy does. Times are computed in microseconds and
//! given in milliseconds. So a caller that waits for `retry_after` is allowed, and one that waits a millisecond less is
//! not.
//!
//! # Worked example
//!
//! Ten tokens a second and a capacity of five. In lowest terms that is 1 token per 100,000 microseconds: a token is
//! 100,000 units, a microsecond refills 1 unit, the capacity is 500,000 units. Three requests of cost 3 (300,000
//! units):
//!
//! | at | refilled | used before | used + cost | answer | used after |
//! |---|---|---|---|---|---|
//! | 0 ms | | 0 | 300,000 | allowed: 2 remain, full in 300 ms, delay 0 ms | 300,000 |
//! | 50 ms | 50,000 | 250,000 | 550,000 | denied: 50,000 units too many, retry after 50 ms | 250,000 |
//! | 100 ms | 50,000 | 200,000 | 500,000 | allowed: 0 remain, full in 500 ms, delay 200 ms | 500,000 |
//!
//! The delays are those of a leaky bucket, which is empty, not full, after the same times. In code:
//!
//! ```
//! use rl_bucket::{Algorithm, Bucket, Capacity, Change, Policy, Rate, Request, State, Tokens, UnixMicros};
//!
//! let rate = Rate::parse(b"10/s").ok_or("a rate")?;
//! let policy = Policy::new(rate, Capacity::new(5).ok_or("a capacity")?);
//! let cost = Request::Cost(Tokens::new(3).ok_or("a cost")?);
//! let start_us = 1_700_000_000_000_000;
//! let mut stored: Option<State> = None; // a new bucket has no state
//!
//! let mut decide = |after_ms: u64| -> Result<_, &str> {
//!     let now = UnixMicros::new(start_us + after_ms * 1000);
//!     let bucket = Bucket::open(stored, Algorithm::Leaky, policy, now);
//!     let mut bucket = bucket.map_err(|_| "the state is of a token bucket")?;
//!     let decision = bucket.decide(cost).map_err(|_| "the debt is too large")?;
//!     match bucket.change() {
//!         Change::Nothing => {}
//!         Change::Store(state) => stored = Some(state),
//!         Change::Remove => stored = None,
//!     }
//!     Ok(decision.to_wire())
//! };
//! // allowed, limit, remaining, retry_after_ms, reset_after_ms, delay_ms
//! assert_eq!(decide(0), Ok([1, 5, 2, 0, 300, 0]));
//! assert_eq!(decide(50), Ok([0, 5, 2, 50, 250, 0]));
//! assert_eq!(decide(100), Ok([1, 5, 0, 0, 500, 200]));
//! # Ok::<(), &str>(())
//! ```
//!
//! # Ranges
//!
//! Tokens, the count and the period are at most 2^48 - 1, so units are below 2^96, and the refill of any 64-bit time
//! below 2^112: no sum or product passes 128 bits. Instants are 64-bit microseconds. No input panics. What is out of
//! range is refused where it is read ([`Tokens::new`], [`Capacity::new`], [`Rate::new`], [`State::decode`]), except a
//! forced cost, which depends on the bucket and is refused with [`DebtTooLarge`]. Times above [`Decision::LONGEST_MS`]
//! are given as that.
//!
//! # Changed policies and clocks
//!
//! The policy comes with each request and may differ from the stored one. The time until now counts at the stored rate,
//! the time from now on at the new one. A larger capacity gives its additional tokens at once, a smaller one takes them
//! at once.
//!
//! A clock that goes back adds no tokens: no time has passed, the bucket keeps the later instant, and every wait
//! contains the time until the clock reaches it again. A clock that goes back by more than the time that the whole
//! capacity takes to refill (leak) is taken as the new time instead, so that no caller waits longer than that for the
//! clock.
//!
//! # What is easy to get wrong
//!
//! - `600/m` and `10/s` are the same rate. Only the capacity says how much passes at once.
//! - A `retry_after_ms` of `None` means never: the cost is above the capacity. It does not mean now.
//! - A decision lasts only if its [`Change`] is stored, and storing must be atomic with reading the state.
//! - [`Change::Nothing`] means that nothing may be written. A denial, too, has something to store if the rate changed.
//! - After [`Request::Force`] a bucket can be in debt: more is used than it holds. `remaining` is then 0, even a cost
//!   of zero is denied, and `reset_after_ms` is longer than the whole capacity takes.
//! - The state must not be deleted before [`State::resets_at_ms`]: the caller would start over with a new bucket.
//!
//! [RFC 2697]: https://www.rfc-editor.org/rfc/rfc2697
//! [I.371]: https://www.itu.int/rec/T-REC-I.371
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

mod algorithm;
mod batch;
mod bucket;
mod decimal;
mod decision;
mod policy;
mod quotient;
mod rate;
mod state;
mod time;
mod tokens;

pub use algorithm::Algorithm;
pub use batch::{BatchBucket, Charge, decide_batch};
pub use bucket::{Bucket, Change, DebtTooLarge, OtherAlgorithm, Request};
pub use decision::Decision;
pub use policy::Policy;
pub use rate::Rate;
pub use state::State;
pub use time::UnixMicros;
pub use tokens::{Capacity, Tokens};
