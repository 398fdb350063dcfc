//! The socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use super::acceptor::RESPONSE_TIMEOUT;

/// Connections that may wait to be accepted; the kernel's own limit is lower on most machines.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel may hold for one connection in each direction; Linux takes twice as many, for its own records. Its
/// defaults grow to megabytes for whoever does not read. A head and an answer fit.
const SOCKET_BUFFER: usize = 16 * 1024;

/// Listens on the `host:port` of this flag, or on all addresses of both families where there is no host.
///
/// # Errors
///
/// If the address cannot be read or bound; the error names it and the flag.
pub fn listen(addr: &str, flag: &str) -> io::Result<TcpListener> {
    let named = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot listen on {addr}: {error}; choose another address with {flag}"),
        )
    };
    bind(addr).map_err(named)
}

fn bind(addr: &str) -> io::Result<TcpListener> {
    let Some(port) = addr.strip_prefix(':') else {
        let resolved = addr.to_socket_addrs()?.next();
        return bind_one(resolved.ok_or_else(|| io::Error::other("the host has no address"))?);
    };
    let port = port
        .parse()
        .map_err(|_| io::Error::other("the port is a number from 0 to 65535"))?;
    match bind_one((Ipv6Addr::UNSPECIFIED, port).into()) {
        // A machine without IPv6 has only the one family.
        Err(error) if error.raw_os_error() == Some(EAFNOSUPPORT) => {
            bind_one((Ipv4Addr::UNSPECIFIED, port).into())
        }
        bound => bound,
    }
}

/// Linux's "address family not supported by protocol".
const EAFNOSUPPORT: i32 = 97;

fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted connections inherit these three. The time-out is for answers that the kernel holds: nothing else sees them.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_tcp_user_timeout(Some(RESPONSE_TIMEOUT))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
