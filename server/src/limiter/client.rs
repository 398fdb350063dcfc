//! The Redis client: connects, and sends the calls that [`super::wire`] encodes. These two files and
//! [`crate::redis_address`] alone use the `redis` crate.
//!
//! It sets no deadlines for calls and judges no connection; that is in [`super::live_connection`]. No call is sent
//! twice: the crate's multiplexed connection does not retry either.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, PushInfo, PushKind, RedisError, Value,
};

use tokio::sync::OnceCell;

use super::call_error::CallError;
use super::slots::Slots;
use super::wire::{command, decisions, refused, transaction, transaction_decisions};
use crate::limit::{Decisions, LimitRequest, Unavailable};
use crate::redis_address::{Node, Server};

/// The number of calls that may wait to be written.
const PIPELINE_CALLS: usize = 1024;

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

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        let reason = match (error.kind(), error.code()) {
            (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => {
                Unavailable::Refused(code.to_owned())
            }
            _ => Unavailable::NoAnswer,
        };
        Self {
            reason,
            detail: error.to_string(),
        }
    }
}

/// A connection that many calls use at once. Dropping the last clone closes it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    connection: MultiplexedConnection,
    /// Whether the user may run transactions. Empty until one is needed.
    transactions: Arc<OnceCell<bool>>,
}

impl Connection {
    /// Connects and logs in. `on_close` is called when the other side closes the connection, or an error does.
    ///
    /// Without a time-out: the caller sets one.
    pub(super) async fn open(
        server: &Server,
        on_close: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ConnectError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_CALLS)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    on_close();
                }
                Ok::<_, SendError>(())
            });
        let client = Client::open(server.clone())?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let connection = connection.await.map_err(ConnectError::from)?;
        Ok(Self {
            connection,
            transactions: Arc::default(),
        })
    }

    /// Sends the request and waits for its decisions.
    ///
    /// It is one call, unless it forces or refunds a charge of several buckets: no command does that, so it is one
    /// transaction.
    pub(super) async fn decide(&self, request: &LimitRequest) -> Result<Decisions, CallError> {
        match transaction(request) {
            None => {
                let mut connection = self.connection.clone();
                let reply = connection.send_packed_command(&command(request)).await;
                decisions(reply.map_err(|_| CallError::Closed)?, request)
            }
            // Boxed, since it is rare and would make the future of every request larger.
            Some(calls) => Box::pin(self.transact(&calls, request)).await,
        }
    }

    async fn transact(
        &self,
        calls: &Pipeline,
        request: &LimitRequest,
    ) -> Result<Decisions, CallError> {
        let is_allowed = self.transactions.get_or_try_init(|| self.may_transact());
        if !*is_allowed.await? {
            let reason = Unavailable::Refused("NOPERM".to_owned());
            return Err(CallError::Undecided(reason));
        }
        transaction_decisions(self.send_all(calls).await?, request)
    }

    /// Whether the user may run MULTI and EXEC. If MULTI were refused, Redis would make the calls behind it one by one.
    async fn may_transact(&self) -> Result<bool, CallError> {
        let mut calls = redis::pipe();
        calls.cmd("MULTI").cmd("EXEC");
        let replies = self.send_all(&calls).await?;
        Ok(matches!(replies.as_slice(), [Value::Okay, Value::Array(_)]))
    }

    /// Sends calls together and returns their replies, of which some may be errors.
    async fn send_all(&self, calls: &Pipeline) -> Result<Vec<Value>, CallError> {
        let mut connection = self.connection.clone();
        let replies = connection.send_packed_commands(calls, 0, calls.len());
        replies.await.map_err(|_| CallError::Closed)
    }

    /// Like [`Connection::decide`], for a node that is still importing the slot of the keys. ASKING precedes the call.
    ///
    /// A transaction is refused: each of its calls would need an ASKING of its own.
    pub(super) async fn decide_importing(
        &self,
        request: &LimitRequest,
    ) -> Result<Decisions, CallError> {
        if transaction(request).is_some() {
            let reason = Unavailable::Refused("ASK".to_owned());
            return Err(CallError::Undecided(reason));
        }
        let mut commands = redis::pipe();
        commands.cmd("ASKING").add_command(command(request));
        let replies = self
            .connection
            .clone()
            .send_packed_commands(&commands, 1, 1)
            .await;
        let reply = replies.map_err(|_| CallError::Closed)?.pop();
        decisions(reply.unwrap_or_default(), request)
    }

    /// Asks the connected node, whose name is `node`, which node of the cluster serves which slots.
    pub(super) async fn slots(&self, node: &Node) -> Result<Slots<Node>, CallError> {
        let mut query = redis::cmd("CLUSTER");
        let reply = self
            .connection
            .clone()
            .send_packed_command(query.arg("SLOTS"))
            .await;
        let slots: Option<Slots<Node>> = match reply.map_err(|_| CallError::Closed)? {
            Value::ServerError(error) => return Err(refused(&error)),
            Value::Array(ranges) => ranges.iter().map(|range| slot_range(range, node)).collect(),
            _ => None,
        };
        slots.ok_or(CallError::Mismatched)
    }
}

/// Asks one Sentinel for the address of the primary `name`. Connecting and the reply may take `time_limit` each.
pub(super) async fn primary_by_sentinel(
    sentinel: Server,
    name: &str,
    time_limit: Duration,
) -> Result<Node, ConnectError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(time_limit))
        .set_response_timeout(Some(time_limit));
    let client = Client::open(sentinel)?;
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut query = redis::cmd("SENTINEL");
    let query = query.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let address: Option<(String, u16)> = query.query_async(&mut connection).await?;
    let (host, port) = address.ok_or_else(|| ConnectError {
        reason: Unavailable::NoAnswer,
        detail: format!("the Sentinel does not monitor a primary named {name}"),
    })?;
    Ok(Node { host, port })
}

/// Decodes one entry of CLUSTER SLOTS: first slot, last slot and primary. An unknown host is that of `replied`, the
/// node that sent the entry.
fn slot_range(range: &Value, replied: &Node) -> Option<(u16, u16, Node)> {
    let Value::Array(range) = range else {
        return None;
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(primary),
        ..,
    ] = range.as_slice()
    else {
        return None;
    };
    let [host, Value::Int(port), ..] = primary.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => {
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
