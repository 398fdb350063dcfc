//! A server that is asked: its connection, made anew whenever it ends, with the circuit breaker before it.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rl_bucket::Decision;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::admission::{Admission, Rejection};
use super::breaker::{DisconnectReason, LinkState};
use super::client::{CallError, Connection, NoConnection};
use super::endpoint::Endpoint;
use super::slots::Slots;
use super::traffic::{Timeout, Traffic};
use crate::limit::LimitRequest;
use crate::limit::{Overload, Unavailable};
use crate::metrics::{Breaker, CallMetrics};
use crate::redis_address::Node;

/// How long one attempt to connect may take: with [`PAUSE`] much less than the second within which service is back.
const CONNECT: Duration = Duration::from_millis(400);

/// From the beginning of one attempt to that of the next, at least.
const PAUSE: Duration = Duration::from_millis(100);

/// After so many calls a connection is checked by a call whose reply fits no other: replies that are shifted, but fit the calls
/// that get them, are found by it.
const CALLS_BETWEEN_CHECKS: u64 = 64;

/// When a connection over which fewer calls were made is checked, and one that failed its check is checked again.
const CHECK_AFTER: Duration = Duration::from_secs(1);
const CHECK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How often a deadline is extended that the process was too late to notice.
const MAX_EXTENSIONS: u32 = 4;

/// How calls are made: within which deadline, where they are counted, and where their connections run.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) deadline: Duration,
    pub(super) metrics: Arc<CallMetrics>,
    pub(super) runtime: Handle,
}

/// Keeps one connection to one place. Ends with its last owner.
#[derive(Debug)]
pub(super) struct Link {
    phase: watch::Receiver<LinkState<Arc<LiveConnection>>>,
    _keeper: JoinSet<()>,
}

/// A connection and what becomes of the calls over it.
#[derive(Debug)]
struct LiveConnection {
    connection: Connection,
    admission: Admission,
    traffic: Traffic,
    metrics: Arc<CallMetrics>,
    check_is_due: Notify,
    /// Takes the first reason to give the connection up; the others come too late to matter.
    end: mpsc::Sender<DisconnectReason>,
    /// Set by the first reply that does not fit its call: the replies after it are somebody else's.
    is_shifted: AtomicBool,
}

impl Link {
    /// Begins to connect.
    pub(super) fn to(place: Endpoint, calls: Calls) -> Self {
        let (told, phase) = watch::channel(LinkState::Connecting);
        let mut keeper = JoinSet::new();
        let runtime = calls.runtime.clone();
        keeper.spawn_on(keep(place, calls, told), &runtime);
        Self {
            phase,
            _keeper: keeper,
        }
    }

    /// Sends the request, once, and waits for its decision until `deadline`. Rejects it at once if too many calls wait.
    pub(super) async fn ask(
        &self,
        asked: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decision, CallError> {
        let line = self.ready(deadline).await?;
        let _permit = line
            .admission
            .admit(&asked.key, line.traffic.unanswered())?;
        let reply = pin!(line.connection.ask(asked));
        line.answer(reply, deadline).await
    }

    /// As [`Link::ask`], of a node that is still taking over the key's slot.
    pub(super) async fn ask_importing(
        &self,
        asked: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decision, CallError> {
        let line = self.ready(deadline).await?;
        let _permit = line
            .admission
            .admit(&asked.key, line.traffic.unanswered())?;
        let reply = pin!(line.connection.ask_importing(asked));
        line.answer(reply, deadline).await
    }

    /// Asks a node of a cluster who serves which slots. `node` is its name.
    pub(super) async fn slots(
        &self,
        node: &Node,
        deadline: Instant,
    ) -> Result<Slots<Node>, CallError> {
        let line = self.ready(deadline).await?;
        let reply = pin!(line.connection.slots(node));
        line.answer(reply, deadline).await
    }

    /// Whether nobody asks it.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.phase.borrow(), LinkState::Gone(_))
    }

    async fn ready(&self, deadline: Instant) -> Result<Arc<LiveConnection>, CallError> {
        known(&self.phase, deadline)
            .await
            .map_err(CallError::Undecided)
    }
}

/// What is to be used, waited for until `deadline`, but only while nothing is known.
pub(super) async fn known<C: Clone>(
    phase: &watch::Receiver<LinkState<C>>,
    deadline: Instant,
) -> Result<C, Unavailable> {
    if let Some(known) = phase.borrow().known() {
        return known;
    }
    let mut phase = phase.clone();
    let is_known = |phase: &LinkState<C>| phase.known().is_some();
    let wait = timeout_at(deadline, phase.wait_for(is_known));
    let known = wait.await.ok().and_then(|phase| phase.ok()?.known());
    known.unwrap_or(Err(Unavailable::NoAnswer))
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

impl LiveConnection {
    /// Waits for the reply to a call until `deadline`, and draws the conclusions. The one place where a call ends. The reply is
    /// pinned by whoever asks, since a future that is handed on is kept twice.
    async fn answer<T>(
        &self,
        mut reply: Pin<&mut impl Future<Output = Result<T, CallError>>>,
        deadline: Instant,
    ) -> Result<T, CallError> {
        let (call, begun) = (self.traffic.send(), Instant::now());
        if call.is_multiple_of(CALLS_BETWEEN_CHECKS) {
            self.check_is_due.notify_one();
        }
        let (mut until, mut extensions) = (deadline, 0);
        loop {
            let reply = timeout_at(until, reply.as_mut()).await;
            let now = Instant::now();
            if let Ok(reply) = reply {
                self.metrics.called(now - begun);
                self.traffic.reply(call, now);
                return self.checked(reply);
            }
            let timeout = self.traffic.time_out(begun, until, now);
            if timeout != Timeout::Late || extensions == MAX_EXTENSIONS {
                self.metrics.called(now - begun);
                return Err(CallError::Undecided(self.conclude(timeout)));
            }
            until = now + self.traffic.patience();
            extensions += 1;
        }
    }

    fn conclude(&self, timeout: Timeout) -> Unavailable {
        match timeout {
            Timeout::Late | Timeout::Queued => return Unavailable::Overloaded(Overload::Deadline),
            Timeout::Silent => {}
            Timeout::Gone => self.end(DisconnectReason::Silent),
        }
        Unavailable::NoAnswer
    }

    /// The reply, unless it or one before it does not fit its call.
    fn checked<T>(&self, reply: Result<T, CallError>) -> Result<T, CallError> {
        if matches!(reply, Err(CallError::Mismatched)) {
            self.is_shifted.store(true, Ordering::Relaxed);
        }
        if let Some(end) = reply.as_ref().err().and_then(disconnect_reason) {
            self.end(end);
        }
        match self.is_shifted.load(Ordering::Relaxed) {
            true => Err(CallError::Mismatched),
            false => reply,
        }
    }

    /// Checks the connection while it is in use, by calls whose replies fit no other call. They also find out that calls which
    /// timed out are answered by now, when there are so many of those that no other call is admitted.
    async fn keep_checking(&self, deadline: Duration) -> Infallible {
        let mut checked = 0;
        loop {
            let _ = timeout(CHECK_AFTER, self.check_is_due.notified()).await;
            let sent = self.traffic.sent();
            if sent == checked {
                continue;
            }
            let probe = LimitRequest::unique_probe();
            let reply = pin!(self.connection.ask(&probe));
            match self.answer(reply, Instant::now() + deadline).await {
                Err(CallError::Undecided(Unavailable::NoAnswer | Unavailable::Overloaded(_))) => {
                    sleep(CHECK_AGAIN_AFTER).await;
                    self.check_is_due.notify_one();
                }
                _ => checked = sent + 1,
            }
        }
    }

    fn end(&self, end: DisconnectReason) {
        let _ = self.end.try_send(end);
    }
}

/// Whether a fault ends the connection.
fn disconnect_reason(fault: &CallError) -> Option<DisconnectReason> {
    match fault {
        CallError::Closed => Some(DisconnectReason::Lost),
        CallError::Mismatched => Some(DisconnectReason::Mismatched),
        CallError::Undecided(Unavailable::Refused(code)) => DisconnectReason::by(code),
        _ => None,
    }
}

/// Connects, again and again, and tells what is known of the server. The one place where the breaker changes.
async fn keep(place: Endpoint, calls: Calls, phase: watch::Sender<LinkState<Arc<LiveConnection>>>) {
    let mut breaker = Breaker::new(calls.metrics.clone());
    let mut tell = |now: LinkState<_>| {
        breaker.becomes(now.breaker());
        phase.send_replace(now)
    };
    loop {
        let begun = Instant::now();
        match connect(&place, &calls).await {
            Ok((line, mut ended)) => {
                info!("connected to Redis at {place}");
                let line = Arc::new(line);
                tell(LinkState::Connected(Arc::clone(&line)));
                let end = tokio::select! {
                    end = ended.recv() => end.unwrap_or(DisconnectReason::Lost),
                    never = line.keep_checking(calls.deadline) => match never {},
                };
                warn!("Redis at {place}: {end}");
                tell(end.phase());
            }
            Err(NoConnection { reason, detail }) => {
                let before = tell(LinkState::Gone(reason.clone()));
                if !matches!(before, LinkState::Gone(known) if known == reason) {
                    warn!("no connection to Redis at {place}: {detail}");
                }
            }
        }
        sleep_until(begun + PAUSE).await;
    }
}

/// One attempt: a connection is good if a call over it is answered within `deadline`, as a request's has to be.
async fn connect(
    place: &Endpoint,
    calls: &Calls,
) -> Result<(LiveConnection, mpsc::Receiver<DisconnectReason>), NoConnection> {
    let Calls {
        deadline, metrics, ..
    } = calls;
    let server = place.server().await?;
    let (end, ended) = mpsc::channel(1);
    let closed = end.clone();
    let connect = async {
        let lost = move || _ = closed.try_send(DisconnectReason::Lost);
        let connection = Connection::open(&server, lost).await?;
        let probe = LimitRequest::unique_probe();
        let probe = timeout(*deadline, connection.ask(&probe)).await;
        match probe.map(|reply| reply.err().and_then(|fault| disconnect_reason(&fault))) {
            Err(_elapsed) => Err(NoConnection::silent(*deadline)),
            Ok(Some(end)) => Err(Unavailable::from(end).into()),
            Ok(None) => Ok(connection),
        }
    };
    let connection = timeout(CONNECT, connect)
        .await
        .map_err(|_| NoConnection::silent(CONNECT))??;
    Ok((
        LiveConnection {
            connection,
            admission: Admission::default(),
            traffic: Traffic::new(*deadline, Instant::now()),
            check_is_due: Notify::new(),
            metrics: metrics.clone(),
            end,
            is_shifted: AtomicBool::new(false),
        },
        ended,
    ))
}
