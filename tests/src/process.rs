//! A child process that ends with the test.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running process; killed, and waited for, when dropped.
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

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal)
            .expect("the process is ours and not yet waited for");
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("the process is ours")
    }

    /// Waits for its end.
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

/// A TCP port of the loopback address that no other test is given while this lives, nor any soon after.
///
/// It lies below those that Linux gives to outgoing connections: one of them could take it while its server restarts.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The UDP port of the same number, held so that tests in other processes choose another.
    _held: UdpSocket,
}

impl Port {
    const LOWEST: u32 = 10_000;
    const COUNT: u32 = 22_000;

    /// One that nothing listens on.
    #[must_use]
    pub fn free() -> Self {
        // Counted on, since what had a port until now may still look for its peer there.
        static TRIED: AtomicU32 = AtomicU32::new(0);
        let first = std::process::id().wrapping_mul(499);
        let next = || first.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed));
        std::iter::repeat_with(next)
            .take(Self::COUNT as usize)
            .filter_map(|n| u16::try_from(Self::LOWEST + n % Self::COUNT).ok())
            .find_map(Self::hold)
            .expect("one of so many ports is free")
    }

    /// One, and the one 10,000 above it, where a Redis before 7.0 has the bus of its cluster.
    #[must_use]
    pub fn free_with_bus() -> Vec<Self> {
        std::iter::repeat_with(Self::free)
            .find_map(|port| {
                let bus = Self::hold(port.number + 10_000)?;
                Some(vec![port, bus])
            })
            .expect("endless")
    }

    fn hold(number: u16) -> Option<Self> {
        let addr = (Ipv4Addr::LOCALHOST, number);
        let _held = UdpSocket::bind(addr).ok()?;
        TcpListener::bind(addr).ok()?;
        Some(Self { number, _held })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}
