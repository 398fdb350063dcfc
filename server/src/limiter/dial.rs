//! Opens the socket to a Redis server: by TCP, by TLS over TCP, or to a unix socket.
//!
//! A peer that vanishes without closing the connection is noticed within two seconds, and small writes are sent at once.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;

use super::pipeline::Stream;
use crate::redis_address::{Address, Node, Server};

/// The time without data after which the kernel asks whether the peer is there, and from each question to the next.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// The lookups of host names that the process makes at a time, for all threads together.
static LOOKUPS: Semaphore = Semaphore::const_new(2);

/// How long sent bytes may stay unacknowledged.
const USER_TIMEOUT: Duration = Duration::from_secs(2);

/// Connects, without a time-out: the caller sets one.
pub(super) async fn dial(server: &Server) -> io::Result<Stream> {
    match (server.address(), server.tls()) {
        (Address::Unix(path), _) => Ok(Box::new(UnixStream::connect(path).await?)),
        (Address::Tcp(node), None) => Ok(Box::new(tcp(node).await?)),
        (Address::Tcp(node), Some(config)) => with_tls(node, config).await,
    }
}

/// Connects to all addresses of the host at once, and takes the first that accepts.
async fn tcp(node: &Node) -> io::Result<TcpStream> {
    let addresses = addresses(node).await?;
    let attempts: Vec<_> = addresses
        .into_iter()
        .map(|address| Box::pin(TcpStream::connect(address)))
        .collect();
    if attempts.is_empty() {
        return Err(io::Error::other("the host has no address"));
    }
    let (stream, _others) = select_ok(attempts).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}

/// The addresses of the host.
///
/// A lookup blocks a thread, for long if no resolver answers. It cannot be cancelled, so it holds its permit until it
/// ends.
async fn addresses(node: &Node) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (node.host.clone(), node.port);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let lookup = spawn_blocking(move || {
        let _permit = permit;
        (host, port).to_socket_addrs().map(Iterator::collect)
    });
    lookup.await.map_err(io::Error::other)?
}

async fn with_tls(node: &Node, config: &Arc<ClientConfig>) -> io::Result<Stream> {
    let name = ServerName::try_from(node.host.clone()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(config.clone());
    Ok(Box::new(connector.connect(name, tcp(node).await?).await?))
}
