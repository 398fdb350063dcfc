use std::path::{Path, PathBuf};
use std::process::Command;

use rl_tests::project;

/// The crates that `package` is built from.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--offline",
        ])
        .current_dir(project())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}

/// The sources below a directory that contain `text`.
fn sources_with(dir: &str, text: &str) -> Vec<PathBuf> {
    sources(dir, |source| source.contains(text))
}

/// The sources below a directory that name a crate.
fn sources_naming(dir: &str, name: &str) -> Vec<PathBuf> {
    let path = format!("{name}::");
    let is_top = |source: &str, at| !source[..at].ends_with("::");
    sources(dir, |source| {
        source
            .match_indices(&path)
            .any(|(at, _)| is_top(source, at))
    })
}

/// The sources below a directory that are such, by name.
fn sources(dir: &str, is_such: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![project().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs")
                && is_such(&std::fs::read_to_string(&path).expect("a source"))
            {
                found.push(
                    path.strip_prefix(project())
                        .expect("below the project")
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_arithmetic_depends_on_nothing() {
    assert_eq!(tree("rl-bucket"), ["rl-bucket"]);
}

#[test]
fn module_and_server_meet_on_the_wire_only() {
    let (module, server) = (tree("rl-module"), tree("rl-server"));
    assert!(
        !module
            .iter()
            .any(|name| name == "rl-server" || name == "redis" || name == "tokio")
    );
    assert!(
        !server
            .iter()
            .any(|name| name == "rl-module" || name == "redis-module")
    );
}

#[test]
fn one_file_is_unsafe_one_reads_the_clock_and_two_know_the_redis_client() {
    assert_eq!(
        sources_with("module/src", "unsafe {"),
        [Path::new("module/src/redis.rs")]
    );
    assert_eq!(
        sources_with("module/src", "SystemTime::now"),
        [Path::new("module/src/clock.rs")]
    );
    assert_eq!(
        sources_naming("server/src", "redis"),
        [
            Path::new("server/src/limiter/address.rs"),
            Path::new("server/src/limiter/connection.rs")
        ]
    );
    assert!(sources_with("server/src", "unsafe {").is_empty());
}
