//! The HTTP contract of `rl-server`.
//!
//! `GET /token` and `GET /leaky` limit the caller's address:
//!
//! ```text
//! 200 {"allowed":true,"ip":"127.0.0.1","message":"Request allowed",...}
//! 429 {"allowed":false,"ip":"127.0.0.1","message":"Rate limit exceeded",...}
//! 400 {"error":"..."}                    a query that cannot be asked
//! 503 {"error":"..."}                    Redis cannot decide; the error says why
//! ```
//!
//! `GET /` is a page that shows both at work, for those who ask for HTML, and a list of the endpoints for others.
//!
//! The buckets are in Redis: [`Limiter`] asks it, within a deadline, and knows what to do without it. What is pure stands
//! apart: [`Config`] from flags and environment, whose request it is, the caller's key, the response from the decision.

mod accept;
mod activity;
mod body;
mod caller;
mod client_address;
mod config;
mod connection;
mod cors;
mod delivery;
mod error;
mod headers;
mod limiter;
mod listener;
mod logging;
mod metrics;
mod operations;
mod page;
mod problem;
mod query;
mod response;
mod routes;
mod screening;
mod seldom;
mod serving;
mod shaping;
mod shutdown;

pub use client_address::{ClientIpHeader, Networks, Proxies};
pub use config::{
    AnswerFlags, CallerFlags, Config, LogForm, LogLevel, OnOutage, OperatingFlags, PolicyFlags,
    RedisFlags, ServingFlags, ShapingFlags,
};
pub use cors::Origins;
pub use error::{Overload, Unavailable};
pub use limiter::{Answer, Asked, Limiter, RedisAddress};
pub use listener::listen;
pub use logging::start_logging;
pub use metrics::Metrics;
pub use operations::Operations;
pub use routes::router;
pub use serving::serve;
pub use shutdown::Shutdown;
