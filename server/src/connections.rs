//! Connections of clients: accepting them, bounding how many there are and what each may hold, serving and closing them.
//!
//! What is answered is not known here: [`acceptor::serve`] is handed the routes.

pub(crate) mod acceptor;
mod activity;
mod connection;
mod delivery;
mod listener;

pub use self::acceptor::serve;
pub use self::listener::listen;
