//! Who decides: Redis, within a deadline, or what `-on-outage` says in its place.
//!
//! [`connection`] and [`address`] are all that knows the client crate. A [`link`] keeps a connection to one [`place`], with
//! the [`breaker`] before it; a [`cluster`] has a link for each primary. What needs no Redis stands apart: [`local`] buckets
//! and the [`denials`] that are remembered, both in a bounded [`table`].

mod address;
mod breaker;
mod cluster;
mod connection;
mod denials;
mod link;
mod local;
mod place;
mod slots;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rl_bucket::{Algorithm, Decision, Policy, Tokens};
use tracing::warn;

pub use self::address::RedisAddress;
use self::cluster::Cluster;
use self::connection::Fault;
use self::denials::Denials;
use self::link::{Calls, Link};
use self::local::Local;
use self::place::{Place, Sentinels};
use crate::config::{OnOutage, RedisFlags};
use crate::error::Unavailable;
use crate::metrics::{CallMetrics, Metrics};
use crate::seldom::Seldom;

/// The key of a bucket that is never made.
const PROBE: &str = "rl:probe";

/// What one request asks for: so much of the bucket in this key, under this policy.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which kind of bucket.
    pub algorithm: Algorithm,
    /// Its key.
    pub key: String,
    /// Its policy.
    pub policy: Policy,
    /// How many tokens of it.
    pub cost: Tokens,
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Redis decided.
    Decided(Decision),
    /// Redis could not: this process decided by itself, or, with `None`, let the request pass and counted nothing.
    Degraded(Option<Decision>),
}

impl Answer {
    /// The decision, if there is one.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        match self {
            Self::Decided(decision) => Some(decision),
            Self::Degraded(decision) => decision.as_ref(),
        }
    }

    /// Whether Redis had no part in it.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(self, Self::Degraded(_))
    }
}

/// Decides what each caller may do.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    redis: Redis,
    /// How long a request waits for Redis.
    deadline: Duration,
    outage: Outage,
    outage_log: Seldom,
    denials: Option<Denials>,
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
    /// Redis need not be there yet; the connection is begun at once, by tasks of the current runtime.
    ///
    /// # Errors
    ///
    /// If the address cannot be used at all.
    pub fn new(flags: &RedisFlags, metrics: &Metrics) -> Result<Self, String> {
        let metrics = metrics.calls.clone();
        let calls = Calls {
            deadline: flags.deadline,
            metrics: metrics.clone(),
        };
        Ok(Self(Arc::new(Inner {
            redis: Redis::at(flags.address()?, calls)?,
            deadline: flags.deadline,
            outage: Outage::of(flags.on_outage),
            outage_log: Seldom::since(Instant::now()),
            denials: (flags.deny_cache > 0).then(|| Denials::of(flags.deny_cache)),
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
    pub async fn ask(&self, asked: &Asked) -> Result<Answer, Unavailable> {
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
        let probe = Asked {
            algorithm: Algorithm::Token,
            key: PROBE.to_owned(),
            policy,
            cost: Tokens::ZERO,
        };
        let deadline = Instant::now() + self.0.deadline;
        let decision = self.0.redis.ask(&probe, deadline).await;
        decision.map(drop).map_err(Unavailable::from)
    }
}

impl Inner {
    fn without_redis(&self, asked: &Asked, reason: Unavailable) -> Result<Answer, Unavailable> {
        self.metrics.undecided(&reason);
        if self.outage_log.is_due(Instant::now()) {
            warn!("{reason}: {}", self.outage.consequence());
        }
        self.outage.answer(asked, reason)
    }
}

impl Redis {
    fn at(address: RedisAddress, calls: Calls) -> Result<Self, String> {
        let place = match address {
            RedisAddress::One(server) => Place::Server(server),
            RedisAddress::Sentinels { sentinels, name } => {
                Place::Primary(Sentinels::new(sentinels, name))
            }
            RedisAddress::Cluster(seeds) => {
                let cluster = Cluster::of(&seeds, calls).ok_or("a cluster without a node")?;
                return Ok(Self::Cluster(cluster));
            }
        };
        Ok(Self::Server(Link::to(place, calls)))
    }

    async fn ask(&self, asked: &Asked, deadline: Instant) -> Result<Decision, Fault> {
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

    fn answer(&self, asked: &Asked, reason: Unavailable) -> Result<Answer, Unavailable> {
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
