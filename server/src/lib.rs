//! The HTTP contract of `rl-server`.
//!
//! `GET /token` and `GET /leaky` limit the caller's address:
//!
//! ```text
//! 200 {"allowed":true,"ip":"127.0.0.1","message":"Request allowed",...}
//! 429 {"allowed":false,"ip":"127.0.0.1","message":"Rate limit exceeded",...}
//! 503 {"error":"..."}                    Redis cannot decide; the error says why
//! ```
//!
//! The server holds no bucket: [`Limiter`] asks Redis, within a deadline. What is pure stands apart: [`Config`] from flags
//! and environment, whose request it is, the caller's key, the response from the decision.

mod caller;
mod client_address;
mod config;
mod error;
mod limiter;
mod listener;
mod response;
mod routes;

pub use client_address::{ClientIpHeader, Networks, Proxies};
pub use config::{CallerFlags, Config, PolicyFlags, RedisFlags, ServingFlags};
pub use error::Unavailable;
pub use limiter::{Answer, Asked, Limiter, RedisAddress};
pub use listener::{listen, serve};
pub use routes::router;
