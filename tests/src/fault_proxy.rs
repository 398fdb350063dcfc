//! A proxy before a server that does what networks do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Port;

/// How often a connection looks whether its fault has changed.
const LOOK: Duration = Duration::from_millis(2);

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its work.
    None,
    /// It takes what is sent and gives nothing on, to either side, until it ends; then all of it.
    BlackHole,
    /// It cuts the next connection on which a reply comes, before the reply is through; after that it works.
    CutReply,
    /// It sends these bytes before the next reply that comes; after that it works.
    SurplusReply(&'static [u8]),
    /// Replies come a byte at a time, with as long a pause between them.
    SlowReplies(Duration),
}

/// A listening proxy; its connections end with it.
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
    /// Leads to this port of the loopback address.
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
                proxy.carry(&client);
            }
        });
        Self { port, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// The port of that.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// From now on the network does this.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault() = fault;
    }

    /// New connections lead to another port.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::Relaxed);
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // So that the listener looks.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
    }
}

impl Shared {
    fn fault(&self) -> MutexGuard<'_, Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to carry what both sides send. A client is sent away if there is nobody at the other end.
    fn carry(self: &Arc<Self>, client: &TcpStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let target = self.target.load(Ordering::Relaxed);
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
            return;
        };
        for (from, to, is_reply) in [(client, &server, false), (&server, client, true)] {
            let both = from
                .try_clone()
                .and_then(|from| Ok((from, to.try_clone()?)));
            let (mut from, mut to) = both.expect("two more handles");
            let _ = from.set_read_timeout(Some(LOOK));
            let _ = to.set_nodelay(true);
            let proxy = Arc::clone(self);
            thread::spawn(move || {
                while proxy.carry_some(&mut from, &mut to, is_reply).is_some() {}
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }

    /// Carries what came at once. `None` at the end.
    fn carry_some(&self, from: &mut TcpStream, to: &mut TcpStream, is_reply: bool) -> Option<()> {
        self.wait_for_light()?;
        let mut bytes = [0; 16384];
        let length = match from.read(&mut bytes) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(()),
            Err(_) => return None,
        };
        self.wait_for_light()?;
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

    /// Waits while there is a black hole. `None` if all is over.
    fn wait_for_light(&self) -> Option<()> {
        while !self.is_over.load(Ordering::Relaxed) {
            if *self.fault() != Fault::BlackHole {
                return Some(());
            }
            thread::sleep(LOOK);
        }
        None
    }
}
