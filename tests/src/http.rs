//! The real rl-server, and requests to it byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::faked_clock::forget_shared_memory_of;
use crate::process::Process;
use crate::{FakedClock, PATIENCE, artifacts};

/// A running rl-server.
#[derive(Debug)]
pub struct HttpServer {
    process: Process,
    port: u16,
    /// Its lines that nobody has waited for.
    log: Mutex<Receiver<String>>,
}

impl HttpServer {
    /// Starts it on a free port of the loopback address with these flags, and waits for its connection to Redis.
    #[must_use]
    pub fn start(flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", flags)
    }

    /// As [`HttpServer::start`] with this `-addr`, which should have port 0: the port is read from its log.
    #[must_use]
    pub fn start_at(addr: &str, flags: &[&str]) -> Self {
        let server = Self::launch(addr, flags, &[]);
        server.wait_for_log("connected to Redis");
        server
    }

    /// Starts it while there is no Redis.
    #[must_use]
    pub fn start_alone(flags: &[&str]) -> Self {
        Self::launch("127.0.0.1:0", flags, &[])
    }

    /// As [`HttpServer::start_alone`], with this wall clock.
    #[must_use]
    pub fn start_by(clock: &FakedClock, flags: &[&str]) -> Self {
        let server = Self::launch("127.0.0.1:0", flags, &clock.environment());
        forget_shared_memory_of(server.id());
        server
    }

    /// Its deadline is one that no busy machine misses, unless the flags say another.
    fn launch(addr: &str, flags: &[&str], environment: &[(String, String)]) -> Self {
        let mut child = Command::new(&artifacts().server)
            .args(["-addr", addr, "-deadline", "600s"])
            .args(flags)
            .envs(environment.iter().cloned())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rl-server was built");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (tell, log) = mpsc::channel();
        // Reads on until the end, so that a full pipe never stops the server.
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| _ = tell.send(line));
        });
        let mut server = Self {
            process: Process::from(child),
            port: 0,
            log: Mutex::new(log),
        };
        let line = server.wait_for_log("listening on ");
        let (_, addr) = line.split_once("listening on ").expect("as waited for");
        let addr = addr.split('"').next().and_then(|addr| addr.parse().ok());
        server.port = addr
            .map(|addr: SocketAddr| addr.port())
            .expect("an address");
        server
    }

    /// Waits for a line of its log that contains `text`, after those that were waited for already.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn wait_for_log(&self, text: &str) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::iter::from_fn(|| log.recv_timeout(PATIENCE).ok());
        let mut lines = lines.skip_while(|line| !line.contains(text));
        lines
            .next()
            .unwrap_or_else(|| panic!("rl-server does not log {text:?}"))
    }

    /// Waits for its end, and gives the lines of its log that nobody has waited for.
    pub fn rest_of_log(&mut self) -> Vec<String> {
        self.process.wait();
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().collect()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to it over IPv4.
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        connect(("127.0.0.1", self.port))
    }

    /// One request on a connection of its own.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        get(&mut self.connect(), path)
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Bytes of memory that it holds: its resident set.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        kibibytes
            .map(|kibibytes: usize| kibibytes * 1024)
            .expect("VmRSS")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end and gives its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().code()
    }
}

/// A connection that gives up after [`PATIENCE`].
///
/// # Panics
///
/// If nothing listens there.
fn connect(addr: impl std::net::ToSocketAddrs) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("rl-server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

/// A connection to a port of the loopback address from another address of its network, such as `127.0.0.2`.
///
/// # Panics
///
/// If nothing listens there.
#[must_use]
pub fn connect_from(source: &str, port: u16) -> TcpStream {
    let source = SocketAddr::new(source.parse().expect("an address"), 0);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(&source.into())
        .expect("all of 127.0.0.0/8 is ours");
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(&addr.into()).expect("a server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket.into()
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, without date; names are in small letters.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of a header that is there once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }

    /// The value of a field of the JSON body, as text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("\"{name}\":"))?;
        rest.split([',', '}']).next()
    }
}

/// GET on an open connection, which stays open.
pub fn get(stream: &mut TcpStream, path: &str) -> Answer {
    get_with(stream, path, &[])
}

/// GET with these header lines, such as `Accept: text/html`.
pub fn get_with(stream: &mut TcpStream, path: &str, lines: &[&str]) -> Answer {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    send(
        stream,
        &format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"),
    )
}

/// Sends bytes and reads one answer.
///
/// # Panics
///
/// If no whole answer comes.
pub fn send(stream: &mut TcpStream, request: &str) -> Answer {
    stream
        .write_all(request.as_bytes())
        .expect("the request is taken");
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .expect("an answer before the time-out");
        line.trim_end().to_owned()
    };
    let status = line();
    // Names in small letters, and a space before values, as rl-server sends them; others need not.
    let small = |line: String| match line.split_once(':') {
        Some((name, value)) => format!("{}: {}", name.to_ascii_lowercase(), value.trim_start()),
        None => line,
    };
    let lines = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let mut headers: Vec<String> = lines.map(small).collect();
    headers.retain(|line| !line.starts_with("date: "));
    let mut answer = Answer {
        status: status
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("{status:?}")),
        headers,
        body: String::new(),
    };
    let length = if request.starts_with("HEAD") {
        "0"
    } else {
        answer.header("content-length").unwrap_or("0")
    };
    let mut body = vec![0; length.parse().expect("a length")];
    reader.read_exact(&mut body).expect("a whole body");
    answer.body = String::from_utf8(body).expect("UTF-8");
    answer
}
