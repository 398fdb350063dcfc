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

mod client_address;
mod config;
mod connections;
mod http;
mod limit;
mod limiter;
mod log_throttle;
mod logging;
mod metrics;
mod redis_address;
mod shutdown;
mod site;

pub use client_address::{ClientIpHeader, Networks, Proxies};
pub use config::{
    AnswerFlags, CallerFlags, Config, LogForm, LogLevel, OnOutage, OperatingFlags, Origins,
    PolicyFlags, RedisFlags, ServingFlags, ShapingFlags,
};
pub use connections::{listen, serve};
pub use http::{Operations, router, site};
pub use limit::{Answer, LimitRequest, Overload, Unavailable};
pub use limiter::Limiter;
pub use logging::start_logging;
pub use metrics::Metrics;
pub use redis_address::RedisAddress;
pub use shutdown::Shutdown;
pub use site::Site;
