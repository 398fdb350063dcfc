//! The HTTP contract: which bucket a request is for, and how a decision becomes a response.
//!
//! [`routes`], [`page`], [`health`] and [`fallback`] are the handlers. They are built from files that read a request
//! ([`caller`], [`query`], [`negotiate`], [`screening`]) and files that write a response ([`response`], [`headers`],
//! [`body`], [`problem`], [`error`], [`cors`]). [`shaping`] delays answers. Sockets live in [`crate::connections`].

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
