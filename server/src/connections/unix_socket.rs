//! Binds a unix socket for [`super::listener`]. Replaces the file that an ended process left, and nothing else.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Maximum length of the path in bytes: what Linux has room for, less the final zero.
const MAX_PATH: usize = 107;

/// Listens on a new socket at `path`, where at most `backlog` connections wait to be accepted. The umask of the process
/// decides who may connect.
pub(super) fn bind(path: &str, backlog: i32) -> io::Result<UnixListener> {
    check(path).map_err(|reason| io::Error::new(ErrorKind::InvalidInput, reason))?;
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path, &address)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    socket.set_nonblocking(true)?;
    socket.listen(backlog)?;
    UnixListener::from_std(socket.into())
}

fn check(path: &str) -> Result<(), String> {
    match path.len() {
        0 => Err("expected a path after unix:, such as unix:/run/rl-server/http.sock".to_owned()),
        _ if !path.starts_with('/') => Err(
            "the path is relative; start it with /, such as unix:/run/rl-server/http.sock"
                .to_owned(),
        ),
        length if length > MAX_PATH => Err(format!(
            "the path has {length} bytes, and that of a socket at most {MAX_PATH}; choose a shorter one"
        )),
        _ => Ok(()),
    }
}

/// Removes the socket at `path` if no process listens on it.
///
/// Only a refused connection shows that. A process that has bound the socket and does not listen yet refuses too. So two
/// servers that start on one path at the same instant may both succeed, and the later one gets the connections.
fn remove_stale(path: &str, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::other(
            "there is a file that is not a socket, and only stale sockets are replaced",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A live socket whose queue is full would block the probe.
    probe.set_nonblocking(true)?;
    match probe.connect(address).map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused) => fs::remove_file(path),
        Ok(()) | Err(ErrorKind::WouldBlock) => Err(io::Error::new(
            ErrorKind::AddrInUse,
            "another listener has this socket",
        )),
        Err(error) => Err(io::Error::other(format!(
            "there is a socket, and whether a process listens on it is unknown: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_at_most_107_bytes_long() {
        let of_length = |length: usize| format!("/{}", "x".repeat(length - 1));
        for (path, reason) in [
            ("/run/a.sock", None),
            (&of_length(107), None),
            (&of_length(108), Some("has 108 bytes")),
            ("", Some("expected a path after unix:")),
            ("a.sock", Some("start it with /")),
            ("./a.sock", Some("start it with /")),
            ("@abstract", Some("start it with /")),
        ] {
            let error = check(path).err();
            let is_expected = match (&error, reason) {
                (Some(error), Some(reason)) => error.contains(reason),
                (error, reason) => error.is_none() && reason.is_none(),
            };
            assert!(is_expected, "{path}: {error:?}");
        }
    }
}
