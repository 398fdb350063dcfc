//! The Redis client: connects, encodes calls and decodes their replies. Together with [`crate::redis_address`] it is
//! the only file that uses the `redis` crate.
//!
//! It sets no deadlines for calls and judges no connection; that is in [`super::live_connection`]. No call is sent
//! twice: the crate's multiplexed connection does not retry either.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, PushInfo, PushKind, RedisError, RedisWrite,
    ServerError, Value,
};
use rl_bucket::{Algorithm, Decision, Tokens};

use super::slots::{Slots, redirection};
use crate::limit::{LimitRequest, Unavailable};
use crate::redis_address::{Node, Server};

/// Room for the arguments of a call other than its key, in bytes.
const ARGUMENT_BYTES: usize = 64;

/// The number of calls that may wait to be written.
const PIPELINE_CALLS: usize = 1024;

/// Why a call has no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The connection was closed before the reply arrived.
    Closed,
    /// The reply cannot belong to this call. Redis, or a proxy in front of it, sent one reply too many or too few.
    Mismatched,
    /// Redis did not decide, for this reason.
    Undecided(Unavailable),
    /// MOVED: this node serves the slot of the key.
    Moved(Node),
    /// ASK: this node may have the key already. It accepts this one call after ASKING.
    Ask(Node),
}

impl From<CallError> for Unavailable {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Closed | CallError::Mismatched => Self::NoAnswer,
            CallError::Undecided(reason) => reason,
            CallError::Moved(_) => Self::Refused("MOVED".to_owned()),
            CallError::Ask(_) => Self::Refused("ASK".to_owned()),
        }
    }
}

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
pub(super) struct Connection(MultiplexedConnection);

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
        connection.await.map(Self).map_err(ConnectError::from)
    }

    /// Sends the request as one call and waits for its decision.
    pub(super) async fn decide(&self, request: &LimitRequest) -> Result<Decision, CallError> {
        let reply = self.0.clone().send_packed_command(&command(request)).await;
        decision(reply.map_err(|_| CallError::Closed)?, request)
    }

    /// Like [`Connection::decide`], for a node that is still importing the slot of the key.
    pub(super) async fn decide_importing(
        &self,
        request: &LimitRequest,
    ) -> Result<Decision, CallError> {
        let mut commands = redis::pipe();
        commands.cmd("ASKING").add_command(command(request));
        let replies = self.0.clone().send_packed_commands(&commands, 1, 1).await;
        let reply = replies.map_err(|_| CallError::Closed)?.pop();
        decision(reply.unwrap_or_default(), request)
    }

    /// Asks the connected node, whose name is `node`, which node of the cluster serves which slots.
    pub(super) async fn slots(&self, node: &Node) -> Result<Slots<Node>, CallError> {
        let mut query = redis::cmd("CLUSTER");
        let reply = self.0.clone().send_packed_command(query.arg("SLOTS")).await;
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

/// Encodes the call for a request.
fn command(request: &LimitRequest) -> Cmd {
    let mut command = Cmd::with_capacity(6, request.key.len() + ARGUMENT_BYTES);
    command.arg(match request.algorithm {
        Algorithm::Token => "RL.TOKEN",
        Algorithm::Leaky => "RL.LEAKY",
    });
    command.arg(&request.key);
    command.write_arg_fmt(request.policy.rate());
    command.arg(request.policy.capacity().get());
    if request.cost != Tokens::ONE {
        command.arg("COST").arg(request.cost.get());
    }
    command
}

/// Decodes the reply to the call for a request.
fn decision(reply: Value, request: &LimitRequest) -> Result<Decision, CallError> {
    match reply {
        Value::ServerError(error) => Err(call_error(&error, request)),
        Value::Array(items) => decode(&items)
            .filter(|decision| fits(decision, items.len(), request))
            .ok_or(CallError::Mismatched),
        _ => Err(CallError::Mismatched),
    }
}

/// Whether a decision can be the reply to this request: it has the right number of fields and the limit of the
/// request, and its fields do not contradict one another.
///
/// After one reply too many, every later call gets the reply to another call. This check finds that.
fn fits(decision: &Decision, fields: usize, request: &LimitRequest) -> bool {
    let expected_fields = match request.algorithm {
        Algorithm::Token => 5,
        Algorithm::Leaky => 6,
    };
    let limit = request.policy.capacity().get();
    let wait_ms = decision.retry_after_ms.unwrap_or_default();
    let is_consistent = match (decision.allowed, decision.retry_after_ms) {
        (1, Some(0)) => true,
        (0, Some(1..)) => request.cost.get() <= limit && decision.delay_ms == 0,
        (0, None) => request.cost.get() > limit && decision.delay_ms == 0,
        _ => false,
    };
    fields == expected_fields
        && decision.limit == limit
        && decision.remaining <= limit
        && [wait_ms, decision.reset_after_ms, decision.delay_ms]
            .iter()
            .all(|ms| *ms <= Decision::LONGEST_MS)
        && is_consistent
}

/// Decodes the fields of a decision. `None` if they are not five or six integers, or out of range.
fn decode(items: &[Value]) -> Option<Decision> {
    let mut numbers = [0; 6];
    let numbers = numbers.get_mut(..items.len())?;
    for (number, item) in numbers.iter_mut().zip(items) {
        let Value::Int(integer) = item else {
            return None;
        };
        *number = *integer;
    }
    Decision::from_wire(numbers)
}

/// Classifies an error reply to the call for a request.
fn call_error(error: &ServerError, request: &LimitRequest) -> CallError {
    let details = error.details().unwrap_or_default();
    let redirect = |to: fn(Node) -> CallError| {
        redirection(details, request.key.as_bytes()).map_or(CallError::Mismatched, to)
    };
    match error.code() {
        "MOVED" => redirect(CallError::Moved),
        "ASK" => redirect(CallError::Ask),
        "ERR" if details.starts_with("unknown command") => {
            CallError::Undecided(Unavailable::NoModule)
        }
        _ => refused(error),
    }
}

fn refused(error: &ServerError) -> CallError {
    CallError::Undecided(Unavailable::Refused(error.code().to_owned()))
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

#[cfg(test)]
mod tests {
    use rl_bucket::{Capacity, Policy, Rate};

    use super::*;

    fn request(algorithm: Algorithm, cost: u64) -> LimitRequest {
        let policy = Rate::parse(b"10").zip(Capacity::new(20));
        LimitRequest {
            algorithm,
            key: "rl:token:192.0.2.1".to_owned(),
            policy: policy
                .map(|(rate, capacity)| Policy::new(rate, capacity))
                .unwrap(),
            cost: Tokens::new(cost).unwrap(),
        }
    }

    fn reply(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect())
    }

    #[test]
    fn replies_of_redis_fit_their_calls() {
        let token = request(Algorithm::Token, 1);
        for numbers in [[1, 20, 19, 0, 100], [0, 20, 0, 1, 2000], [1, 20, 0, 0, 0]] {
            assert!(decision(reply(&numbers), &token).is_ok(), "{numbers:?}");
        }
        let leaky = request(Algorithm::Leaky, 1);
        for numbers in [[1, 20, 3, 0, 1700, 1600], [0, 20, 0, 77, 2000, 0]] {
            assert!(decision(reply(&numbers), &leaky).is_ok(), "{numbers:?}");
        }
        let never = request(Algorithm::Token, 21);
        assert!(decision(reply(&[0, 20, 20, -1, 0]), &never).is_ok());
    }

    #[test]
    fn a_reply_that_does_not_fit_is_not_a_decision() {
        let longer = Decision::LONGEST_MS.cast_signed() + 1;
        let token = request(Algorithm::Token, 1);
        for numbers in [
            &[1, 21, 19, 0, 100][..],
            &[7, 20, 19, 0, 100],
            &[1, 20, 21, 0, 100],
            &[1, 20, 19, 5, 100],
            &[0, 20, 0, 0, 100],
            &[0, 20, 0, -1, 100],
            &[0, 20, 0, longer, 100],
            &[1, 20, 19, 0, i64::MAX],
            &[1, 20, 19, 0, 100, 0],
            &[1, 20, 19, 0],
            &[],
        ] {
            let decision = decision(reply(numbers), &token);
            assert_eq!(decision, Err(CallError::Mismatched), "{numbers:?}");
        }
        let leaky = request(Algorithm::Leaky, 1);
        for numbers in [&[1, 20, 19, 0, 100][..], &[0, 20, 0, 9, 100, 9]] {
            assert_eq!(decision(reply(numbers), &leaky), Err(CallError::Mismatched));
        }
        assert_eq!(decision(Value::Okay, &token), Err(CallError::Mismatched));
    }

    #[test]
    fn clients_see_a_mismatch_as_no_answer() {
        assert_eq!(
            Unavailable::from(CallError::Mismatched),
            Unavailable::NoAnswer
        );
    }
}
