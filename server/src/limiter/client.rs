//! The Redis client: connects, logs in, and sends the calls that [`super::wire`] encodes over a [`Pipeline`].
//!
//! It sets no deadlines for calls and judges no connection; that is in [`super::live_connection`]. No call is sent
//! twice.

use std::io;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::debug;

use super::call_error::CallError;
use super::denied_keys::{DeniedKey, denied_keys, write_top};
use super::dial::dial;
use super::error_reply::{error_code, refused};
use super::pipeline::{Closed, End, Pipeline};
use super::resp::{Reply, Word, write_call};
use super::slots::Slots;
use super::wire::{
    decisions, is_transaction, transaction_decisions, write_request, write_transaction,
};
use crate::limit::{Decisions, LimitRequest, Unavailable};
use crate::redis_address::{Node, Server};
use crate::threads::Thread;

/// Why a connection could not be made.
#[derive(Clone, Debug)]
pub(super) struct ConnectError {
    /// The reason for clients.
    pub(super) reason: Unavailable,
    /// The details for the log. It may contain addresses, so clients never see it.
    pub(super) detail: String,
}

impl ConnectError {
    /// There was no answer within `limit`.
    pub(super) fn timed_out(limit: Duration) -> Self {
        Self {
            reason: Unavailable::NoAnswer,
            detail: format!("no answer within {limit:?}"),
        }
    }
}

impl From<Unavailable> for ConnectError {
    fn from(reason: Unavailable) -> Self {
        let detail = reason.to_string();
        Self { reason, detail }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self {
            reason: Unavailable::NoAnswer,
            detail: error.to_string(),
        }
    }
}

impl From<Closed> for ConnectError {
    fn from(_closed: Closed) -> Self {
        Self {
            reason: Unavailable::NoAnswer,
            detail: "the connection was closed".to_owned(),
        }
    }
}

/// A connection that many calls use at once. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pipeline: Pipeline,
    /// Whether the user may run transactions. Empty until one is needed.
    transactions: OnceCell<bool>,
}

impl Connection {
    /// Connects and logs in. The bytes are read and written on `thread`. `on_end` is called when the connection ends.
    ///
    /// Without a time-out: the caller sets one.
    pub(super) async fn open(
        server: &Server,
        thread: &Thread,
        on_end: impl FnOnce(End) + Send + 'static,
    ) -> Result<Self, ConnectError> {
        let (pipeline, driver) = Pipeline::new(dial(server).await?);
        thread.spawn_first(async {
            let end = driver.await;
            if let End::Lost(error) = &end {
                debug!("connection to Redis: {error}");
            }
            on_end(end);
        });
        let connection = Self {
            pipeline,
            transactions: OnceCell::new(),
        };
        connection.log_in(server).await?;
        Ok(connection)
    }

    async fn log_in(&self, server: &Server) -> Result<(), ConnectError> {
        if let Some((user, password)) = server.login() {
            self.query(["AUTH", user, password]).await?;
        }
        if server.database() != 0 {
            let database = server.database().to_string();
            self.query(["SELECT", &database]).await?;
        }
        Ok(())
    }

    /// Makes a call that is not about a bucket.
    async fn query<'a>(
        &self,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<Reply, ConnectError> {
        let words: Vec<_> = words.into_iter().map(Word::Text).collect();
        let reply = self.pipeline.call(|buffer| write_call(buffer, &words));
        match reply.await? {
            Reply::Error(error) => Err(ConnectError {
                reason: Unavailable::Refused(error_code(&error).to_owned()),
                detail: error,
            }),
            reply => Ok(reply),
        }
    }

    /// Sends the request and waits for its decisions.
    ///
    /// It is one call, unless it forces or refunds a charge of several buckets: no command does that, so it is one
    /// transaction.
    pub(super) async fn decide(&self, request: &LimitRequest) -> Result<Decisions, CallError> {
        if is_transaction(request) {
            // Boxed, since it is rare and would make the future of every request larger.
            return Box::pin(self.transact(request)).await;
        }
        let reply = self.pipeline.call(|buffer| write_request(buffer, request));
        decisions(reply.await?, request)
    }

    async fn transact(&self, request: &LimitRequest) -> Result<Decisions, CallError> {
        let is_allowed = self.transactions.get_or_try_init(|| self.may_transact());
        if !*is_allowed.await? {
            let reason = Unavailable::Refused("NOPERM".to_owned());
            return Err(CallError::Undecided(reason));
        }
        let count = request.limits.len() + 2;
        let replies = self
            .pipeline
            .calls(count, |buffer| write_transaction(buffer, request));
        transaction_decisions(replies.await?, request)
    }

    /// Whether the user may run MULTI and EXEC. If MULTI were Redis would make the calls behind it one by one.
    async fn may_transact(&self) -> Result<bool, CallError> {
        let replies = self.pipeline.calls(2, |buffer| {
            write_call(buffer, &[Word::Text("MULTI")]);
            write_call(buffer, &[Word::Text("EXEC")]);
        });
        Ok(matches!(
            replies.await?.as_slice(),
            [Reply::Status(_), Reply::Integers(_)]
        ))
    }

    /// Like [`Connection::decide`], for a node that is still importing the slot of the keys. ASKING precedes the call.
    ///
    /// A transaction is refused: each of its calls would need an ASKING of its own.
    pub(super) async fn decide_importing(
        &self,
        request: &LimitRequest,
    ) -> Result<Decisions, CallError> {
        if is_transaction(request) {
            let reason = Unavailable::Refused("ASK".to_owned());
            return Err(CallError::Undecided(reason));
        }
        let replies = self.pipeline.calls(2, |buffer| {
            write_call(buffer, &[Word::Text("ASKING")]);
            write_request(buffer, request);
        });
        decisions(replies.await?.pop().unwrap_or(Reply::Null), request)
    }

    /// Asks the connected node, whose name is `node`, which node of the cluster serves which slots.
    pub(super) async fn slots(&self, node: &Node) -> Result<Slots<Node>, CallError> {
        let words = ["CLUSTER", "SLOTS"].map(Word::Text);
        let reply = self.pipeline.call(|buffer| write_call(buffer, &words));
        let slots: Option<Slots<Node>> = match reply.await? {
            Reply::Error(error) => return Err(refused(&error)),
            Reply::Array(ranges) => ranges.iter().map(|range| slot_range(range, node)).collect(),
            // No range at all.
            Reply::Integers(_) => Some(Slots::from_iter([])),
            _ => None,
        };
        slots.ok_or(CallError::Mismatched)
    }

    /// Asks which keys were denied most.
    pub(super) async fn denied_keys(&self) -> Result<Vec<DeniedKey>, CallError> {
        denied_keys(&self.pipeline.call(write_top).await?)
    }

    /// Asks a Sentinel for the address of the primary `name`.
    async fn primary(&self, name: &str) -> Result<Node, ConnectError> {
        let reply = self
            .query(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name])
            .await?;
        sentinel_address(&reply).ok_or_else(|| ConnectError {
            reason: Unavailable::NoAnswer,
            detail: format!("the Sentinel does not monitor a primary named {name}"),
        })
    }
}

/// Asks one Sentinel for the address of the primary `name`. Connecting and the reply may take `time_limit` each.
pub(super) async fn primary_by_sentinel(
    sentinel: &Server,
    name: &str,
    thread: &Thread,
    time_limit: Duration,
) -> Result<Node, ConnectError> {
    let timed_out = |_elapsed| ConnectError::timed_out(time_limit);
    let opened = timeout(time_limit, Connection::open(sentinel, thread, |_end| {})).await;
    let connection = opened.map_err(timed_out)??;
    let primary = timeout(time_limit, connection.primary(name)).await;
    primary.map_err(timed_out)?
}

/// Decodes a host and a port, which a Sentinel sends as text.
fn sentinel_address(reply: &Reply) -> Option<Node> {
    let Reply::Array(address) = reply else {
        return None;
    };
    let [Reply::Text(host), Reply::Text(port)] = address.as_slice() else {
        return None;
    };
    let port = str::from_utf8(port).ok()?.parse().ok()?;
    let host = String::from_utf8(host.clone()).ok()?;
    Some(Node { host, port })
}

/// Decodes one entry of CLUSTER SLOTS: first slot, last slot and primary. An unknown host is that of `replied`, the
/// node that sent the entry.
fn slot_range(range: &Reply, replied: &Node) -> Option<(u16, u16, Node)> {
    let Reply::Array(range) = range else {
        return None;
    };
    let [
        Reply::Integer(first),
        Reply::Integer(last),
        Reply::Array(primary),
        ..,
    ] = range.as_slice()
    else {
        return None;
    };
    let [host, Reply::Integer(port), ..] = primary.as_slice() else {
        return None;
    };
    let host = match host {
        Reply::Text(host) if !host.is_empty() && host.as_slice() != b"?" => {
            String::from_utf8(host.clone()).ok()?
        }
        _ => replied.host.clone(),
    };
    let port = u16::try_from(*port).ok()?;
    Some((
        u16::try_from(*first).ok()?,
        u16::try_from(*last).ok()?,
        Node { host, port },
    ))
}
