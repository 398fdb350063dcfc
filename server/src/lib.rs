//! The library behind the binary `rl-server`: rate limits over HTTP, decided in Redis.
//!
//! `GET /token` and `GET /leaky` limit the caller's address:
//!
//! ```text
//! 200 {"allowed":true,"ip":"127.0.0.1","message":"Request allowed",...}
//! 429 {"allowed":false,"ip":"127.0.0.1","message":"Rate limit exceeded",...}
//! 400 {"error":"..."}                    the query or the Host header is invalid
//! 503 {"error":"..."}                    Redis does not decide; the error says why
//! ```
//!
//! `/token/NAME` and `/leaky/NAME` do so by the limits of a policy in the file of `-policies`, for the caller that the
//! policy's key names, with any method.
//!
//! `GET /` is a page that shows both at work, or, for clients that do not accept HTML, a list of the endpoints.
//!
//! [`Config`] reads flags and environment. [`listen`] and [`serve`] handle connections, [`routers`] and [`Operations`]
//! handle requests. [`Limiter`] calls Redis, within a deadline, and decides what happens without it. [`Threads`] run them.
//! `main.rs` connects these parts.

#![forbid(unsafe_code)]

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
mod reload;
mod shutdown;
mod site;
mod threads;

pub use client_address::{ClientIpHeader, Networks, Peer, Proxies};
pub use config::{
    AnswerFlags, CallerFlags, Config, KeyPart, LogFormat, LogLevel, NamedLimit, NamedPolicy,
    OnOutage, OperatingFlags, Origins, PolicyFlags, RedisFlags, ServingFlags, ShapingFlags,
};
pub use connections::{Listener, listen, serve};
pub use http::{Operations, Policies, routers, site};
pub use limit::{Answer, Decisions, Limit, LimitRequest, Overload, Unavailable};
pub use limiter::{DeniedKey, Limiter, MostDenied, UnavailablePrimary};
pub use logging::start_logging;
pub use metrics::Metrics;
pub use redis_address::RedisAddress;
pub use reload::reload_on_sighup;
pub use shutdown::Shutdown;
pub use site::Site;
pub use threads::{Thread, Threads};
