//! An application behind a proxy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::PATIENCE;

/// An HTTP server that answers every request with 200 and `the application`, on a port that the kernel chose.
#[derive(Debug)]
pub struct Application {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Application {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (requests, is_ended) = <(Arc<Mutex<Vec<String>>>, Arc<AtomicBool>)>::default();
        let (seen, ended) = (Arc::clone(&requests), Arc::clone(&is_ended));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let seen = Arc::clone(&seen);
                // A proxy may open a connection on which it sends nothing yet.
                thread::spawn(move || stream.is_ok_and(|stream| answer(stream, &seen).is_some()));
            }
        });
        Self {
            addr,
            requests,
            is_ended,
            thread: Some(thread),
        }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The methods and targets of the requests that it has got since the last call, such as `GET /page?x=1`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut requests)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        let _wakes_it = TcpStream::connect(self.addr);
        let thread = self.thread.take();
        let _ = thread.map(JoinHandle::join);
    }
}

/// Answers one request, and closes the connection. `None` if there is no whole request.
fn answer(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim_end().is_empty() {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let (request, _version) = head.first()?.rsplit_once(' ')?;
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.parse().ok()).flatten()
    });
    reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.push(request.to_owned());
    drop(seen);
    let response =
        "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\nthe application";
    stream.write_all(response.as_bytes()).ok()
}
