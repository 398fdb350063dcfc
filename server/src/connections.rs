//! Client connections: accepting, bounding, serving and closing them.
//!
//! [`listener`] opens the socket, with the help of [`unix_socket`] if it is one. [`acceptor`] accepts connections and keeps
//! their number below the maximum,
//! [`eviction`] chooses which ones to close for new ones, and [`connection`] serves one of them. This folder does not
//! know what the responses are: [`serve`] takes the routes as an argument.
//!
//! Each listener has one task that accepts, and each connection one task that serves it. [`activity`] is what the two
//! share, and [`delivery`] tells it when a response has been sent. Time-outs and evictions act on whole connections
//! only; the deadline for one request is in [`crate::limiter`].

pub(crate) mod acceptor;
mod activity;
mod connection;
mod delivery;
mod eviction;
mod listener;
mod unix_socket;

pub use self::acceptor::serve;
pub use self::listener::{Listener, listen};
