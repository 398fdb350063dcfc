//! Rate limits inside Redis and Valkey: RL.TOKEN and RL.LEAKY and their kin.
//!
//! What a bucket is and decides is `rl-bucket`'s; here stand the edges. Where to read: `commands` is what a command does,
//! `args` how its words are read, `reply` and `error` what it says, `cell` what redis-cell's users find unchanged,
//! `clock` the one reading of the time, `docs` what the server tells of each command (in C's shape: `describe`), `load` how they get there,
//! `listeners` whether anyone hears of a change, `guard` where a panic ends,
//! `stats` what INFO counts, and `redis` with what is below it all that touches the raw Redis API, which it holds behind a
//! small safe face.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod args;
mod cell;
mod clock;
mod commands;
mod describe;
mod docs;
mod error;
mod guard;
mod listeners;
mod load;
mod multi;
mod redis;
mod reply;
mod stats;
