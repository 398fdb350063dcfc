//! A proxy in front of a server that simulates network faults.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Port;

/// How often a connection checks whether the fault has changed.
const LOOK: Duration = Duration::from_millis(2);

/// A network fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Holds back all bytes, in both directions, and delivers them when the fault ends.
    BlackHole,
    /// Closes the next connection on which a reply arrives, before forwarding it. After that there is no fault.
    CutReply,
    /// Sends these bytes before the next reply. After that there is no fault.
    SurplusReply(&'static [u8]),
    /// Drops each reply that begins with these bytes.
    DropReplies(&'static [u8]),
    /// Forwards replies one byte at a time, with this pause between bytes.
    SlowReplies(Duration),
}

/// A listening proxy. Dropping it closes its connections.
#[derive(Debug)]
pub struct FaultProxy {
    port: Port,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: AtomicU16,
    fault: Mutex<Fault>,
    connections: AtomicUsize,
    is_over: AtomicBool,
}

impl FaultProxy {
    /// Starts a proxy to this port of the loopback address.
    ///
    /// # Panics
    ///
    /// If it cannot listen.
    #[must_use]
    pub fn to(target: u16) -> Self {
        let port = Port::free();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number()));
        let listener = listener.expect("the port is free");
        let shared = Arc::new(Shared {
            target: target.into(),
            fault: Mutex::new(Fault::None),
            connections: AtomicUsize::default(),
            is_over: AtomicBool::default(),
        });
        let proxy = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if proxy.is_over.load(Ordering::Relaxed) {
                    break;
                }
                proxy.forward(&client);
            }
        });
        Self { port, shared }
    }

    /// The address that the proxy listens on.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The port that the proxy listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Sets the fault.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault() = fault;
    }

    /// Forwards new connections to another port.
    pub fn forward_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::Relaxed);
    }

    /// How many connections the proxy has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees `is_over`.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
    }
}

impl Shared {
    fn fault(&self) -> MutexGuard<'_, Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to forward bytes in both directions. Closes the client's connection if the server does not accept one.
    fn forward(self: &Arc<Self>, client: &TcpStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let target = self.target.load(Ordering::Relaxed);
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
            return;
        };
        for (from, to, is_reply) in [(client, &server, false), (&server, client, true)] {
            let both = from
                .try_clone()
                .and_then(|from| Ok((from, to.try_clone()?)));
            let (mut from, mut to) = both.expect("cloned sockets");
            let _ = from.set_read_timeout(Some(LOOK));
            let _ = to.set_nodelay(true);
            let proxy = Arc::clone(self);
            thread::spawn(move || {
                while proxy.forward_some(&mut from, &mut to, is_reply).is_some() {}
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }

    /// Forwards one read. `None` at the end of the stream.
    fn forward_some(&self, from: &mut TcpStream, to: &mut TcpStream, is_reply: bool) -> Option<()> {
        self.wait_for_black_hole_to_end()?;
        let mut bytes = [0; 16384];
        let length = match from.read(&mut bytes) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(()),
            Err(_) => return None,
        };
        self.wait_for_black_hole_to_end()?;
        let fault = *self.fault();
        match fault {
            Fault::CutReply if is_reply => {
                self.set_if(Fault::CutReply, Fault::None);
                return None;
            }
            Fault::SurplusReply(surplus) if is_reply => {
                self.set_if(fault, Fault::None);
                to.write_all(surplus).ok()?;
                to.write_all(&bytes[..length]).ok()?;
            }
            Fault::DropReplies(start) if is_reply && bytes[..length].starts_with(start) => {}
            Fault::SlowReplies(pause) if is_reply => {
                for byte in &bytes[..length] {
                    to.write_all(&[*byte]).ok()?;
                    thread::sleep(pause);
                }
            }
            _ => to.write_all(&bytes[..length]).ok()?,
        }
        Some(())
    }

    fn set_if(&self, before: Fault, after: Fault) {
        let mut fault = self.fault();
        if *fault == before {
            *fault = after;
        }
    }

    /// Waits while the fault is a black hole. `None` if the proxy was dropped.
    fn wait_for_black_hole_to_end(&self) -> Option<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            if *self.fault() != Fault::BlackHole {
                return Some(());
            }
            thread::sleep(LOOK);
        }
        None
    }
}
