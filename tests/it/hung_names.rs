//! A name whose lookup hangs, as when no resolver answers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use rl_tests::{Process, artifacts, eventually};

/// A getaddrinfo that hangs for longer than any test. Each call first appends a byte to a file.
const HANGS: &str = r#"
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    int file = open(getenv("LOOKUPS"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0 || write(file, "x", 1) != 1)
        abort();
    close(file);
    sleep(600);
    return EAI_AGAIN;
}
"#;

fn library(dir: &Path) -> String {
    let (source, library) = (dir.join("hangs.c"), dir.join("hangs.so"));
    fs::write(&source, HANGS).expect("written");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.is_ok_and(|status| status.success()));
    library.display().to_string()
}

#[test]
fn a_hung_lookup_does_not_delay_the_exit_or_add_threads() {
    let dir = tempfile::tempdir().expect("a directory");
    let lookups = dir.path().join("lookups");
    let mut child = Command::new(&artifacts().server)
        .args(["-addr", "127.0.0.1:0", "-redis", "redis.example:6379"])
        .args(["-drain-deadline", "100ms"])
        .env("LD_PRELOAD", library(dir.path()))
        .env("LOOKUPS", &lookups)
        .stderr(Stdio::piped())
        .spawn()
        .expect("built");
    let log = BufReader::new(child.stderr.take().expect("piped")).lines();
    thread::spawn(move || log.for_each(drop));
    let mut server = Process::from(child);
    let started = || fs::read(&lookups).map_or(0, |bytes| bytes.len());
    eventually("two lookups, the maximum at a time", || {
        (started() >= 2).then_some(())
    });
    // There are at least two attempts a second.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(started(), 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
