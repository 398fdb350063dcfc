//! Who decides: Redis, within a deadline, or what `-on-outage` says in its place.
//!
//! [`connection`] and [`address`] are all that knows the client crate. A [`link`] keeps a connection to one [`place`], with
//! the [`breaker`] before it, on the [`io_thread`]; [`admission`] bounds the calls over it, and [`traffic`] tells a silent Redis from a long queue; a [`cluster`] has a link for each primary. What needs no Redis stands apart: [`local`] buckets
//! and the [`denials`] that are remembered, both in a bounded [`table`].

mod admission;
mod breaker;
mod client;
mod cluster;
mod deny_cache;
mod endpoint;
mod io_thread;
mod link;
mod local;
mod slots;
mod table;
mod traffic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rl_bucket::{Decision, Policy};
use tracing::warn;

use self::client::CallError;
use self::cluster::Cluster;
use self::deny_cache::DenyCache;
use self::endpoint::{Endpoint, Sentinels};
use self::io_thread::IoThread;
use self::link::{Calls, Link};
use self::local::Local;
use crate::config::{OnOutage, RedisFlags};
use crate::limit::{Answer, LimitRequest, Unavailable};
use crate::log_throttle::LogThrottle;
use crate::metrics::{CallMetrics, Metrics};
use crate::redis_address::RedisAddress;

/// Decides what each caller may do.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    redis: Redis,
    /// Ends after the connections that run on it.
    _io_thread: IoThread,
    /// How long a request waits for Redis.
    deadline: Duration,
    outage: Outage,
    outage_log: LogThrottle,
    overload_log: LogThrottle,
    denials: Option<DenyCache>,
    metrics: Arc<CallMetrics>,
}

enum Redis {
    Server(Link),
    Cluster(Cluster),
}

/// What becomes of a request that Redis does not decide.
enum Outage {
    Deny,
    Allow,
    Local(Local),
}

impl Limiter {
    /// Redis need not be there yet; the connection is begun at once, on a thread of its own.
    ///
    /// # Errors
    ///
    /// If the address cannot be used at all.
    pub fn new(flags: &RedisFlags, metrics: &Metrics) -> Result<Self, String> {
        let metrics = metrics.calls.clone();
        let io_thread =
            IoThread::start().map_err(|error| format!("no thread for Redis: {error}"))?;
        let calls = Calls {
            deadline: flags.deadline,
            metrics: metrics.clone(),
            runtime: io_thread.handle(),
        };
        Ok(Self(Arc::new(Inner {
            redis: Redis::at(flags.address()?, calls)?,
            _io_thread: io_thread,
            deadline: flags.deadline,
            outage: Outage::of(flags.on_outage),
            outage_log: LogThrottle::since(Instant::now()),
            overload_log: LogThrottle::since(Instant::now()),
            denials: (flags.deny_cache > 0).then(|| DenyCache::of(flags.deny_cache)),
            metrics,
        })))
    }

    /// Takes what is asked for.
    ///
    /// A call that timed out may still reach Redis and spend its tokens; it is not tried again, so that can only admit less.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] within the deadline, whatever Redis does, if Redis does not decide and nobody else is to.
    pub async fn ask(&self, asked: &LimitRequest) -> Result<Answer, Unavailable> {
        let begun = Instant::now();
        let denials = self.0.denials.as_ref();
        if let Some(denial) = denials.and_then(|denials| denials.recall(asked, begun)) {
            self.0.metrics.remembered.inc();
            return Ok(Answer::Decided(denial));
        }
        match self.0.redis.ask(asked, begun + self.0.deadline).await {
            Ok(decision) => {
                if let Some(denials) = denials {
                    denials.note(asked, &decision, begun, Instant::now());
                }
                Ok(Answer::Decided(decision))
            }
            Err(fault) => self.0.without_redis(asked, fault.into()),
        }
    }

    /// Whether requests are answered only while Redis decides.
    pub(crate) fn needs_redis(&self) -> bool {
        matches!(self.0.outage, Outage::Deny)
    }

    /// Whether Redis decides: asks it, under this policy, for none of the tokens of a bucket that is never made.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] within the deadline, whatever is to become of requests.
    pub(crate) async fn probe(&self, policy: Policy) -> Result<(), Unavailable> {
        let deadline = Instant::now() + self.0.deadline;
        let decision = self
            .0
            .redis
            .ask(&LimitRequest::probe(policy), deadline)
            .await;
        match decision.map_err(Unavailable::from) {
            // An overloaded Redis decides: a load balancer that took this server away would load the others more.
            Ok(_) | Err(Unavailable::Overloaded(_)) => Ok(()),
            Err(reason) => Err(reason),
        }
    }
}

impl Inner {
    fn without_redis(
        &self,
        asked: &LimitRequest,
        reason: Unavailable,
    ) -> Result<Answer, Unavailable> {
        self.metrics.undecided(&reason);
        if let Unavailable::Overloaded(_) = reason {
            if self.overload_log.is_due(Instant::now()) {
                warn!("{reason}: such requests are answered with 503");
            }
            return Err(reason);
        }
        if self.outage_log.is_due(Instant::now()) {
            warn!("{reason}: {}", self.outage.consequence());
        }
        self.outage.answer(asked, reason)
    }
}

impl Redis {
    fn at(address: RedisAddress, calls: Calls) -> Result<Self, String> {
        let place = match address {
            RedisAddress::One(server) => Endpoint::Server(server),
            RedisAddress::Sentinels { sentinels, name } => {
                Endpoint::Primary(Sentinels::new(sentinels, name))
            }
            RedisAddress::Cluster(seeds) => {
                let cluster = Cluster::of(&seeds, calls).ok_or("a cluster without a node")?;
                return Ok(Self::Cluster(cluster));
            }
        };
        Ok(Self::Server(Link::to(place, calls)))
    }

    async fn ask(&self, asked: &LimitRequest, deadline: Instant) -> Result<Decision, CallError> {
        match self {
            Self::Server(link) => link.ask(asked, deadline.into()).await,
            Self::Cluster(cluster) => cluster.ask(asked, deadline.into()).await,
        }
    }
}

impl Outage {
    fn of(mode: OnOutage) -> Self {
        match mode {
            OnOutage::Deny => Self::Deny,
            OnOutage::Allow => Self::Allow,
            OnOutage::Local => Self::Local(Local::new()),
        }
    }

    /// In words, for the log.
    fn consequence(&self) -> &'static str {
        match self {
            Self::Deny => "requests are answered with 503",
            Self::Allow => "requests pass uncounted",
            Self::Local(_) => "this process limits by itself",
        }
    }

    fn answer(&self, asked: &LimitRequest, reason: Unavailable) -> Result<Answer, Unavailable> {
        match self {
            Self::Deny => Err(reason),
            Self::Allow => Ok(Answer::Degraded(None)),
            Self::Local(local) => match local.decide(asked) {
                Some(decision) => Ok(Answer::Degraded(Some(decision))),
                None => Err(reason),
            },
        }
    }
}
