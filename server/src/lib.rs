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
//! and environment, the caller's key from its address, the response from the decision.

mod caller;
mod config;
mod error;
mod limiter;
mod listener;
mod response;
mod routes;

pub use config::{Config, PolicyFlags, RedisFlags, ServingFlags};
pub use error::Unavailable;
pub use limiter::{Answer, Asked, Limiter, RedisAddress};
pub use listener::{listen, serve};
pub use routes::router;
