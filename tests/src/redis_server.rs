//! A real redis-server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::connection::Redis;
use crate::process::{Port, Process};
use crate::{artifacts, eventually, version};

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The module it loads, if any.
    pub module: Option<PathBuf>,
    /// More arguments.
    pub args: Vec<String>,
    /// Variables added to the environment.
    pub environment: Vec<(String, String)>,
    /// A program, with its arguments, that runs the server, such as valgrind; empty for none.
    pub runner: Vec<String>,
}

impl Setup {
    /// A setup with the module, and more arguments.
    #[must_use]
    pub fn with_module(args: &[&str]) -> Self {
        Self {
            module: Some(artifacts().module.clone()),
            ..Self::without_module(args)
        }
    }

    /// A setup without the module.
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

/// A redis-server with its own directory, on a unix socket and optionally a TCP port.
#[derive(Debug)]
pub struct RedisServer {
    process: Mutex<Option<Process>>,
    setup: Setup,
    /// Its TCP port first. The port of the cluster bus is only reserved.
    ports: Vec<Port>,
    dir: TempDir,
}

impl RedisServer {
    /// Starts a server with the module, without persistence, on its socket only.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`RedisServer::start`], with more arguments.
    #[must_use]
    pub fn start_with(args: &[&str]) -> Self {
        Self::start_as(Setup::with_module(args))
    }

    /// Starts a server on its socket only, with this setup.
    #[must_use]
    pub fn start_as(setup: Setup) -> Self {
        Self::new(Vec::new(), setup)
    }

    /// As [`RedisServer::start_with`], on a TCP port as well.
    #[must_use]
    pub fn start_on_tcp(args: &[&str]) -> Self {
        Self::start_on_tcp_as(Setup::with_module(args))
    }

    /// As [`RedisServer::start_as`], on a TCP port as well.
    #[must_use]
    pub fn start_on_tcp_as(setup: Setup) -> Self {
        Self::new(vec![Port::free()], setup)
    }

    /// Starts a cluster node without slots, with more arguments.
    #[must_use]
    pub fn start_cluster_node(args: &[&str]) -> Self {
        let args = [&["--cluster-enabled", "yes"], args].concat();
        Self::new(Port::of_node().into(), Setup::with_module(&args))
    }

    /// Starts a server without the module, on a TCP port as well.
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
        // Before 7.0 these commands are always enabled.
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
                // An outgoing connection may use this port for a while, if the system is configured to assign such
                // ports.
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

    /// The log since the last start.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A new connection; `None` while the server does not accept one.
    #[must_use]
    pub fn try_connect(&self) -> Option<Redis> {
        Redis::to(&self.url())
    }

    /// A new connection. Waits while the server is loading its data.
    #[must_use]
    pub fn connect(&self) -> Redis {
        eventually("redis-server to accept a connection", || self.try_connect())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let process = self.process();
        process.as_ref().expect("it is running").signal(signal);
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&self) {
        *self.process() = None;
    }

    /// Kills the server if it is still running, and restarts it in the same directory with other arguments. The module
    /// is loaded only if they load it.
    pub fn restart_with(&mut self, args: &[&str]) {
        self.kill();
        self.setup = Setup::without_module(args);
        self.launch();
    }

    /// Restarts the server with the same setup.
    pub fn restart(&self) {
        self.kill();
        self.launch();
    }

    /// Makes this server the replica of one with a TCP port, and waits until it is in sync.
    pub fn follow(&self, primary: &Self) {
        let replicate = format!("REPLICAOF 127.0.0.1 {}", primary.port());
        self.connect().value(&replicate);
        let mut redis = primary.connect();
        eventually("the replica to be in sync", || {
            let replica = redis.info("replication", "slave0")?;
            replica.contains("state=online").then_some(())
        });
    }

    /// Whether the process is running.
    pub fn is_alive(&self) -> bool {
        self.process()
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }
}

/// Fails the test if the module caught a panic.
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
