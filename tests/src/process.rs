//! Child processes that end with the test, their processor time, and free ports.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

/// A running process. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command`.
    ///
    /// # Panics
    ///
    /// If it cannot be started; the message names it.
    pub fn start(command: &mut Command) -> Self {
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        )
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal)
            .expect("the process is ours and not yet waited for");
    }

    /// The exit status; `None` while the process runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("the process is ours")
    }

    /// Waits until the process ends.
    pub fn wait(&mut self) -> ExitStatus {
        crate::eventually("the process to end", || self.ended())
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processor time in seconds that a process has used: user and system time of all its threads, in steps of 10 ms.
///
/// # Panics
///
/// If there is no such process.
#[must_use]
pub fn cpu_seconds(id: u32) -> f64 {
    // proc_pid_stat(5): the fields 14 and 15, in clock ticks.
    let ticks = fields_of(id).expect("it runs");
    let ticks = ticks[11..13].iter().map(|field| field.parse::<f64>());
    ticks.map(|ticks| ticks.expect("a number")).sum::<f64>() / 100.0
}

/// The processes that a process has started and that run.
///
/// # Panics
///
/// If the processes cannot be listed.
#[must_use]
pub fn children(id: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("a list of processes");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |child: &u32| fields_of(*child).is_some_and(|all| all[1] == id.to_string());
    ids.filter(is_child).collect()
}

/// The fields of `/proc/PID/stat` from the third on, the state. `None` if there is no such process.
fn fields_of(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Whether anything listens on this port of the loopback address.
#[must_use]
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A TCP port of the loopback address that no other test gets while this value lives, nor soon after.
///
/// It is below the range that Linux uses for outgoing connections: one of them could take the port while its server
/// restarts.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The UDP port of the same number, bound so that tests in other processes choose another one.
    _held: UdpSocket,
}

impl Port {
    const LOWEST: u32 = 10_000;
    const COUNT: u32 = 22_000;

    /// The default distance from a cluster node's port to the port of its bus.
    const TO_BUS: u16 = 10_000;

    /// A port that nothing listens on.
    #[must_use]
    pub fn free() -> Self {
        Self::first_free(Self::hold)
    }

    /// The ports of a cluster node: its own and that of its bus.
    #[must_use]
    pub fn of_node() -> [Self; 2] {
        let below = |number: &u16| u32::from(number + Self::TO_BUS) < Self::LOWEST + Self::COUNT;
        Self::first_free(|number| {
            let bus = Some(number).filter(below)? + Self::TO_BUS;
            Some([Self::hold(number)?, Self::hold(bus)?])
        })
    }

    fn first_free<T>(hold: impl Fn(u16) -> Option<T>) -> T {
        // Never reused, because a peer of the server that had a port may still connect to it.
        static TRIED: AtomicU32 = AtomicU32::new(0);
        let first = std::process::id().wrapping_mul(499);
        let next = || first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        std::iter::repeat_with(next)
            .take(Self::COUNT as usize)
            .filter_map(|n| u16::try_from(Self::LOWEST + n % Self::COUNT).ok())
            .find_map(hold)
            .expect("one of so many ports is free")
    }

    fn hold(number: u16) -> Option<Self> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
        let _held = UdpSocket::bind(addr).ok()?;
        // Binds without listening: a process that is forked meanwhile holds a copy of this socket until it calls exec.
        let free = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        free.set_reuse_address(true).ok()?;
        free.bind(&addr.into()).ok()?;
        Some(Self { number, _held })
    }

    /// The port number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Allows this process, and those that it starts, to open `count` files.
///
/// # Panics
///
/// If the hard limit is lower.
pub fn allow_files(count: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(hard >= count, "only {hard} files may be open");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a limit up to the hard one");
}
