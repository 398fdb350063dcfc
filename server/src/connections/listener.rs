//! The listening socket, of TCP or a unix socket: its address, and the options of accepted connections.
//!
//! Accepting is up to [`super::acceptor`].

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use nix::errno::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;
use tracing::debug;

use super::delivery::RESPONSE_TIMEOUT;
use super::unix_socket;
use crate::client_address::Peer;

/// Maximum number of connections that wait to be accepted. On most machines the kernel's own limit is lower.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel buffers for one connection in each direction. Linux doubles this for its bookkeeping. Without
/// a bound the buffers of a client that does not read grow to megabytes. The head of a request and a response fit.
const SOCKET_BUFFER: usize = 16 * 1024;

/// The stream of an accepted connection.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// An accepted connection, not yet registered with the runtime of the thread that serves it.
#[derive(Debug)]
pub(super) struct AcceptedStream(Either<std::net::TcpStream, std::os::unix::net::UnixStream>);

impl AcceptedStream {
    /// Registers the stream with the runtime of the calling task.
    pub(super) fn register(self) -> io::Result<Stream> {
        Ok(match self.0 {
            Either::Left(stream) => Either::Left(TcpStream::from_std(stream)?),
            Either::Right(stream) => Either::Right(UnixStream::from_std(stream)?),
        })
    }
}

/// A listening socket. It is displayed as its address, for the log.
#[derive(Debug)]
pub struct Listener {
    socket: Either<TcpListener, UnixListener>,
    address: String,
}

impl Listener {
    /// Accepts a connection and sets the options that it does not inherit.
    pub(super) async fn accept(&self) -> io::Result<(AcceptedStream, Peer)> {
        match &self.socket {
            Either::Left(listener) => {
                let (stream, peer) = listener.accept().await?;
                let peer = Peer::Tcp(peer);
                log_failure(peer, "TCP_NODELAY", stream.set_nodelay(true));
                Ok((AcceptedStream(Either::Left(stream.into_std()?)), peer))
            }
            Either::Right(listener) => {
                // The peer's address is its path, and clients have none.
                let (stream, _address) = listener.accept().await?;
                let bounded = SockRef::from(&stream).set_send_buffer_size(SOCKET_BUFFER);
                log_failure(Peer::Unix, "SO_SNDBUF", bounded);
                Ok((
                    AcceptedStream(Either::Right(stream.into_std()?)),
                    Peer::Unix,
                ))
            }
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

fn log_failure(peer: Peer, option: &str, set: io::Result<()>) {
    if let Err(error) = set {
        debug!("{peer}: {option}: {error}");
    }
}

/// Listens on `addr`, a `host:port` or `unix:/path`. Without a host, on all addresses of both families. Port 0 lets the
/// system choose one.
///
/// A host name that has several addresses is bound at the first of them. Call it inside a Tokio runtime, which the
/// listener registers with; outside of one it panics. Looking the name up blocks, so call it before anything is served.
///
/// # Errors
///
/// If the address cannot be resolved or bound. The error names the address and `flag`, the flag that set it.
pub fn listen(addr: &str, flag: &str) -> io::Result<Listener> {
    let bound = match addr.strip_prefix("unix:") {
        Some(path) => unix_socket::bind(path, BACKLOG).map(|listener| Listener {
            socket: Either::Right(listener),
            address: addr.to_owned(),
        }),
        None => bind(addr),
    };
    bound.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on {addr}: {error}; choose another host:port or unix:/path with {flag}"),
        )
    })
}

fn bind(addr: &str) -> io::Result<Listener> {
    let listener = bind_first(addr)?;
    Ok(Listener {
        address: listener.local_addr()?.to_string(),
        socket: Either::Left(listener),
    })
}

/// Resolves the address and binds it. Without a host that is the unspecified IPv6 address, which accepts IPv4 as well.
fn bind_first(addr: &str) -> io::Result<TcpListener> {
    let Some(port) = addr.strip_prefix(':') else {
        let resolved = addr.to_socket_addrs()?.next();
        return bind_one(resolved.ok_or_else(|| io::Error::other("the host has no address"))?);
    };
    let port = port
        .parse()
        .map_err(|_| io::Error::other("the port must be a number from 0 to 65535"))?;
    match bind_one((Ipv6Addr::UNSPECIFIED, port).into()) {
        // A machine without IPv6 has IPv4 only.
        Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
            bind_one((Ipv4Addr::UNSPECIFIED, port).into())
        }
        bound => bound,
    }
}

/// Binds one address, with the options that all connections of the server have.
///
/// `SO_REUSEADDR` lets a restarted server bind while connections of the old one are in TIME_WAIT. It does not let two
/// servers share a port.
fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted connections inherit these three. The time-out is for responses in the kernel's buffer, which this
    // process cannot see.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_tcp_user_timeout(Some(RESPONSE_TIMEOUT))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
