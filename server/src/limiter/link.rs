//! A server that is asked: its connection, made anew whenever it ends, with the circuit breaker before it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use rl_bucket::Decision;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::Asked;
use super::breaker::{End, Phase, Silence};
use super::connection::{Connection, Fault, NoConnection};
use super::place::Place;
use super::slots::{Node, Slots};
use crate::error::Unavailable;
use crate::metrics::{BreakerState, CallMetrics};

/// How long one attempt to connect may take: with [`PAUSE`] much less than the second within which service is back.
const CONNECT: Duration = Duration::from_millis(400);

/// From the beginning of one attempt to that of the next, at least.
const PAUSE: Duration = Duration::from_millis(100);

/// How calls are made: within which deadline, and where they are counted.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) deadline: Duration,
    pub(super) metrics: Arc<CallMetrics>,
}

/// Keeps one connection to one place. Ends with its last owner.
#[derive(Debug)]
pub(super) struct Link {
    phase: watch::Receiver<Phase<Arc<Line>>>,
    _keeper: JoinSet<()>,
}

/// A connection and what becomes of the calls over it.
#[derive(Debug)]
struct Line {
    connection: Connection,
    silence: Silence,
    metrics: Arc<CallMetrics>,
    /// Takes the first reason to give the connection up; the others come too late to matter.
    end: mpsc::Sender<End>,
}

impl Link {
    /// Begins to connect.
    pub(super) fn to(place: Place, calls: Calls) -> Self {
        let (told, phase) = watch::channel(Phase::Connecting);
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(place, calls, told));
        Self {
            phase,
            _keeper: keeper,
        }
    }

    /// Sends the request, once, and waits for its decision until `deadline`.
    pub(super) async fn ask(&self, asked: &Asked, deadline: Instant) -> Result<Decision, Fault> {
        let line = self.line(deadline).await?;
        let reply = pin!(line.connection.ask(asked));
        line.answer(reply, deadline).await
    }

    /// As [`Link::ask`], of a node that is still taking over the key's slot.
    pub(super) async fn ask_importing(
        &self,
        asked: &Asked,
        deadline: Instant,
    ) -> Result<Decision, Fault> {
        let line = self.line(deadline).await?;
        let reply = pin!(line.connection.ask_importing(asked));
        line.answer(reply, deadline).await
    }

    /// Asks a node of a cluster who serves which slots. `node` is its name.
    pub(super) async fn slots(&self, node: &Node, deadline: Instant) -> Result<Slots<Node>, Fault> {
        let line = self.line(deadline).await?;
        let reply = pin!(line.connection.slots(node));
        line.answer(reply, deadline).await
    }

    /// Whether nobody asks it.
    pub(super) fn is_gone(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Gone(_))
    }

    async fn line(&self, deadline: Instant) -> Result<Arc<Line>, Fault> {
        known(&self.phase, deadline).await.map_err(Fault::Undecided)
    }
}

/// What is to be used, waited for until `deadline`, but only while nothing is known.
pub(super) async fn known<C: Clone>(
    phase: &watch::Receiver<Phase<C>>,
    deadline: Instant,
) -> Result<C, Unavailable> {
    if let Some(known) = phase.borrow().known() {
        return known;
    }
    let mut phase = phase.clone();
    let is_known = |phase: &Phase<C>| phase.known().is_some();
    let wait = timeout_at(deadline, phase.wait_for(is_known));
    let known = wait.await.ok().and_then(|phase| phase.ok()?.known());
    known.unwrap_or(Err(Unavailable::NoAnswer))
}

impl Line {
    /// Waits for the reply to a call until `deadline`, and draws the conclusions. The one place where a call ends. The reply is
    /// pinned by whoever asks, since a future that is handed on is kept twice.
    async fn answer<T>(
        &self,
        reply: Pin<&mut impl Future<Output = Result<T, Fault>>>,
        deadline: Instant,
    ) -> Result<T, Fault> {
        let begun = Instant::now();
        let reply = timeout_at(deadline, reply).await;
        self.metrics.called(begun.elapsed());
        let Ok(reply) = reply else {
            if self.silence.grow() {
                self.end(End::Silent);
            }
            return Err(Fault::Undecided(Unavailable::NoAnswer));
        };
        self.silence.end();
        if let Some(end) = reply.as_ref().err().and_then(conclusion) {
            self.end(end);
        }
        reply
    }

    fn end(&self, end: End) {
        let _ = self.end.try_send(end);
    }
}

/// Whether a fault ends the connection.
fn conclusion(fault: &Fault) -> Option<End> {
    match fault {
        Fault::Closed => Some(End::Lost),
        Fault::Undecided(Unavailable::Refused(code)) => End::by(code),
        _ => None,
    }
}

/// Connects, again and again, and tells what is known of the server. The one place where the breaker changes.
async fn keep(place: Place, calls: Calls, phase: watch::Sender<Phase<Arc<Line>>>) {
    let mut breaker = BreakerState::new(calls.metrics.clone());
    let mut tell = |now: Phase<_>| {
        breaker.becomes(now.breaker());
        phase.send_replace(now)
    };
    loop {
        let begun = Instant::now();
        match connect(&place, &calls).await {
            Ok((line, mut ended)) => {
                info!("connected to Redis at {place}");
                tell(Phase::Connected(Arc::new(line)));
                let end = ended.recv().await.unwrap_or(End::Lost);
                warn!("Redis at {place}: {end}");
                tell(end.phase());
            }
            Err(NoConnection { reason, detail }) => {
                let before = tell(Phase::Gone(reason.clone()));
                if !matches!(before, Phase::Gone(known) if known == reason) {
                    warn!("no connection to Redis at {place}: {detail}");
                }
            }
        }
        sleep_until(begun + PAUSE).await;
    }
}

/// One attempt: a connection is good if a call over it is answered within `deadline`, as a request's has to be.
async fn connect(
    place: &Place,
    calls: &Calls,
) -> Result<(Line, mpsc::Receiver<End>), NoConnection> {
    let Calls { deadline, metrics } = calls;
    let server = place.server().await?;
    let (end, ended) = mpsc::channel(1);
    let closed = end.clone();
    let connect = async {
        let lost = move || _ = closed.try_send(End::Lost);
        let connection = Connection::open(&server, lost).await?;
        let probe = timeout(*deadline, connection.probe()).await;
        match probe.map(|reply| reply.err().and_then(|fault| conclusion(&fault))) {
            Err(_elapsed) => Err(NoConnection::silent(*deadline)),
            Ok(Some(end)) => Err(Unavailable::from(end).into()),
            Ok(None) => Ok(connection),
        }
    };
    let connection = timeout(CONNECT, connect)
        .await
        .map_err(|_| NoConnection::silent(CONNECT))??;
    Ok((
        Line {
            connection,
            silence: Silence::default(),
            metrics: metrics.clone(),
            end,
        },
        ended,
    ))
}
