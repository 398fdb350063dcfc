//! rl-server on a unix socket: the file, the peer's address, connections, shutdown.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use rl_tests::{
    Http2, HttpServer, Process, RedisServer, artifacts, connect_unix, eventually, get, get_with,
    send,
};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;

use crate::serving::hold_requests_over;

/// A socket's path in a directory of its own, and the address that names it.
fn place() -> (TempDir, PathBuf, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("http.sock");
    let address = format!("unix:{}", path.display());
    (dir, path, address)
}

/// Under a policy that denies no request of a test.
fn start_at(address: &str, flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let url = redis.url();
    let policy = ["-redis", &url, "-rate", "1000000", "-burst", "1000000"];
    let http = HttpServer::start_at(address, &[&policy, flags].concat());
    (redis, http)
}

/// What a server that cannot start says on the standard error.
fn refused(flags: &[&str]) -> String {
    let mut child = Command::new(&artifacts().server)
        .args(flags)
        .stderr(Stdio::piped())
        .spawn()
        .expect("rl-server was built");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut server = Process::from(child);
    let mut text = String::new();
    for line in lines.map_while(Result::ok) {
        assert!(!line.contains("listening on "), "it started: {line}");
        text += &line;
    }
    assert_eq!(server.wait().code(), Some(1), "{text}");
    text
}

/// All bytes until the server closes the connection.
fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut read = Vec::new();
    if let Err(error) = stream.read_to_end(&mut read) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    read
}

#[test]
fn a_unix_socket_answers_and_the_log_names_it() {
    let (_dir, path, address) = place();
    let (redis, http) = start_at(&address, &[]);
    assert_eq!(http.address(), address);
    let mut stream = connect_unix(&path);
    for _ in 0..2 {
        let answer = get(&mut stream, "/token");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("ip"), Some("\"127.0.0.1\""));
    }
    let keys: Vec<String> = redis.connect().line("KEYS *");
    assert_eq!(keys, ["rl:token:127.0.0.1"]);
}

#[test]
fn http_2_is_served_in_the_clear_over_a_unix_socket() {
    let (_dir, path, address) = place();
    let (_redis, _http) = start_at(&address, &[]);
    let output = Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "-w", " %{http_version}"])
        .arg("--unix-socket")
        .args([&path, Path::new("http://localhost/token")])
        .output()
        .expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with(r#"{"allowed":true,"ip":"127.0.0.1","#) && text.ends_with("} 2"),
        "{output:?}"
    );
}

#[test]
fn the_umask_decides_who_may_connect() {
    let (_dir, path, address) = place();
    for (umask, mode) in [("0117", 0o660), ("0077", 0o700)] {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "umask $0 && exec \"$@\"", umask])
            .arg(&artifacts().server)
            .args(["-addr", &address])
            .stderr(Stdio::null());
        let mut server = Process::start(&mut shell);
        let answer = eventually("the server to listen", || {
            let mut stream = UnixStream::connect(&path).ok()?;
            Some(get(&mut stream, "/livez"))
        });
        assert_eq!(answer.status, 200);
        let metadata = fs::metadata(&path).expect("it is there");
        assert_eq!(metadata.mode() & 0o777, mode, "{umask}");
        server.signal(Signal::SIGTERM);
        server.wait();
    }
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let (_dir, path, address) = place();
    let (redis, mut http) = start_at(&address, &[]);
    http.signal(Signal::SIGKILL);
    http.exit_code();
    let error = UnixStream::connect(&path).expect_err("it is stale");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let _http = HttpServer::start_at(&address, &["-redis", &redis.url()]);
    assert_eq!(get(&mut connect_unix(&path), "/token").status, 200);
}

#[test]
fn a_live_socket_is_an_error_and_stays_live() {
    let (_dir, path, address) = place();
    let (_redis, _http) = start_at(&address, &[]);
    let text = refused(&["-addr", &address]);
    assert!(
        text.contains(&format!("cannot listen on {address}: another listener")),
        "{text}"
    );
    assert!(text.contains("with -addr"), "{text}");
    assert_eq!(get(&mut connect_unix(&path), "/token").status, 200);
}

/// Another program's, which accepts nothing for now.
#[test]
fn a_live_socket_with_a_full_queue_is_not_stale() {
    let (_dir, path, address) = place();
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let place = SockAddr::unix(&path).expect("short enough");
    let busy = socket();
    busy.bind(&place).expect("a new file");
    busy.listen(0).expect("a short queue");
    let mut queue = Vec::new();
    let full = loop {
        let client = socket();
        client.set_nonblocking(true).expect("set");
        match client.connect(&place) {
            Ok(()) => queue.push(client),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let before = fs::metadata(&path).expect("it is there").ino();
    let text = refused(&["-addr", &address]);
    assert!(text.contains("another listener"), "{text}");
    let after = fs::metadata(&path).expect("it is still there").ino();
    assert_eq!(before, after);
}

#[test]
fn a_file_that_is_no_socket_is_an_error_and_stays() {
    let (dir, path, address) = place();
    let says_why = || {
        let text = refused(&["-addr", &address]);
        assert!(text.contains("not a socket"), "{text}");
        assert!(text.contains("with -addr"), "{text}");
    };
    fs::write(&path, "mine").expect("written");
    says_why();
    assert_eq!(fs::read_to_string(&path).expect("it stays"), "mine");
    fs::remove_file(&path).expect("removed");

    fs::create_dir(&path).expect("created");
    says_why();
    assert!(path.is_dir());
    fs::remove_dir(&path).expect("removed");

    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).expect("a new file"));
    symlink(&stale, &path).expect("linked");
    says_why();
    assert!(path.is_symlink() && stale.exists());
}

#[test]
fn a_path_that_no_socket_can_have_is_an_error_that_says_why() {
    let long = format!("unix:/tmp/{}", "x".repeat(103));
    for (address, reason) in [
        ("unix:", "expected a path after unix:"),
        ("unix:http.sock", "start it with /"),
        (&long, "has 108 bytes"),
        ("unix:/tmp/no/such/directory/http.sock", "No such file"),
    ] {
        for flag in ["-addr", "-metrics-addr"] {
            let other = ["-addr", "127.0.0.1:0"];
            let text = refused(&[&other[..], &[flag, address]].concat());
            let expected = format!("cannot listen on {address}: ");
            assert!(text.contains(&expected) && text.contains(reason), "{text}");
            assert!(text.contains(&format!("with {flag}")), "{text}");
        }
    }
}

#[test]
fn one_socket_for_both_addresses_is_an_error_of_the_second() {
    let (_dir, _path, address) = place();
    let text = refused(&["-addr", &address, "-metrics-addr", &address]);
    assert!(text.contains("another listener"), "{text}");
    assert!(text.contains("with -metrics-addr"), "{text}");
}

#[test]
fn only_a_unix_peer_that_is_trusted_names_the_client() {
    for (trusted, expected) in [
        ("unix", "\"203.0.113.9\""),
        ("10.0.0.0/8,unix", "\"203.0.113.9\""),
        ("", "\"127.0.0.1\""),
        ("127.0.0.1,0.0.0.0/0", "\"127.0.0.1\""),
    ] {
        let (_dir, path, address) = place();
        let (_redis, _http) = start_at(&address, &["-trusted-proxies", trusted]);
        let lines = ["X-Forwarded-For: 203.0.113.9"];
        let answer = get_with(&mut connect_unix(&path), "/token", &lines);
        assert_eq!(answer.field("ip"), Some(expected), "{trusted}");
    }
}

#[test]
fn unix_in_trusted_proxies_trusts_no_peer_of_tcp() {
    let (_redis, http) = start_at("127.0.0.1:0", &["-trusted-proxies", "unix"]);
    let lines = ["X-Forwarded-For: 203.0.113.9"];
    let answer = get_with(&mut http.connect(), "/token", &lines);
    assert_eq!(answer.field("ip"), Some("\"127.0.0.1\""));
}

#[test]
fn metrics_can_have_a_unix_socket() {
    let (_dir, path, address) = place();
    let redis = RedisServer::start();
    let flags = ["-redis", &redis.url(), "-metrics-addr", &address];
    let mut http = HttpServer::start_alone(&flags);
    let line = http.wait_for_log("metrics on ");
    assert!(line.ends_with(&format!("metrics on {address}")), "{line}");
    let inside = |path_and_query: &str| get(&mut connect_unix(&path), path_and_query);
    assert!(inside("/metrics").body.contains("rl_decisions_total"));
    assert_eq!(inside("/livez").status, 200);
    assert_eq!(inside("/token").status, 404);
    assert_eq!(http.get("/metrics").status, 404);
    http.signal(Signal::SIGTERM);
    assert_eq!(http.exit_code(), Some(0));
}

#[test]
fn a_new_connection_over_unix_replaces_the_longest_idle() {
    let (_dir, path, address) = place();
    let flags = ["-max-connections", "2", "-header-timeout", "600s"];
    let (_redis, http) = start_at(&address, &flags);
    let silent = connect_unix(&path);
    let mut used: Vec<_> = (0..2).map(|_| connect_unix(&path)).collect();
    for stream in &mut used {
        assert_eq!(get(stream, "/token").status, 200);
    }
    assert_eq!(read_to_end(silent), b"");
    for stream in &mut used {
        assert_eq!(get(stream, "/token").status, 200);
    }
    http.wait_for_log("reached -max-connections");
}

/// Sends what the server takes, and reads nothing.
fn deaf(path: &Path, bytes: &[u8]) -> UnixStream {
    let mut stream = connect_unix(path);
    stream.set_nonblocking(true).expect("set");
    let written = stream.write(bytes).expect("the first bytes fit");
    assert!(written > 0);
    stream.set_nonblocking(false).expect("set");
    stream
}

/// The kernel holds at most the server's send buffer for it, which Linux takes as twice 16 KiB, and one write more: it takes
/// a write for as long as the buffer is not full. A write has at most 16 KiB.
#[test]
fn a_unix_client_that_reads_nothing_is_closed_in_time() {
    let (_dir, path, address) = place();
    let (_redis, _http) = start_at(&address, &["-idle-timeout", "600s"]);
    let closed = r#"rl_connections_closed_total{reason="response_timeout"} "#;
    let pipelined = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let http2 = Http2::with_window(0).get("/token");
    let begun = Instant::now();
    let held = [
        deaf(&path, pipelined.as_bytes()),
        deaf(&path, http2.bytes()),
    ];
    let mut other = connect_unix(&path);
    eventually("both to be closed", || {
        let body = get(&mut other, "/metrics").body;
        let count = body.lines().find_map(|line| line.strip_prefix(closed));
        (count? == "2").then_some(())
    });
    assert!(begun.elapsed().as_secs() >= 10, "{:?}", begun.elapsed());
    for (stream, least) in held.into_iter().zip([1000, 1]) {
        let read = read_to_end(stream).len();
        assert!((least..=48 * 1024).contains(&read), "{read} bytes");
    }
}

#[test]
fn sigterm_answers_requests_in_flight_over_unix() {
    let (_dir, path, address) = place();
    let (redis, mut http) = start_at(&address, &["-drain-deadline", "600s"]);
    let idle = connect_unix(&path);
    let held = hold_requests_over(&redis, || connect_unix(&path), 2);
    http.signal(Signal::SIGTERM);
    http.wait_for_log("stopping");
    assert_eq!(read_to_end(idle), b"");
    // Connections learn of the end before the listener is closed.
    let error = eventually("it to accept no more", || UnixStream::connect(&path).err());
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    redis.connect().value("CLIENT UNPAUSE");
    for mut stream in held {
        assert_eq!(send(&mut stream, "").status, 200);
    }
    assert_eq!(http.exit_code(), Some(0));
}
