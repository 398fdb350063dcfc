//! Decides requests: by Redis within a deadline, or as `-on-outage` says while Redis does not decide.
//!
//! - [`dial`] opens the socket, [`pipeline`] sends calls over it and matches replies to them. [`client`] logs in and
//!   makes the calls that [`wire`] encodes, and [`wire`] decodes their replies.
//! - [`link`] keeps one server connected, at the address that [`endpoint`] resolves. [`breaker`] holds its states.
//! - [`live_connection`] makes the calls: [`admission`] bounds them, and [`traffic`] tells a silent Redis from a long
//!   queue. [`coalescing`] makes one call for several requests of one caller.
//! - [`cluster`] has a link to each primary and finds the right one by [`slots`].
//! - Each thread that serves requests has links of its own, so that its requests never wait for another thread.
//!   [`server_state`] has what the threads share for each server.
//! - [`denied_keys`] lists who is denied most, for operators.
//! - [`local`] buckets and the [`deny_cache`] need no Redis. Both use a bounded [`table`].

mod admission;
mod breaker;
mod call_error;
mod client;
mod cluster;
mod coalescing;
mod denied_keys;
mod deny_cache;
mod dial;
mod endpoint;
mod error_reply;
mod link;
mod link_config;
mod live_connection;
mod local;
mod pipeline;
mod resp;
mod server_state;
mod slots;
mod table;
mod traffic;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rl_bucket::{DebtTooLarge, Policy};
use tracing::warn;

use self::call_error::CallError;
use self::cluster::Cluster;
pub use self::denied_keys::{DeniedKey, MostDenied, UnavailablePrimary};
use self::deny_cache::DenyCache;
use self::endpoint::{Endpoint, Sentinels};
use self::link::Link;
use self::link_config::LinkConfig;
use self::local::Local;
use self::server_state::ServerStates;
use crate::config::{OnOutage, RedisFlags};
use crate::limit::{Answer, Decisions, LimitRequest, Unavailable};
use crate::log_throttle::LogThrottle;
use crate::metrics::{CallMetrics, Metrics};
use crate::redis_address::RedisAddress;
use crate::threads::{Thread, Threads};

/// Decides the requests of one thread. Clones share everything.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    redis: Redis,
    shared: Arc<Shared>,
}

/// What the limiters of all threads share.
struct Shared {
    address: RedisAddress,
    servers: Arc<ServerStates>,
    /// How long a request may wait for Redis.
    deadline: Duration,
    fallback: Fallback,
    outage_log: LogThrottle,
    overload_log: LogThrottle,
    deny_cache: Option<DenyCache>,
    metrics: Arc<CallMetrics>,
}

/// The Redis that decides.
enum Redis {
    Server(Link),
    Cluster(Cluster),
}

/// How requests are answered while Redis does not decide.
enum Fallback {
    Deny,
    Allow,
    Local(Local),
}

impl Limiter {
    /// Starts to connect to Redis for each thread, and returns at once. Redis need not be running.
    ///
    /// # Errors
    ///
    /// If the address or the files of `flags` are invalid.
    pub fn start(
        flags: &RedisFlags,
        metrics: &Metrics,
        threads: &Threads,
    ) -> Result<Vec<Self>, String> {
        let cached_callers = flags.deny_cache;
        let shared = Arc::new(Shared {
            address: flags.address()?,
            servers: Arc::default(),
            deadline: flags.deadline,
            fallback: Fallback::new(flags.on_outage),
            outage_log: LogThrottle::new(Instant::now()),
            overload_log: LogThrottle::new(Instant::now()),
            deny_cache: (cached_callers > 0).then(|| DenyCache::with_capacity(cached_callers)),
            metrics: metrics.calls.clone(),
        });
        let count = threads.iter().count();
        let limiter = |thread| Self::on(thread, count, &shared);
        threads.iter().map(limiter).collect()
    }

    fn on(thread: &Thread, min_links: usize, shared: &Arc<Shared>) -> Result<Self, String> {
        let config = LinkConfig {
            call_timeout: shared.deadline,
            metrics: shared.metrics.clone(),
            servers: shared.servers.clone(),
            min_links,
            thread: thread.clone(),
        };
        Ok(Self(Arc::new(Inner {
            redis: Redis::start(shared.address.clone(), config)?,
            shared: shared.clone(),
        })))
    }

    /// Decides one request, within the deadline.
    ///
    /// A call that times out may still reach Redis and take its tokens. It is not sent again, so a time-out can only
    /// admit less.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] within the deadline if Redis does not decide, unless `-on-outage` answers in its place.
    pub async fn decide(&self, request: &LimitRequest) -> Result<Answer, Unavailable> {
        let started = Instant::now();
        let shared = &*self.0.shared;
        let deny_cache = shared.deny_cache.as_ref();
        if let Some(denial) = deny_cache.and_then(|cache| cache.get(request, started)) {
            shared.metrics.count_deny_cache_hit();
            return Ok(Answer::Decided(denial));
        }
        let deadline = started + shared.deadline;
        match self.0.redis.decide(request, deadline).await {
            Ok(decisions) => {
                if let Some(cache) = deny_cache {
                    cache.insert(request, &decisions, started, Instant::now());
                }
                Ok(Answer::Decided(decisions))
            }
            Err(error) => shared.fall_back(request, error.into()),
        }
    }

    /// The keys that were denied most, by all primaries, within the deadline.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if no primary replies.
    pub(crate) async fn most_denied(&self) -> Result<MostDenied, Unavailable> {
        let deadline = (Instant::now() + self.0.shared.deadline).into();
        match &self.0.redis {
            Redis::Server(link) => {
                let keys = link.denied_keys(deadline).await?;
                Ok(MostDenied {
                    keys,
                    ..MostDenied::default()
                })
            }
            Redis::Cluster(cluster) => MostDenied::merged(cluster.denied_keys(deadline).await?),
        }
    }

    /// Whether every answer needs Redis: true for `-on-outage deny`.
    pub(crate) fn needs_redis(&self) -> bool {
        matches!(self.0.shared.fallback, Fallback::Deny)
    }

    /// Checks that Redis decides, by a call that takes no tokens and stores nothing.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] within the deadline, whatever `-on-outage` is.
    pub(crate) async fn probe(&self, policy: Policy) -> Result<(), Unavailable> {
        let deadline = Instant::now() + self.0.shared.deadline;
        let probe = LimitRequest::probe(policy);
        let decision = self.0.redis.decide(&probe, deadline).await;
        match decision.map_err(Unavailable::from) {
            // An overloaded Redis does decide. If the load balancer took this server away, the others would get more
            // load.
            Ok(_) | Err(Unavailable::Overloaded(_)) => Ok(()),
            Err(reason) => Err(reason),
        }
    }
}

impl Shared {
    /// Answers a request that Redis did not decide. Overload and a debt that is too large are always errors: Redis is
    /// there, and `-on-outage` is not about that.
    fn fall_back(
        &self,
        request: &LimitRequest,
        reason: Unavailable,
    ) -> Result<Answer, Unavailable> {
        if let Unavailable::DebtTooLarge { .. } = reason {
            return Err(reason);
        }
        self.metrics.count_undecided(&reason);
        if let Unavailable::Overloaded(_) = reason {
            if self.overload_log.claim(Instant::now()) {
                warn!("{reason}: answering such requests with 503");
            }
            return Err(reason);
        }
        if self.outage_log.claim(Instant::now()) {
            warn!("{reason}: {}", self.fallback.description());
        }
        self.fallback.answer(request, reason)
    }
}

impl Redis {
    fn start(address: RedisAddress, config: LinkConfig) -> Result<Self, String> {
        let endpoint = match address {
            RedisAddress::Server(server) => Endpoint::Server(server),
            RedisAddress::Sentinels { sentinels, name } => {
                Endpoint::Primary(Sentinels::new(sentinels, name))
            }
            RedisAddress::Cluster(seeds) => {
                let cluster =
                    Cluster::start(&seeds, config).ok_or("redis-cluster:// names no node")?;
                return Ok(Self::Cluster(cluster));
            }
        };
        Ok(Self::Server(Link::start(endpoint, config)))
    }

    async fn decide(
        &self,
        request: &LimitRequest,
        deadline: Instant,
    ) -> Result<Decisions, CallError> {
        match self {
            Self::Server(link) => link.decide(request, deadline.into()).await,
            Self::Cluster(cluster) => cluster.decide(request, deadline.into()).await,
        }
    }
}

impl Fallback {
    fn new(mode: OnOutage) -> Self {
        match mode {
            OnOutage::Deny => Self::Deny,
            OnOutage::Allow => Self::Allow,
            OnOutage::Local => Self::Local(Local::new()),
        }
    }

    /// What happens to requests, for the log.
    fn description(&self) -> &'static str {
        match self {
            Self::Deny => "answering requests with 503",
            Self::Allow => "allowing requests without counting them",
            Self::Local(_) => "limiting requests in this process alone",
        }
    }

    fn answer(&self, request: &LimitRequest, reason: Unavailable) -> Result<Answer, Unavailable> {
        match self {
            Self::Deny => Err(reason),
            Self::Allow => Ok(Answer::Degraded(None)),
            Self::Local(local) => match local.decide(request) {
                Ok(decisions) => Ok(Answer::Degraded(Some(decisions))),
                Err(DebtTooLarge) => Err(Unavailable::DebtTooLarge {
                    others_charged: false,
                }),
            },
        }
    }
}
