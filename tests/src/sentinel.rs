//! Three servers monitored by three Sentinels.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use redis::Value;
use tempfile::TempDir;

use crate::failover::{cut, follows, is_primary, retry_until};
use crate::version::program;
use crate::{Port, Process, Redis, RedisServer, eventually};

/// How long a Sentinel tries a failover.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// A Sentinel with its own directory, in which it rewrites its configuration.
#[derive(Debug)]
struct Sentinel {
    _process: Process,
    port: Port,
    dir: TempDir,
}

/// Prints the log of the Sentinel if the test fails.
impl Drop for Sentinel {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.dir.path().join("log"));
            println!("a Sentinel's log:\n{}", log.unwrap_or_default());
        }
    }
}

impl Sentinel {
    fn start(primary: &RedisServer) -> Self {
        let dir = in_memory().expect("a directory for the Sentinel");
        let port = Port::free();
        let config = dir.path().join("sentinel.conf");
        let lines = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor rl 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds rl 1000\nsentinel failover-timeout rl {}\n\
             sentinel parallel-syncs rl 2\n",
            port.number(),
            dir.path().display(),
            primary.port(),
            FAILOVER_TIMEOUT.as_millis()
        );
        fs::write(&config, lines).expect("written");
        let log = fs::File::create(dir.path().join("log")).expect("a log file");
        let mut command = Command::new(program());
        command.arg(config).arg("--sentinel");
        command.stdout(Stdio::from(log));
        Self {
            _process: Process::start(&mut command),
            port,
            dir,
        }
    }

    fn connect(&self) -> Redis {
        let url = format!("redis://127.0.0.1:{}", self.port.number());
        eventually("a Sentinel to answer", || Redis::to(&url))
    }

    /// The port of the primary that this Sentinel reports.
    fn primary(&self) -> u16 {
        let address: Vec<String> = self.connect().line("SENTINEL GET-MASTER-ADDR-BY-NAME rl");
        address[1].parse().expect("a port")
    }

    /// Whether it sees a healthy primary, both replicas and both other Sentinels.
    fn knows_all(&self) -> bool {
        let fields: HashMap<String, String> = self.connect().line("SENTINEL MASTER rl");
        let is = |field: &str, value: &str| fields.get(field).is_some_and(|known| known == value);
        is("flags", "master") && is("num-slaves", "2") && is("num-other-sentinels", "2")
    }
}

/// A directory in memory, if possible: a Sentinel whose disk blocks it for two seconds while it writes its
/// configuration does nothing for the next thirty (TILT).
fn in_memory() -> io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// One primary with two replicas, and three Sentinels.
#[derive(Debug)]
pub struct Sentinels {
    servers: [RedisServer; 3],
    sentinels: [Sentinel; 3],
}

impl Sentinels {
    /// Starts all, with both replicas in sync and known to the Sentinels.
    #[must_use]
    pub fn start() -> Self {
        let servers =
            [(); 3].map(|()| RedisServer::start_on_tcp(&["--repl-diskless-sync-delay", "0"]));
        for replica in &servers[1..] {
            let follow = format!("REPLICAOF 127.0.0.1 {}", servers[0].port());
            replica.connect().value(&follow);
        }
        let sentinels = [(); 3].map(|()| Sentinel::start(&servers[0]));
        let all = Self { servers, sentinels };
        let _ = all.at_rest();
        all
    }

    /// The ports of the Sentinels.
    #[must_use]
    pub fn ports(&self) -> [u16; 3] {
        [0, 1, 2].map(|n: usize| self.sentinels[n].port.number())
    }

    /// Makes the Sentinel at `port` accept only this user.
    ///
    /// # Panics
    ///
    /// If there is no such Sentinel.
    pub fn let_in_only(&self, port: u16, user: &str, password: &str) {
        let at = |sentinel: &&Sentinel| sentinel.port.number() == port;
        let sentinel = self.sentinels.iter().find(at);
        let mut redis = sentinel.expect("a Sentinel's port").connect();
        redis.value(&format!("ACL SETUSER {user} on >{password} +@all"));
        redis.value("ACL SETUSER default resetpass");
    }

    /// The primary and its replicas, once the links are up and all Sentinels know it.
    #[must_use]
    pub fn at_rest(&self) -> (&RedisServer, Vec<&RedisServer>) {
        eventually("a primary and two replicas in sync", || {
            let primary = self.primary()?;
            let replicas = self.others(primary);
            let in_sync = replicas.iter().all(|replica| follows(replica, primary));
            let known = self.sentinels.iter().all(Sentinel::knows_all);
            (in_sync && known).then_some((primary, replicas))
        })
    }

    fn others(&self, primary: &RedisServer) -> Vec<&RedisServer> {
        let is_other = |server: &&RedisServer| server.port() != primary.port();
        self.servers.iter().filter(is_other).collect()
    }

    /// The primary that all Sentinels agree on, if it reports that role itself.
    fn primary(&self) -> Option<&RedisServer> {
        let port = self.sentinels[0].primary();
        let agree = self.sentinels.iter().all(|other| other.primary() == port);
        let server = self.servers.iter().find(|server| server.port() == port)?;
        (agree && is_primary(server)).then_some(server)
    }

    /// A connection to the primary, located as a client does; `None` while there is none.
    #[must_use]
    pub fn connect(&self) -> Option<Redis> {
        let port = self.sentinels[0].primary();
        let server = self.servers.iter().find(|server| server.port() == port)?;
        let mut redis = server.try_connect()?;
        let is_primary = redis.info("replication", "role")? == "master";
        is_primary.then_some(redis)
    }

    /// Makes a Sentinel fail over to a replica.
    pub fn fail_over(&self) {
        let (primary, _) = self.at_rest();
        let mut redis = self.sentinels[0].connect();
        let attempt = || {
            self.sentinels[0].primary() == primary.port()
                && redis.try_line::<Value>("SENTINEL FAILOVER rl").is_ok()
        };
        retry_until("another primary", 2 * FAILOVER_TIMEOUT, attempt, || {
            self.has_another(primary)
        });
    }

    /// Stops replication from the primary.
    pub fn cut(&self) {
        let (primary, replicas) = self.at_rest();
        cut(primary, &replicas);
    }

    /// Kills the primary, waits until a replica has taken over, and restarts it.
    pub fn kill(&self) {
        let primary = eventually("a primary", || self.primary());
        primary.kill();
        eventually("another primary", || {
            self.has_another(primary).then_some(())
        });
        primary.restart();
    }

    fn has_another(&self, primary: &RedisServer) -> bool {
        let now = self.primary();
        now.is_some_and(|now| now.port() != primary.port())
    }
}
