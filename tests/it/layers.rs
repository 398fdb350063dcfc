use std::path::{Path, PathBuf};
use std::process::Command;

use rl_tests::{Imports, project};

/// The crates in the dependency tree of `package`.
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

/// The sources below a directory that refer to a crate.
fn sources_that_use(dir: &str, name: &str) -> Vec<PathBuf> {
    let path = format!("{name}::");
    let is_top = |source: &str, at| !source[..at].ends_with("::");
    sources(dir, |source| {
        source
            .match_indices(&path)
            .any(|(at, _)| is_top(source, at))
    })
}

/// The sources below a directory that match, sorted.
fn sources(dir: &str, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut matching = Vec::new();
    let mut dirs = vec![project().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs")
                && matches(&std::fs::read_to_string(&path).expect("a source"))
            {
                matching.push(
                    path.strip_prefix(project())
                        .expect("below the project")
                        .to_owned(),
                );
            }
        }
    }
    matching.sort();
    matching
}

#[test]
fn the_arithmetic_depends_on_nothing() {
    assert_eq!(tree("rl-bucket"), ["rl-bucket"]);
}

#[test]
fn module_and_server_do_not_depend_on_each_other() {
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
fn only_one_file_uses_the_redis_client() {
    assert_eq!(
        sources_that_use("server/src", "redis"),
        [Path::new("server/src/redis_address.rs")]
    );
}

/// The files and folders directly below `src`, and what each may import. A folder is a file together with all files in
/// the directory of the same name.
type Table = &'static [(&'static str, &'static [&'static str])];

const BUCKET: Table = &[];

const MODULE: Table = &[
    ("error", &[]),
    ("frequent_keys", &[]),
    ("redis_cell", &[]),
    ("args", &["error"]),
    ("redis", &["error"]),
    ("denials", &["frequent_keys", "redis"]),
    ("clock", &["redis"]),
    ("reply", &["error", "frequent_keys", "redis", "redis_cell"]),
    ("stats", &["redis", "reply"]),
    ("dispatch", &["error", "redis", "reply", "stats"]),
    ("describe", &["dispatch", "redis", "stats"]),
    (
        "commands",
        &[
            "args",
            "clock",
            "denials",
            "describe",
            "dispatch",
            "error",
            "redis",
            "redis_cell",
            "reply",
            "stats",
        ],
    ),
    (
        "load",
        &[
            "commands",
            "denials",
            "describe",
            "redis",
            "redis_cell",
            "stats",
        ],
    ),
    ("unload", &["commands", "describe", "redis"]),
];

const SERVER: Table = &[
    ("limit", &[]),
    ("client_address", &[]),
    ("redis_address", &[]),
    ("log_throttle", &[]),
    ("site", &[]),
    ("threads", &[]),
    ("config", &["client_address", "redis_address"]),
    ("logging", &["config"]),
    ("shutdown", &["config"]),
    ("reload", &["http"]),
    ("metrics", &["limit"]),
    (
        "limiter",
        &[
            "config",
            "limit",
            "log_throttle",
            "metrics",
            "redis_address",
            "threads",
        ],
    ),
    (
        "connections",
        &[
            "client_address",
            "config",
            "log_throttle",
            "metrics",
            "shutdown",
            "site",
        ],
    ),
    (
        "http",
        &[
            "client_address",
            "config",
            "limit",
            "limiter",
            "metrics",
            "shutdown",
            "site",
        ],
    ),
];

const CRATES: [(&str, Table); 3] = [
    ("module/bucket/src", BUCKET),
    ("module/src", MODULE),
    ("server/src", SERVER),
];

#[test]
fn imports_form_no_cycle() {
    let cycles: Vec<_> = CRATES
        .iter()
        .filter_map(|(src, _)| Some((src, Imports::of(&project().join(src)).cycle()?)))
        .collect();
    assert!(cycles.is_empty(), "{cycles:#?}");
}

/// The folder of a file.
fn folder(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

#[test]
fn folders_import_only_what_their_table_allows() {
    for (src, table) in CRATES.into_iter().filter(|(_, table)| !table.is_empty()) {
        for (from, to) in Imports::of(&project().join(src)).iter() {
            let allowed = table.iter().find(|(name, _)| *name == folder(from));
            let (_, allowed) =
                allowed.unwrap_or_else(|| panic!("{src}/{from} is in no folder of the table"));
            assert!(
                folder(to) == folder(from) || allowed.contains(&folder(to)),
                "{src}: {from} must not import {to}"
            );
        }
    }
}
