//! The HTTP contract: which bucket a request is for, and how a decision becomes a response.
//!
//! [`routes`], [`page`], [`health`] and [`fallback`] are the handlers. They are built from files that read a request
//! ([`caller`], [`bucket_key`], [`query`], [`negotiate`], [`screening`], by the [`policies`] in force) and files that write a response ([`response`], [`headers`], [`window`],
//! [`body`], [`json`], [`problem`], [`error`], [`cors`]). [`shaping`] delays answers. Sockets live in [`crate::connections`].

mod body;
mod bucket_key;
mod caller;
mod cors;
mod error;
mod fallback;
mod headers;
mod health;
mod json;
mod negotiate;
mod page;
mod policies;
mod problem;
mod query;
mod response;
mod routes;
mod screening;
mod shaping;
mod top;
mod window;

pub use self::fallback::site;
pub use self::health::Operations;
pub use self::policies::Policies;
pub use self::routes::routers;
