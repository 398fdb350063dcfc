//! One connection, and all that is said over it: beside [`crate::redis_address`], the only file that knows the client crate.
//!
//! What was sent is never sent again: neither here nor in the crate, whose plain connection knows no retries.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, PushInfo, PushKind, RedisError, RedisWrite,
    ServerError, Value,
};
use rl_bucket::{Algorithm, Decision, Tokens};

use super::slots::{Slots, redirection};
use crate::limit::LimitRequest;
use crate::limit::Unavailable;
use crate::redis_address::Node;
use crate::redis_address::Server;

/// Bytes for the words of a call beside its key.
const NUMBERS: usize = 64;

/// Calls that may wait to be written.
const PIPELINE: usize = 1024;

/// What a call got instead of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The connection was closed before an answer came.
    Closed,
    /// The reply cannot be the reply to this call. Redis, or a proxy before it, has sent one too many or too few.
    Mismatched,
    /// There is none, for this reason.
    Undecided(Unavailable),
    /// The key's slot is served there.
    Moved(Node),
    /// The key may be there already: this call goes there after ASKING.
    Ask(Node),
}

impl From<CallError> for Unavailable {
    fn from(fault: CallError) -> Self {
        match fault {
            CallError::Closed | CallError::Mismatched => Self::NoAnswer,
            CallError::Undecided(reason) => reason,
            CallError::Moved(_) => Self::Refused("MOVED".to_owned()),
            CallError::Ask(_) => Self::Refused("ASK".to_owned()),
        }
    }
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) struct NoConnection {
    /// What callers are told.
    pub(super) reason: Unavailable,
    /// What only the log says.
    pub(super) detail: String,
}

impl NoConnection {
    /// No answer came in time.
    pub(super) fn silent(within: Duration) -> Self {
        Self {
            reason: Unavailable::NoAnswer,
            detail: format!("no answer within {within:?}"),
        }
    }
}

impl From<Unavailable> for NoConnection {
    fn from(reason: Unavailable) -> Self {
        let detail = reason.to_string();
        Self { reason, detail }
    }
}

impl From<RedisError> for NoConnection {
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

/// A connection that many callers use at once. Closed when the last of its clones is dropped.
#[derive(Clone, Debug)]
pub(super) struct Connection(MultiplexedConnection);

impl Connection {
    /// Connects and logs in; `closed` is called when the connection ends by itself.
    pub(super) async fn open(
        to: &Server,
        closed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, NoConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    closed();
                }
                Ok::<_, SendError>(())
            });
        let client = Client::open(to.clone())?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        connection.await.map(Self).map_err(NoConnection::from)
    }

    /// Takes what is asked for.
    pub(super) async fn ask(&self, asked: &LimitRequest) -> Result<Decision, CallError> {
        let reply = self.0.clone().send_packed_command(&command(asked)).await;
        decision(reply.map_err(|_| CallError::Closed)?, asked)
    }

    /// As [`Connection::ask`], of a node that is still taking over the key's slot.
    pub(super) async fn ask_importing(&self, asked: &LimitRequest) -> Result<Decision, CallError> {
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command(asked));
        let replies = self.0.clone().send_packed_commands(&both, 1, 1).await;
        let reply = replies.map_err(|_| CallError::Closed)?.pop();
        decision(reply.unwrap_or_default(), asked)
    }

    /// Which node of the cluster serves which slots, as `asked`, the node at the other end, sees it.
    pub(super) async fn slots(&self, asked: &Node) -> Result<Slots<Node>, CallError> {
        let mut query = redis::cmd("CLUSTER");
        let reply = self.0.clone().send_packed_command(query.arg("SLOTS")).await;
        let slots: Option<Slots<Node>> = match reply.map_err(|_| CallError::Closed)? {
            Value::ServerError(error) => return Err(refusal(&error)),
            Value::Array(ranges) => ranges
                .iter()
                .map(|range| slot_range(range, asked))
                .collect(),
            _ => None,
        };
        slots.ok_or(CallError::Mismatched)
    }
}

/// Where a Sentinel says that the primary of this name is.
pub(super) async fn primary(
    sentinel: &Server,
    name: &str,
    within: Duration,
) -> Result<Node, NoConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(within))
        .set_response_timeout(Some(within));
    let client = Client::open(sentinel.clone())?;
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut query = redis::cmd("SENTINEL");
    let answer = query.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    let known: Option<(String, u16)> = answer.query_async(&mut connection).await?;
    let (host, port) = known.ok_or_else(|| NoConnection {
        reason: Unavailable::NoAnswer,
        detail: format!("a Sentinel knows no primary of the name {name}"),
    })?;
    Ok(Node { host, port })
}

fn command(asked: &LimitRequest) -> Cmd {
    let mut command = Cmd::with_capacity(6, asked.key.len() + NUMBERS);
    command.arg(match asked.algorithm {
        Algorithm::Token => "RL.TOKEN",
        Algorithm::Leaky => "RL.LEAKY",
    });
    command.arg(&asked.key);
    command.write_arg_fmt(asked.policy.rate());
    command.arg(asked.policy.capacity().get());
    if asked.cost != Tokens::ONE {
        command.arg("COST").arg(asked.cost.get());
    }
    command
}

fn decision(reply: Value, asked: &LimitRequest) -> Result<Decision, CallError> {
    match reply {
        Value::ServerError(error) => Err(fault(&error, asked)),
        Value::Array(items) => decoded(&items)
            .filter(|decision| fits(decision, items.len(), asked))
            .ok_or(CallError::Mismatched),
        _ => Err(CallError::Mismatched),
    }
}

/// Whether a decision of so many numbers can be the reply to this request: it has the limit that was asked for, and its numbers
/// agree with one another. After a surplus reply all later ones are somebody else's.
fn fits(decision: &Decision, numbers: usize, asked: &LimitRequest) -> bool {
    let expected_numbers = match asked.algorithm {
        Algorithm::Token => 5,
        Algorithm::Leaky => 6,
    };
    let limit = asked.policy.capacity().get();
    let wait_ms = decision.retry_after_ms.unwrap_or_default();
    let is_consistent = match (decision.allowed, decision.retry_after_ms) {
        (1, Some(0)) => true,
        (0, Some(1..)) => asked.cost.get() <= limit && decision.delay_ms == 0,
        (0, None) => asked.cost.get() > limit && decision.delay_ms == 0,
        _ => false,
    };
    numbers == expected_numbers
        && decision.limit == limit
        && decision.remaining <= limit
        && [wait_ms, decision.reset_after_ms, decision.delay_ms]
            .iter()
            .all(|ms| *ms <= Decision::LONGEST_MS)
        && is_consistent
}

/// A decision in its order on the wire. `None` if it is none.
fn decoded(items: &[Value]) -> Option<Decision> {
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

fn fault(error: &ServerError, asked: &LimitRequest) -> CallError {
    let details = error.details().unwrap_or_default();
    let to = |of: fn(Node) -> CallError| {
        redirection(details, asked.key.as_bytes()).map_or(CallError::Mismatched, of)
    };
    match error.code() {
        "MOVED" => to(CallError::Moved),
        "ASK" => to(CallError::Ask),
        "ERR" if details.starts_with("unknown command") => {
            CallError::Undecided(Unavailable::NoModule)
        }
        _ => refusal(error),
    }
}

fn refusal(error: &ServerError) -> CallError {
    CallError::Undecided(Unavailable::Refused(error.code().to_owned()))
}

/// First and last slot, and the primary that serves them: `asked` itself where no host is named.
fn slot_range(range: &Value, asked: &Node) -> Option<(u16, u16, Node)> {
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
        _ => asked.host.clone(),
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
    fn a_reply_that_does_not_fit_is_no_decision() {
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
}
