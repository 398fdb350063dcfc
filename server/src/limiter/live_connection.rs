//! The calls over one established connection: which are admitted, how long they wait, and what their replies and
//! time-outs say about the server.
//!
//! A connection that must be given up reports the first reason for it and does no more. Connecting again is up to
//! [`super::link`]. Encoding and decoding is up to [`super::client`], counting to [`super::admission`] and
//! [`super::traffic`].
//!
//! [`LiveConnection::decide`] runs in the tasks of the requests. Everything else, and the reading and writing of bytes, runs
//! on the same thread before those tasks. A request whose client disconnects drops its future here. If its call was sent,
//! Redis executes it, and the reply is read and discarded.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::admission::{Permit, Rejection};
use super::breaker::DisconnectReason;
use super::call_error::CallError;
use super::client::{ConnectError, Connection};
use super::denied_keys::DeniedKey;
use super::link_config::LinkConfig;
use super::pipeline::End;
use super::server_state::ServerState;
use super::slots::Slots;
use super::traffic::{Timeout, Traffic};
use crate::limit::{Decisions, LimitRequest, Overload, Unavailable};
use crate::metrics::CallMetrics;
use crate::redis_address::{Node, Server};

/// A connection in use is checked after this many calls. The check is a call whose reply fits no other call, so it
/// finds replies that go to the wrong calls even if they happen to fit them.
const CALLS_BETWEEN_CHECKS: u64 = 64;

/// A connection with fewer calls is checked after this time. An unused one is not checked: the system's keepalive finds
/// a dead peer.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A check without a reply is repeated after this time.
const CHECK_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// How often the deadline of a call is extended because this process noticed it too late. Each extension is half the
/// deadline. After the last one the request is rejected as overload.
const MAX_EXTENSIONS: u32 = 4;

/// A connection and what is known of the calls over it. Many requests use it at once.
#[derive(Debug)]
pub(super) struct LiveConnection {
    /// Encodes and sends the calls.
    connection: Connection,
    /// Bounds the calls that wait, with those of the connections of other threads to the server.
    shared: Arc<ServerState>,
    /// Counts the calls and replies.
    traffic: Traffic,
    /// Gets the duration of each call.
    metrics: Arc<CallMetrics>,
    /// Wakes [`LiveConnection::check_repeatedly`] before [`CHECK_INTERVAL`] is over.
    check_is_due: Notify,
    /// Holds the first reason to give the connection up. Later ones do not matter.
    disconnect: mpsc::Sender<DisconnectReason>,
    /// Set by the first reply that does not match its call. All replies after it may belong to other calls.
    has_mismatch: AtomicBool,
}

impl LiveConnection {
    /// Connects to `server` and makes one call, which must have a reply within `deadline`, as those of requests must.
    ///
    /// The receiver gets the reason when the connection must be given up.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, refuses the login, does not reply to that call in time, or refuses all calls.
    /// Without a time-out for connecting itself, which [`super::link`] sets.
    pub(super) async fn open(
        server: &Server,
        config: &LinkConfig,
        shared: Arc<ServerState>,
    ) -> Result<(Self, mpsc::Receiver<DisconnectReason>), ConnectError> {
        let (disconnect, disconnected) = mpsc::channel(1);
        let lost = disconnect.clone();
        let on_end = move |end| {
            let reason = match end {
                End::Mismatched => DisconnectReason::Mismatched,
                End::Lost(_) | End::Dropped => DisconnectReason::Lost,
            };
            // Fails if there is an earlier reason, or nobody uses the connection any more.
            let _ = lost.try_send(reason);
        };
        let connection = Connection::open(server, &config.thread, on_end).await?;
        probe(&connection, config.call_timeout).await?;
        let live = Self {
            connection,
            shared,
            traffic: Traffic::new(config.call_timeout, Instant::now()),
            metrics: config.metrics.clone(),
            check_is_due: Notify::new(),
            disconnect,
            has_mismatch: AtomicBool::new(false),
        };
        Ok((live, disconnected))
    }

    /// Sends the request and waits for its decision until `deadline`. The caller holds a permit of
    /// [`LiveConnection::admit`].
    ///
    /// # Errors
    ///
    /// - Overload: the reply did not come by `deadline` although Redis replies to others.
    /// - [`Unavailable::NoAnswer`]: Redis was silent until `deadline`. The call may still be executed.
    /// - [`CallError::Closed`] and [`CallError::Mismatched`]: the connection is given up.
    /// - The error that Redis replied.
    pub(super) async fn decide(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let reply = pin!(self.connection.decide(request));
        self.await_reply(reply, deadline).await
    }

    /// Like [`LiveConnection::decide`], for a node that is still importing the slot of the key: ASKING is sent before
    /// the call. It asks for a permit itself.
    pub(super) async fn decide_importing(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let _permit = self.admit(request)?;
        let reply = pin!(self.connection.decide_importing(request));
        self.await_reply(reply, deadline).await
    }

    /// Permission to wait for one more call of this caller.
    ///
    /// # Errors
    ///
    /// Overload: a bound of [`super::admission`] is exceeded. The call must not be sent.
    pub(super) fn admit(&self, request: &LimitRequest) -> Result<Permit<'_>, CallError> {
        Ok(self.shared.admission.admit(request.caller())?)
    }

    /// Asks this server, the cluster node `node`, which node serves which slots.
    ///
    /// It needs no permit: one task calls it, at most every 100 ms.
    pub(super) async fn slots(
        &self,
        node: &Node,
        deadline: Instant,
    ) -> Result<Slots<Node>, CallError> {
        let reply = pin!(self.connection.slots(node));
        self.await_reply(reply, deadline).await
    }

    /// Asks this server for the keys that it denied most.
    ///
    /// It needs no permit: there is one such call at a time, and operators need its reply most under a flood.
    pub(super) async fn denied_keys(&self, deadline: Instant) -> Result<Vec<DeniedKey>, CallError> {
        let reply = pin!(self.connection.denied_keys());
        self.await_reply(reply, deadline).await
    }

    /// Checks the connection for as long as it is used, by probes whose replies fit no other call.
    ///
    /// The reply to a probe also shows that all calls before it have been processed. That matters when so many calls
    /// timed out that no further request is admitted.
    pub(super) async fn check_repeatedly(&self, deadline: Duration) -> Infallible {
        let mut checked = 0;
        loop {
            let _ = timeout(CHECK_INTERVAL, self.check_is_due.notified()).await;
            let sent = self.traffic.sent();
            if sent == checked {
                continue;
            }
            let probe = LimitRequest::unique_probe();
            let reply = pin!(self.connection.decide(&probe));
            match self.await_reply(reply, Instant::now() + deadline).await {
                Err(CallError::Undecided(Unavailable::NoAnswer | Unavailable::Overloaded(_))) => {
                    sleep(CHECK_RETRY_INTERVAL).await;
                    self.check_is_due.notify_one();
                }
                // The probe itself is one more call.
                _ => checked = sent + 1,
            }
        }
    }

    /// Waits for the reply to a call until `deadline`, and judges the reply or the time-out. Every call ends here.
    ///
    /// The caller pins the reply, because a future passed by value would take its size twice in each waiting request.
    ///
    /// The duration of the call is recorded here, of a time-out too. A reply after the deadline is not waited for.
    async fn await_reply<T>(
        &self,
        reply: Pin<&mut impl Future<Output = Result<T, CallError>>>,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let (call, sent) = (self.traffic.send(), Instant::now());
        self.shared.admission.count_sent();
        if call.is_multiple_of(CALLS_BETWEEN_CHECKS) {
            self.check_is_due.notify_one();
        }
        let reply = self.await_until(reply, sent, deadline).await;
        let now = Instant::now();
        self.metrics.observe_call(now - sent);
        let reply = reply?;
        let answered = self.traffic.reply(call, now);
        self.shared.admission.count_answered(answered);
        self.verified(reply)
    }

    /// Waits until `deadline` for a reply, or for the answer to a shared call, and judges the time-out. `since` is when the
    /// wait began. A deadline that this process noticed too late is extended.
    pub(super) async fn await_until<T>(
        &self,
        mut event: Pin<&mut impl Future<Output = T>>,
        since: Instant,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let (mut deadline, mut extensions) = (deadline, 0);
        loop {
            if let Ok(event) = timeout_at(deadline, event.as_mut()).await {
                return Ok(event);
            }
            let now = Instant::now();
            let timeout = self.traffic.time_out(since, deadline, now);
            if timeout != Timeout::Late || extensions == MAX_EXTENSIONS {
                return Err(CallError::Undecided(self.judge(timeout)));
            }
            deadline = now + self.traffic.patience();
            extensions += 1;
        }
    }

    /// Decides what a time-out means for its request, and gives the connection up if the server is gone.
    fn judge(&self, timeout: Timeout) -> Unavailable {
        match timeout {
            Timeout::Late | Timeout::Queued => Unavailable::Overloaded(Overload::Deadline),
            Timeout::Silent => Unavailable::NoAnswer,
            Timeout::Gone => {
                self.give_up(DisconnectReason::Silent);
                Unavailable::NoAnswer
            }
        }
    }

    /// Returns the reply, or [`CallError::Mismatched`] if it or an earlier one does not match its call.
    ///
    /// Once a reply went to the wrong call, later ones that happen to fit cannot be trusted either, so none of them is
    /// used. A reply with a reason to give the connection up is still returned to its request.
    fn verified<T>(&self, reply: Result<T, CallError>) -> Result<T, CallError> {
        if matches!(reply, Err(CallError::Mismatched)) {
            self.has_mismatch.store(true, Ordering::Relaxed);
        }
        if let Some(reason) = reply.as_ref().err().and_then(disconnect_reason) {
            self.give_up(reason);
        }
        match self.has_mismatch.load(Ordering::Relaxed) {
            true => Err(CallError::Mismatched),
            false => reply,
        }
    }

    /// Reports the reason to the task of the link, which stops to hand this connection out. Calls that wait over it are
    /// not cancelled.
    fn give_up(&self, reason: DisconnectReason) {
        // The channel holds one reason, so this fails if there is one already.
        let _ = self.disconnect.try_send(reason);
    }
}

impl Drop for LiveConnection {
    /// Calls that Redis has not processed end with their connection.
    fn drop(&mut self) {
        let unanswered = self.traffic.unanswered();
        self.shared.admission.count_answered(unanswered);
    }
}

/// Makes the first call over a new connection. A reply that refuses only this call is good enough: an unknown command,
/// for example, shows that the server replies, and is reported with each request.
async fn probe(connection: &Connection, deadline: Duration) -> Result<(), ConnectError> {
    let probe = LimitRequest::unique_probe();
    let Ok(reply) = timeout(deadline, connection.decide(&probe)).await else {
        return Err(ConnectError::timed_out(deadline));
    };
    match reply.err().as_ref().and_then(disconnect_reason) {
        Some(reason) => Err(Unavailable::from(reason).into()),
        None => Ok(()),
    }
}

/// Why a call that failed ends the connection. `None` if the connection stays.
fn disconnect_reason(error: &CallError) -> Option<DisconnectReason> {
    match error {
        CallError::Closed => Some(DisconnectReason::Lost),
        CallError::Mismatched => Some(DisconnectReason::Mismatched),
        CallError::Undecided(Unavailable::Refused(code)) => DisconnectReason::from_error_code(code),
        CallError::Undecided(_) | CallError::Moved(_) | CallError::Ask(_) => None,
    }
}

impl From<Rejection> for CallError {
    fn from(rejection: Rejection) -> Self {
        let overload = match rejection {
            Rejection::Caller => Overload::Caller,
            Rejection::Server => Overload::Server,
        };
        Self::Undecided(Unavailable::Overloaded(overload))
    }
}
