//! The real rl-server, and raw HTTP requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

use crate::faked_clock::unlink_shared_memory_of;
use crate::process::Process;
use crate::{FakedClock, PATIENCE, artifacts};

/// A running rl-server.
#[derive(Debug)]
pub struct HttpServer {
    process: Process,
    address: String,
    /// Its log lines that no test has waited for.
    log: Mutex<Receiver<String>>,
}

impl HttpServer {
    /// Starts the server on a free port of the loopback address with these flags, and waits until it has connected to
    /// Redis.
    #[must_use]
    pub fn start(flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", flags)
    }

    /// As [`HttpServer::start`], with this `-addr`: one with port 0, as the actual port is read from the log, or a unix
    /// socket.
    #[must_use]
    pub fn start_at(addr: &str, flags: &[&str]) -> Self {
        Self::launch(&artifacts().server, addr, flags, &[]).connected()
    }

    /// As [`HttpServer::start`], of another build.
    #[must_use]
    pub fn start_build(program: &Path, flags: &[&str]) -> Self {
        Self::launch(program, "127.0.0.1:0", flags, &[]).connected()
    }

    /// Waits until the server has connected to Redis.
    fn connected(self) -> Self {
        self.wait_for_log("connected to Redis");
        self
    }

    /// Starts the server without waiting for a connection to Redis.
    #[must_use]
    pub fn start_alone(flags: &[&str]) -> Self {
        Self::launch(&artifacts().server, "127.0.0.1:0", flags, &[])
    }

    /// As [`HttpServer::start_alone`], with this wall clock.
    #[must_use]
    pub fn start_by(clock: &FakedClock, flags: &[&str]) -> Self {
        let (program, variables) = (&artifacts().server, clock.environment());
        let server = Self::launch(program, "127.0.0.1:0", flags, &variables);
        unlink_shared_memory_of(server.id());
        server
    }

    /// The default deadline is long enough for a busy machine; `flags` may set another one.
    fn launch(
        program: &Path,
        addr: &str,
        flags: &[&str],
        environment: &[(String, String)],
    ) -> Self {
        let mut child = Command::new(program)
            .args(["-addr", addr, "-deadline", "600s"])
            .args(flags)
            .envs(environment.iter().cloned())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rl-server was built");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (sender, log) = mpsc::channel();
        // Reads until the end, so that the server never blocks on a full pipe.
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| _ = sender.send(line));
        });
        let mut server = Self {
            process: Process::from(child),
            address: String::new(),
            log: Mutex::new(log),
        };
        let line = server.wait_for_log("listening on ");
        let (_, addr) = line
            .split_once("listening on ")
            .expect("a line with the address");
        let addr = addr.split('"').next().expect("an address");
        addr.clone_into(&mut server.address);
        server
    }

    /// Waits for a log line that contains `text`, after those that were waited for already.
    ///
    /// # Panics
    ///
    /// If there is none within [`PATIENCE`].
    pub fn wait_for_log(&self, text: &str) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::iter::from_fn(|| log.recv_timeout(PATIENCE).ok());
        let mut lines = lines.skip_while(|line| !line.contains(text));
        lines
            .next()
            .unwrap_or_else(|| panic!("rl-server does not log {text:?}"))
    }

    /// Waits until the server exits, and returns the log lines that no test has waited for.
    pub fn rest_of_log(&mut self) -> Vec<String> {
        self.process.wait();
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().collect()
    }

    /// The address it listens on, as its log says it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port it listens on.
    ///
    /// # Panics
    ///
    /// If it listens on a unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        let address: SocketAddr = self.address.parse().expect("an address of TCP");
        address.port()
    }

    /// A connection to it over IPv4.
    #[must_use]
    pub fn connect(&self) -> TcpStream {
        connect(("127.0.0.1", self.port()))
    }

    /// Sends one request on a new connection.
    #[must_use]
    pub fn get(&self, path: &str) -> Answer {
        get(&mut self.connect(), path)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The memory that the server uses in bytes: its resident set.
    ///
    /// # Panics
    ///
    /// If the server has exited.
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

    /// Waits until the server exits, and returns its exit code.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.process.wait().code()
    }
}

/// A connection with a read timeout of [`PATIENCE`].
///
/// # Panics
///
/// If nothing listens there.
fn connect(addr: impl std::net::ToSocketAddrs) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("rl-server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// A connection over a unix socket that gives up after [`PATIENCE`].
///
/// # Panics
///
/// If nothing listens there.
#[must_use]
pub fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("rl-server listens");
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
        .expect("all of 127.0.0.0/8 is the loopback network");
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(&addr.into()).expect("a server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.into()
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines without Date, with names in lower case.
    pub headers: Vec<String>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The value of a header that occurs at most once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = values.next();
        assert_eq!(values.next(), None, "duplicate header: {name}");
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
pub fn get(stream: &mut (impl Read + Write), path: &str) -> Answer {
    get_with(stream, path, &[])
}

/// GET with these header lines, such as `Accept: text/html`.
pub fn get_with(stream: &mut (impl Read + Write), path: &str, lines: &[&str]) -> Answer {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    send(
        stream,
        &format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"),
    )
}

/// Sends bytes and reads one response.
///
/// # Panics
///
/// If there is no complete response within [`PATIENCE`].
pub fn send(stream: &mut (impl Read + Write), request: &str) -> Answer {
    stream
        .write_all(request.as_bytes())
        .expect("the request is sent");
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .expect("a response before the timeout");
        line.trim_end().to_owned()
    };
    let status = line();
    // Normalises header lines to the form that rl-server sends: names in lower case, one space before the value.
    let normalise = |line: String| match line.split_once(':') {
        Some((name, value)) => format!("{}: {}", name.to_ascii_lowercase(), value.trim_start()),
        None => line,
    };
    let lines = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let mut headers: Vec<String> = lines.map(normalise).collect();
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
    reader.read_exact(&mut body).expect("a complete body");
    answer.body = String::from_utf8(body).expect("UTF-8");
    answer
}
