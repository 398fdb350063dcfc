//! A real redis-server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;
use redis::{Client, Connection, FromRedisValue, Pipeline, PushInfo, RedisError, Value};
use tempfile::TempDir;

use crate::process::{Port, Process};
use crate::{artifacts, eventually, version};

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The module it loads, if any.
    pub module: Option<PathBuf>,
    /// More arguments.
    pub args: Vec<String>,
    /// What its environment has beside ours.
    pub environment: Vec<(String, String)>,
    /// The program and its arguments that run the server for us, such as valgrind; empty for none.
    pub runner: Vec<String>,
}

impl Setup {
    /// With the module, and more arguments.
    #[must_use]
    pub fn with_module(args: &[&str]) -> Self {
        Self {
            module: Some(artifacts().module.clone()),
            ..Self::without_module(args)
        }
    }

    /// Without the module.
    #[must_use]
    pub fn without_module(args: &[&str]) -> Self {
        Self {
            args: args.iter().map(ToString::to_string).collect(),
            ..Self::default()
        }
    }

    /// The command that starts `program`.
    fn command(&self, program: &str) -> Command {
        let mut words = self.runner.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A redis-server of its own directory, on a unix socket and, where asked for, a TCP port.
#[derive(Debug)]
pub struct RedisServer {
    process: Mutex<Option<Process>>,
    setup: Setup,
    /// Its own first; that of the cluster's bus is only held.
    ports: Vec<Port>,
    dir: TempDir,
}

impl RedisServer {
    /// With the module, without persistence, on its socket only.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`RedisServer::start`], with more arguments.
    #[must_use]
    pub fn start_with(args: &[&str]) -> Self {
        Self::start_as(Setup::with_module(args))
    }

    /// On its socket only, as the setup says.
    #[must_use]
    pub fn start_as(setup: Setup) -> Self {
        Self::new(Vec::new(), setup)
    }

    /// As [`RedisServer::start_with`], reachable over TCP as well.
    #[must_use]
    pub fn start_on_tcp(args: &[&str]) -> Self {
        Self::start_on_tcp_as(Setup::with_module(args))
    }

    /// As [`RedisServer::start_as`], reachable over TCP as well.
    #[must_use]
    pub fn start_on_tcp_as(setup: Setup) -> Self {
        Self::new(vec![Port::free()], setup)
    }

    /// A node of a cluster, with no slots yet, with more arguments.
    #[must_use]
    pub fn start_cluster_node(args: &[&str]) -> Self {
        let args = [&["--cluster-enabled", "yes"], args].concat();
        Self::new(Port::of_node().into(), Setup::with_module(&args))
    }

    /// A server that does not have the module, reachable over TCP as well.
    #[must_use]
    pub fn start_without_module(args: &[&str]) -> Self {
        Self::start_on_tcp_as(Setup::without_module(args))
    }

    fn new(ports: Vec<Port>, setup: Setup) -> Self {
        let server = Self {
            process: Mutex::default(),
            setup,
            ports,
            dir: tempfile::tempdir().expect("a directory for the server"),
        };
        server.launch();
        server
    }

    fn command(&self) -> Command {
        let log = std::fs::File::create(self.dir.path().join("log")).expect("a log file");
        let mut command = self.setup.command(&version::program());
        command
            .args(["--port", &self.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--dir"])
            .arg(self.dir.path())
            .arg("--unixsocket")
            .arg(self.socket());
        // What is not asked for is allowed before.
        if version() >= [7, 0] {
            command
                .args(["--enable-debug-command", "yes"])
                .args(["--enable-module-command", "yes"]);
        }
        if let Some(module) = &self.setup.module {
            command.arg("--loadmodule").arg(module);
        }
        command
            .args(&self.setup.args)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(Stdio::from(log));
        command
    }

    fn launch(&self) {
        let mut command = self.command();
        let _ = std::fs::remove_file(self.socket());
        let mut process = Process::start(&mut command);
        eventually("redis-server to answer", || {
            if process.ended().is_some() {
                let log = self.log();
                // An outgoing connection may have our port for a while, where the system gives it any.
                assert!(
                    log.contains("Address already in use"),
                    "redis-server ended:\n{log}"
                );
                process = Process::start(&mut command);
            }
            self.try_connect()
        });
        *self.process() = Some(process);
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    /// Its working directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The TCP port, 0 if there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.first().map_or(0, Port::number)
    }

    /// Its address for rl-server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// All that it has logged since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A new connection, `None` while it takes none.
    #[must_use]
    pub fn try_connect(&self) -> Option<Redis> {
        Redis::to(&self.url())
    }

    /// A new connection. Waits while the server is loading.
    #[must_use]
    pub fn connect(&self) -> Redis {
        eventually("redis-server to take a connection", || self.try_connect())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let process = self.process();
        process.as_ref().expect("it is running").signal(signal);
    }

    /// Kills it without a word.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Ends it, by a kill if it is still running, and starts it anew in the same place with other arguments.
    pub fn restart_with(&mut self, args: &[&str]) {
        self.kill();
        self.setup = Setup::without_module(args);
        self.launch();
    }

    /// Starts it anew as it was.
    pub fn restart(&self) {
        self.kill();
        self.launch();
    }

    /// Whether it has not crashed.
    pub fn is_alive(&self) -> bool {
        self.process()
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }
}

/// No test may leave a panic behind that the module caught.
impl Drop for RedisServer {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.is_alive() {
            return;
        }
        if let Some(panics) = self
            .try_connect()
            .and_then(|mut redis| redis.info("rl", "rl_panics"))
        {
            assert_eq!(panics, "0", "{}", self.log());
        }
    }
}

/// A connection to a [`RedisServer`].
pub struct Redis {
    connection: Connection,
    /// Whether ASKING goes before each command and each transaction.
    asking: bool,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redis")
    }
}

impl Redis {
    /// A connection to a URL, if a server answers there.
    pub(crate) fn to(url: &str) -> Option<Self> {
        let mut connection = Client::open(url).ok()?.get_connection().ok()?;
        let answer: Result<String, RedisError> = redis::cmd("PING").query(&mut connection);
        answer.is_ok().then_some(Self {
            connection,
            asking: false,
        })
    }

    /// For a slot that is on its way here: each command and each transaction says that it was sent here.
    #[must_use]
    pub fn asking(mut self) -> Self {
        self.asking = true;
        self
    }

    fn ask(&mut self) -> Result<(), String> {
        if !self.asking {
            return Ok(());
        }
        let asking = redis::cmd("ASKING");
        asking
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// Runs a command given as words, which may be any bytes.
    ///
    /// # Errors
    ///
    /// The server's error, as its whole text.
    pub fn try_run<T: FromRedisValue>(&mut self, words: &[impl AsRef<[u8]>]) -> Result<T, String> {
        self.ask()?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        command
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// Runs a command given as one line of words.
    ///
    /// # Errors
    ///
    /// As [`Redis::try_run`].
    pub fn try_line<T: FromRedisValue>(&mut self, line: &str) -> Result<T, String> {
        self.try_run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command that must succeed.
    ///
    /// # Panics
    ///
    /// If the server answers an error.
    pub fn line<T: FromRedisValue>(&mut self, line: &str) -> T {
        self.try_line(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Takes all slots of a cluster, one by one: Redis 6.2 has no ADDSLOTSRANGE.
    pub fn add_slots(&mut self) {
        let slots: Vec<String> = (0..16384).map(|slot| slot.to_string()).collect();
        self.value(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
    }

    /// The integers of a limit's reply.
    pub fn limit(&mut self, line: &str) -> Vec<i64> {
        self.line(line)
    }

    /// Runs commands, each given as a line of words, in one transaction.
    ///
    /// # Errors
    ///
    /// As [`Redis::try_run`].
    pub fn try_transaction<T: FromRedisValue>(&mut self, lines: &[&str]) -> Result<T, String> {
        self.ask()?;
        let mut transaction = redis::pipe();
        transaction.atomic();
        for line in lines {
            add(&mut transaction, line);
        }
        transaction
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// Likewise, sent together with a command that goes before: a server runs them one after the other, though others may
    /// come between.
    ///
    /// # Errors
    ///
    /// As [`Redis::try_run`].
    pub fn try_transaction_after<F: FromRedisValue, T: FromRedisValue>(
        &mut self,
        first: &str,
        lines: &[&str],
    ) -> Result<(F, T), String> {
        let mut calls = redis::pipe();
        add(&mut calls, first);
        if self.asking {
            add(&mut calls, "ASKING").ignore();
        }
        for line in [&["MULTI"], lines].concat() {
            add(&mut calls, line).ignore();
        }
        add(&mut calls, "EXEC");
        calls
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// The server's clock.
    pub fn time_us(&mut self) -> i64 {
        let (seconds, micros): (i64, i64) = self.line("TIME");
        seconds * 1_000_000 + micros
    }

    /// The bytes and the deadline of a key: all that may not change when nothing is said to change. Both are of one instant,
    /// so that a key that expires is never half there.
    pub fn stored(&mut self, key: &str) -> (Option<Vec<u8>>, i64) {
        let (get, deadline) = (format!("GET {key}"), version::deadline_command());
        let lines = [&get, "TIME", &format!("{deadline} {key}"), "TIME"];
        eventually("the deadline to be told", || {
            let (bytes, before, told, after) = self
                .try_transaction(&lines)
                .unwrap_or_else(|error| panic!("{key}: {error}"));
            let deadline_ms = version::deadline_ms(told, time_us(before), time_us(after))?;
            Some((bytes, deadline_ms))
        })
    }

    /// One field of INFO, `None` if it is not there or the server is gone.
    pub fn info(&mut self, section: &str, field: &str) -> Option<String> {
        let info: String = self.try_line(&format!("INFO {section}")).ok()?;
        info.lines().find_map(|line| {
            line.strip_prefix(field)?
                .strip_prefix(':')
                .map(str::to_owned)
        })
    }

    /// Runs commands, each given as a line of words, without waiting for one reply before the next command. An error is one
    /// of the replies.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub fn run_all(&mut self, lines: impl Iterator<Item = String>) -> Vec<Value> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for line in lines {
            add(&mut pipeline, &line);
        }
        pipeline.query(&mut self.connection).expect("replies")
    }

    /// Speaks RESP3 from now on, and gives what the server then tells unasked. What it told before it answered a command is
    /// there once the command is answered.
    pub fn pushes(&mut self) -> Receiver<PushInfo> {
        let (sender, receiver) = mpsc::channel();
        self.value("HELLO 3");
        self.connection.set_push_sender(sender);
        receiver
    }

    /// A reply as it is.
    pub fn value(&mut self, line: &str) -> Value {
        self.line(line)
    }
}

/// The reply of TIME.
pub(crate) fn time_us(value: Value) -> i128 {
    let (seconds, micros): (i128, i128) = FromRedisValue::from_redis_value(value).expect("a time");
    seconds * 1_000_000 + micros
}

fn add<'a>(calls: &'a mut Pipeline, line: &str) -> &'a mut Pipeline {
    let mut words = line.split_whitespace();
    calls
        .cmd(words.next().expect("a command"))
        .arg(words.collect::<Vec<_>>())
}

fn text_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => format!("not a reply of the server: {error}"),
    }
}
