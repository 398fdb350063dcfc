//! A separate wall clock for a server, by libfaketime.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::version::{program, version};
use crate::{Redis, RedisServer, Setup, eventually};

/// The dynamic loader replaces `$LIB` with the library directory of this machine.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// The maximum difference between the clock that a server shows and the one it reads. Valkey 9 reads the clock ten
/// times a second and extrapolates in between.
const DRIFT_US: i64 = 200;

/// A wall clock that a test can set while servers use it. It advances as the machine's clock does. The servers' other
/// clocks, such as the monotonic one, stay those of the machine.
#[derive(Debug)]
pub struct FakedClock {
    dir: TempDir,
    offset_us: i64,
}

impl FakedClock {
    /// A clock that differs from the machine's by `offset_us`. Prints the reason and returns `None` if libfaketime does
    /// not work with the server under test.
    ///
    /// # Panics
    ///
    /// If libfaketime is not installed.
    #[must_use]
    pub fn new(offset_us: i64) -> Option<Self> {
        if let Some(library) = shared_jemalloc() {
            println!("skipped: libfaketime hangs a server that is linked with {library}");
            return None;
        }
        if version() < [7, 2] {
            println!("skipped: before 7.2 the commands of one transaction may see different times");
            return None;
        }
        Some(Self::of_rl_server(offset_us))
    }

    /// A clock for rl-server, which works whatever Redis server is under test.
    ///
    /// # Panics
    ///
    /// If libfaketime is not installed.
    #[must_use]
    pub fn of_rl_server(offset_us: i64) -> Self {
        let mut clock = Self {
            dir: tempfile::tempdir().expect("a directory for the clock"),
            offset_us: 0,
        };
        clock.set(-now_us());
        assert_eq!(
            clock.year(),
            "1970",
            "tests/packages.sh installs libfaketime"
        );
        clock.set(offset_us);
        clock
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }

    /// The environment of a process that uses this clock.
    pub(crate) fn environment(&self) -> [(String, String); 4] {
        let file = self.file().display().to_string();
        [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// The year that `date` shows with this clock, in UTC.
    ///
    /// # Panics
    ///
    /// If `date` cannot be run.
    #[must_use]
    pub fn year(&self) -> String {
        let output = Command::new("date")
            .args(["--utc", "+%Y"])
            .envs(self.environment())
            .stderr(Stdio::null())
            .output()
            .expect("date runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts a server with this clock and the module.
    #[must_use]
    pub fn start(&self, args: &[&str]) -> RedisServer {
        let server = RedisServer::start_as(Setup {
            environment: self.environment().to_vec(),
            ..Setup::with_module(args)
        });
        unlink_shared_memory(&server);
        server
    }

    /// Restarts such a server.
    pub fn restart(&self, server: &RedisServer) {
        server.restart();
        unlink_shared_memory(server);
    }

    /// Sets the difference from the machine's clock. A server may show it a little later.
    pub fn set(&mut self, offset_us: i64) {
        let next = self.dir.path().join("next");
        let (sign, distance_us) = (if offset_us < 0 { '-' } else { '+' }, offset_us.abs());
        let (seconds, micros) = (distance_us / 1_000_000, distance_us % 1_000_000);
        std::fs::write(&next, format!("{sign}{seconds}.{micros:06}\n")).expect("written");
        std::fs::rename(next, self.file()).expect("renamed");
        self.offset_us = offset_us;
    }

    /// Steps the clock by `by_us`, which may be negative, and waits until the server shows it.
    pub fn step(&mut self, by_us: i64, redis: &mut Redis) {
        let before_us = self.offset_us;
        self.set(before_us + by_us);
        eventually("the server to show the new time", || {
            let earliest_us = now_us();
            let shown_us = redis.time_us();
            let range = shown_us - now_us() - DRIFT_US..=shown_us - earliest_us + DRIFT_US;
            (range.contains(&self.offset_us) && !range.contains(&before_us)).then_some(())
        });
    }
}

/// The machine's wall clock.
fn now_us() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_micros()).expect("before 294247")
}

/// The name of the shared jemalloc library that the server is linked with, if any. libfaketime and that library hang at
/// the start, because each needs the other to initialise first.
fn shared_jemalloc() -> Option<String> {
    let path = Command::new("which")
        .arg(program())
        .output()
        .expect("which runs");
    let path = PathBuf::from(String::from_utf8(path.stdout).expect("UTF-8").trim());
    // A server of another Debian release is started by a script next to its libraries.
    let with_libraries = path.with_file_name("lib").join("redis-server");
    let program = [
        with_libraries.with_file_name("valkey-server"),
        with_libraries,
    ]
    .into_iter()
    .find(|path| path.exists())
    .unwrap_or(path);
    let linked = Command::new("ldd").arg(program).output();
    let linked = linked.expect("ldd runs");
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let mut names = linked.split_whitespace();
    names
        .find(|name| name.starts_with("libjemalloc"))
        .map(str::to_owned)
}

/// Removes libfaketime's shared memory, which the server has already opened. A killed process would not remove it, and
/// a later process with the same id would fail to create it.
fn unlink_shared_memory(server: &RedisServer) {
    let pid = server.connect().info("server", "process_id");
    unlink_shared_memory_of(pid.expect("a process id"));
}

pub(crate) fn unlink_shared_memory_of(pid: impl Display) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(format!("{name}{pid}")));
    }
}
