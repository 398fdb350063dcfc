//! Rate limiting inside Redis and Valkey: RL.TOKEN, RL.LEAKY, RL.MULTI, RL.THROTTLE, RL.PEEK, RL.INFO and RL.TOP.
//!
//! `rl-bucket` decides; this crate connects it to the server. A call goes through these files:
//!
//! - `redis` is the C API behind safe functions, and the only unsafe code.
//! - `dispatch` takes each call: it catches panics, runs the handler, counts the outcome (`stats`) and sends the
//!   `reply`.
//! - `commands` is the table of commands. Each file below it has one command, or two that share their grammar: the
//!   handler, how it reads its words (with `args`), and its documentation (with `describe`).
//! - `redis_cell` is what CL.THROTTLE and RL.THROTTLE have in common with the module redis-cell.
//! - `denials` counts denials by key for RL.TOP, with the algorithm of `frequent_keys`.
//! - `load` registers everything, `unload` says when the module must stay, `clock` reads the time, `error` has every
//!   error.
//!
//! Everything runs on the main thread of the server, inside a call from it, and the server serves no other client
//! meanwhile. So reading a bucket, deciding and storing it is atomic without a lock, and nothing here may block. The
//! module starts no thread and keeps no bucket in its own memory: all of them are strings in the keyspace, so that
//! snapshots, replication, eviction and cluster resharding work on them as on any other key.
//!
//! Files import each other only downwards; `tests/it/layers.rs` has the table and checks it.
#![deny(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod args;
mod clock;
mod commands;
mod denials;
mod describe;
mod dispatch;
mod error;
mod frequent_keys;
mod load;
#[expect(unsafe_code, reason = "the C API of Redis takes and gives pointers")]
mod redis;
mod redis_cell;
mod reply;
mod stats;
mod unload;

redis::module::module!(crate::load::load, crate::unload::may_unload);
