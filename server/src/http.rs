//! The HTTP contract: from a request to the bucket that it asks about, and from a decision to the answer.
//!
//! [`routes`] and [`health`] are the handlers. The rest is what they are made of: reading a request ([`caller`], [`query`],
//! [`negotiate`], [`screening`]), and writing an answer ([`response`], [`headers`], [`body`], [`problem`], [`error`]).

mod body;
mod caller;
mod cors;
mod error;
mod fallback;
mod headers;
mod health;
mod negotiate;
mod page;
mod problem;
mod query;
mod response;
mod routes;
mod screening;
mod shaping;

pub use self::fallback::site;
pub use self::health::Operations;
pub use self::routes::router;
