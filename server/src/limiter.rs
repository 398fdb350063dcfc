//! The only file that speaks to Redis.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisError, ServerErrorKind,
};
use rl_bucket::{Algorithm, Decision, Policy, Tokens};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::RedisFlags;
use crate::error::Unavailable;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_millis(250);

/// Calls that may wait to be written to the one connection.
const PIPELINE: usize = 1024;

/// Where Redis is: `host:port`, or a `redis://` or `unix:` URL. Checked when read, and never shown with its password.
#[derive(Clone, Debug)]
pub struct RedisAddress(ConnectionInfo);

impl FromStr for RedisAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_url = text.contains("://") || text.starts_with("unix:");
        let url = if is_url {
            text.to_owned()
        } else {
            format!("redis://{text}")
        };
        url.into_connection_info()
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.addr())
    }
}

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

/// Asks Redis to decide, over one connection that all requests share and that is made anew whenever it is lost.
#[derive(Clone)]
pub struct Limiter {
    client: Client,
    connection: ConnectionManager,
    /// How long a request waits for Redis. Left to itself the client would wait for its reconnection, for seconds.
    deadline: Duration,
    /// What the log last said: why Redis does not decide, or that it does.
    trouble: Arc<Mutex<Option<Unavailable>>>,
}

impl Limiter {
    /// Redis need not be there yet; the connection is begun at once.
    ///
    /// # Errors
    ///
    /// If the address cannot be used at all.
    pub fn new(flags: &RedisFlags) -> Result<Self, String> {
        let RedisAddress(info) = flags.address.parse()?;
        let client = Client::open(with_settings(&info)).map_err(|error| error.to_string())?;
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), reconnection())
            .map_err(|error| error.to_string())?;
        tokio::spawn(first_use(connection.clone(), RedisAddress(info)));
        Ok(Self {
            client,
            connection,
            deadline: flags.deadline,
            trouble: Arc::default(),
        })
    }

    /// Takes what is asked for.
    ///
    /// A call that timed out may still reach Redis and spend its tokens; it is not tried again, so that can only admit less.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] within the deadline, whatever Redis does.
    pub async fn ask(&self, asked: &Asked) -> Result<Answer, Unavailable> {
        let call = command(asked);
        let mut connection = self.connection.clone();
        let reply = timeout(self.deadline, call.query_async::<Vec<i64>>(&mut connection)).await;
        let decision = match reply {
            Err(_elapsed) => Err(Unavailable::NoAnswer),
            Ok(Err(error)) => Err(reason(&error)),
            Ok(Ok(reply)) => Decision::from_wire(&reply)
                .ok_or_else(|| Unavailable::Refused("a reply that is none".to_owned())),
        };
        self.log_a_turn(decision.as_ref().err());
        decision.map(Answer::Decided)
    }

    /// Whether Redis decides: asks it, under this policy, for none of the tokens of a bucket that is never made.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] within the deadline.
    pub(crate) async fn probe(&self, policy: Policy) -> Result<(), Unavailable> {
        let probe = Asked {
            algorithm: Algorithm::Token,
            key: "rl:probe".to_owned(),
            policy,
            cost: Tokens::ZERO,
        };
        self.ask(&probe).await.map(drop)
    }

    /// Logs when Redis stops and when it starts to decide, and when the reason changes; not each request in between.
    fn log_a_turn(&self, trouble: Option<&Unavailable>) {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == trouble {
            return;
        }
        match trouble {
            Some(reason) => warn!("{reason}; answering 503"),
            None => info!("Redis decides again"),
        }
        if trouble == Some(&Unavailable::NoAnswer) {
            tokio::spawn(log_why(self.client.clone()));
        }
        *last = trouble.cloned();
    }
}

fn command(asked: &Asked) -> Cmd {
    let mut command = redis::cmd(match asked.algorithm {
        Algorithm::Token => "RL.TOKEN",
        Algorithm::Leaky => "RL.LEAKY",
    });
    command
        .arg(&asked.key)
        .arg(asked.policy.rate().to_string())
        .arg(asked.policy.capacity().get());
    if asked.cost != Tokens::ONE {
        command.arg("COST").arg(asked.cost.get());
    }
    command
}

/// Begins the connection, so that the first caller does not wait for it.
async fn first_use(mut connection: ConnectionManager, address: RedisAddress) {
    match redis::cmd("PING").exec_async(&mut connection).await {
        Ok(()) => info!("connected to Redis at {address}"),
        Err(error) => warn!("Redis at {address}: {error}"),
    }
}

/// Logs why no connection can be made, such as a wrong password, which the connection manager keeps to itself.
async fn log_why(client: Client) {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT));
    if let Err(error) = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
    {
        warn!("no connection to Redis: {error}");
    }
}

/// A peer that is gone without a word is noticed in two seconds, and small writes are not held back.
fn with_settings(info: &ConnectionInfo) -> ConnectionInfo {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(1))
        .with_interval(Duration::from_secs(1));
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(2));
    let redis = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    info.clone().set_tcp_settings(tcp).set_redis_settings(redis)
}

/// Tries for ever, more than once a second, so that service is back as soon as Redis is.
fn reconnection() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(Duration::from_millis(200))
        .set_number_of_retries(usize::MAX)
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE)
}

fn reason(error: &RedisError) -> Unavailable {
    let detail = error.detail().unwrap_or_default();
    match (error.kind(), error.code()) {
        (ErrorKind::Server(ServerErrorKind::ResponseError), _)
            if detail.starts_with("unknown command") =>
        {
            Unavailable::NoModule
        }
        (ErrorKind::Server(_) | ErrorKind::Extension, Some(code)) => {
            Unavailable::Refused(code.to_owned())
        }
        _ => Unavailable::NoAnswer,
    }
}
