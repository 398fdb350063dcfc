//! Requests of one caller that come while a call for it is in flight share the next call. So one busy key costs Redis a
//! call for each round trip, however many requests there are.
//!
//! Only requests of cost 1 to one token bucket share calls, as `COST n PARTIAL`. It allows as many as `n` single calls at
//! that instant would, and those that came first. All that are allowed get the numbers after the last of them. A denial is
//! that of a single call. If the bucket holds enough for some of them only, the others go into one more call, and those
//! that it leaves out call on their own: the reply does not say how long they must wait.
//!
//! A request whose client disconnects before its call is sent takes no token.

use std::collections::HashMap;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rl_bucket::{Algorithm, Decision, Policy, Request, Tokens};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call_error::CallError;
use super::link_config::LinkConfig;
use super::live_connection::LiveConnection;
use crate::limit::{Decisions, LimitRequest};
use crate::threads::Thread;

/// How many shared calls a request takes part in before it calls on its own.
const MAX_SHARED_CALLS: usize = 2;

/// The answer to one of the requests that shared a call. `None` if the request must call on its own.
type SharedAnswer = Result<Option<Decision>, CallError>;

/// A connection over which requests share calls.
#[derive(Debug)]
pub(super) struct SharedConnection {
    connection: LiveConnection,
    batches: Batches,
    /// Makes the shared calls.
    thread: Thread,
    /// How long a shared call may take.
    call_timeout: Duration,
}

/// The keys for which a call is in flight, and the requests that wait for its end.
#[derive(Debug, Default)]
struct Batches(Mutex<HashMap<Box<str>, Waiting>>);

/// Requests that wait to share a call. All have the same policy.
#[derive(Debug)]
struct Waiting {
    policy: Policy,
    requests: Vec<oneshot::Sender<SharedAnswer>>,
}

/// What a request does.
enum Place {
    /// It calls on its own, because it cannot share the call that is in flight.
    Alone,
    /// It calls on its own, and holds a [`Lead`] meanwhile.
    First,
    /// It waits for the answer to a shared call.
    Waits(oneshot::Receiver<SharedAnswer>),
}

/// Held during a call that others wait for. Dropping it sends the next call.
struct Lead<'a> {
    connection: &'a Arc<SharedConnection>,
    key: &'a str,
}

/// Whether a request can share calls: it takes one token from one token bucket.
fn is_sharable(request: &LimitRequest) -> bool {
    request.algorithm == Algorithm::Token
        && request.charge == Request::Cost(Tokens::ONE)
        && request.limits.tail.is_empty()
}

impl Batches {
    /// Finds the place of a request that [`is_sharable`].
    fn join(&self, request: &LimitRequest) -> Place {
        let policy = request.limits.head.policy;
        let mut batches = self.locked();
        match batches.get_mut(request.key()) {
            Some(waiting) if waiting.policy == policy => {
                let (sender, receiver) = oneshot::channel();
                waiting.requests.push(sender);
                Place::Waits(receiver)
            }
            Some(_) => Place::Alone,
            None => {
                let requests = Vec::new();
                batches.insert(request.key().into(), Waiting { policy, requests });
                Place::First
            }
        }
    }

    /// Takes the requests that wait. `None`, and no call is in flight for the key any more, if there are none.
    fn take(&self, key: &str) -> Option<Waiting> {
        let mut batches = self.locked();
        let batch = batches.get_mut(key)?;
        let mut requests = mem::take(&mut batch.requests);
        requests.retain(|request| !request.is_closed());
        if requests.is_empty() {
            batches.remove(key);
            return None;
        }
        let policy = batch.policy;
        Some(Waiting { policy, requests })
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Box<str>, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedConnection {
    pub(super) fn new(connection: LiveConnection, config: &LinkConfig) -> Self {
        Self {
            connection,
            batches: Batches::default(),
            thread: config.thread.clone(),
            call_timeout: config.call_timeout,
        }
    }

    /// The connection itself, for calls that are not shared.
    pub(super) fn connection(&self) -> &LiveConnection {
        &self.connection
    }

    /// Decides the request by a call of its own or by a shared one, until `deadline`. Rejects it at once if too many wait.
    ///
    /// # Errors
    ///
    /// Overload at once: a bound of [`super::admission`] is exceeded and nothing was sent. Otherwise as
    /// [`LiveConnection::decide`].
    pub(super) async fn decide(
        self: &Arc<Self>,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let permit = self.connection.admit(request)?;
        if !permit.is_first && is_sharable(request) {
            // Boxed, since the future of every request would be larger otherwise.
            return Box::pin(self.decide_together(request, deadline)).await;
        }
        self.connection.decide(request, deadline).await
    }

    /// Decides a request while another one of its caller waits.
    async fn decide_together(
        self: &Arc<Self>,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        let answer = match self.batches.join(request) {
            Place::Alone => return self.connection.decide(request, deadline).await,
            Place::First => {
                let _lead = Lead {
                    connection: self,
                    key: request.key(),
                };
                return self.connection.decide(request, deadline).await;
            }
            Place::Waits(answer) => pin!(answer),
        };
        let answer = self
            .connection
            .await_until(answer, Instant::now(), deadline);
        match answer.await? {
            Ok(Ok(Some(decision))) => Ok(decision.into()),
            Ok(Ok(None)) => self.connection.decide(request, deadline).await,
            Ok(Err(error)) => Err(error),
            // The thread ends.
            Err(_dropped) => Err(CallError::Closed),
        }
    }

    /// Makes shared calls, one after the other, until no request waits for the key.
    async fn call_for_all(self: Arc<Self>, key: String, first: Waiting) {
        let mut next = Some(first);
        while let Some(waiting) = next {
            self.share(&key, waiting).await;
            next = self.batches.take(&key);
        }
    }

    /// Makes shared calls for these requests, and answers all of them.
    async fn share(&self, key: &str, waiting: Waiting) {
        let Waiting {
            policy,
            mut requests,
        } = waiting;
        for _ in 0..MAX_SHARED_CALLS {
            let charge = match Tokens::new(requests.len() as u64) {
                Some(Tokens::ONE) | None => Request::Cost(Tokens::ONE),
                Some(tokens) => Request::Partial(tokens),
            };
            let call = LimitRequest::single(Algorithm::Token, key.to_owned(), policy, charge);
            let deadline = Instant::now() + self.call_timeout;
            let decisions = self.connection.decide(&call, deadline).await;
            let decision = match decisions.map(|decisions| decisions.0.head) {
                Ok(decision) if decision.allowed > 0 => decision,
                // A denial of all, or an error.
                answer => return answer_all(requests, &answer.map(Some)),
            };
            let allowed = usize::try_from(decision.allowed).unwrap_or(usize::MAX);
            let left_out = requests.split_off(allowed.min(requests.len()));
            let single = Decision {
                allowed: 1,
                ..decision
            };
            answer_all(requests, &Ok(Some(single)));
            if left_out.is_empty() {
                return;
            }
            requests = left_out;
        }
        answer_all(requests, &Ok(None));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.connection.batches.take(self.key) {
            let (connection, key) = (self.connection.clone(), self.key.to_owned());
            let thread = connection.thread.clone();
            thread.spawn_first(connection.call_for_all(key, waiting));
        }
    }
}

fn answer_all(waiting: Vec<oneshot::Sender<SharedAnswer>>, answer: &SharedAnswer) {
    for request in waiting {
        // An error: the client disconnected.
        let _ = request.send(answer.clone());
    }
}
