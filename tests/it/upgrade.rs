//! Upgrades: the commands that module/README.md shows, from one version to another, and stored bytes of a newer version.

use std::path::{Path, PathBuf};
use std::process::Command;

use redis::Value;
use rl_tests::{Bug, Redis, RedisServer, Setup, artifacts, blocks, document, eventually, section};

/// A build with another version in Cargo.toml.
const NEXT: Bug = Bug {
    name: "next-version",
    file: "../Cargo.toml",
    change: ["version = \"0.1.0\"", "version = \"1.2.3\""],
};

/// A build that stores buckets in a newer form.
const NEWER_FORM: Bug = Bug {
    name: "newer-form",
    file: "bucket/src/state.rs",
    change: ["const VERSION: u8 = b'1';", "const VERSION: u8 = b'2';"],
};

/// The commands under a heading of module/README.md, on these servers in place of those that it names.
fn documented(heading: &str, replacements: &[(&str, &str)]) -> String {
    let blocks = blocks(&section(&document("module/README.md"), heading), "sh");
    let [block] = blocks.as_slice() else {
        panic!("{heading}: {blocks:?}");
    };
    let mut script = block.clone();
    for (from, to) in replacements {
        assert!(script.contains(from), "{heading} does not name {from}");
        script = script.replace(from, to);
    }
    script
}

fn run(script: &str) {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .output()
        .expect("bash runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !printed.contains("ERR"),
        "{script}\n{output:?}"
    );
}

fn module_version(redis: &mut Redis) -> String {
    format!("{:?}", redis.value("MODULE LIST"))
}

fn assert_is_next(redis: &mut Redis) {
    let listed = module_version(redis);
    assert!(listed.contains("int(10203)"), "{listed}");
}

fn with_module(module: &Path, args: &[&str]) -> Setup {
    Setup {
        module: Some(module.to_owned()),
        ..Setup::without_module(args)
    }
}

/// A server with the module under test at a path of its own, where an upgrade can replace it.
fn installed(dir: &Path) -> (PathBuf, RedisServer) {
    let path = dir.join("librl.so");
    std::fs::copy(&artifacts().module, &path).expect("a copy");
    let server = RedisServer::start_on_tcp_as(with_module(&path, &[]));
    (path, server)
}

/// Puts another module in the place of one that is loaded, as packages do.
fn replace(path: &Path, by: &Bug) {
    let dir = tempfile::tempdir_in(path.parent().expect("a parent")).expect("a directory");
    std::fs::rename(by.build(dir.path()), path).expect("renamed");
}

#[test]
#[ignore = "builds the module in another version"]
fn an_upgrade_by_unload_and_load_keeps_the_buckets() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, server) = installed(dir.path());
    let mut redis = server.connect();
    assert_eq!(redis.limit("RL.TOKEN k 1/1000d 20 COST 5")[2], 15);
    replace(&path, &NEXT);
    assert_eq!(
        redis.limit("RL.TOKEN k 1/1000d 20")[2],
        14,
        "the old one is still loaded"
    );
    let port = format!("redis-cli -p {}", server.port());
    let path = path.to_str().expect("UTF-8");
    run(&documented(
        "### By MODULE UNLOAD and MODULE LOAD",
        &[
            ("redis-cli", &port),
            ("/usr/lib/redis/modules/librl.so", path),
        ],
    ));
    assert_is_next(&mut redis);
    assert_eq!(redis.limit("RL.TOKEN k 1/1000d 20")[2], 13);
}

#[test]
#[ignore = "builds the module in another version"]
fn an_upgrade_by_promotion_keeps_the_buckets() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = RedisServer::start_on_tcp_as(with_module(&artifacts().module, &[]));
    let new = RedisServer::start_on_tcp_as(with_module(&NEXT.build(dir.path()), &[]));
    assert_eq!(old.connect().limit("RL.TOKEN k 1/1000d 20 COST 5")[2], 15);
    run(&documented(
        "### By promoting a replica",
        &[
            ("old.example 6379", &format!("127.0.0.1 {}", old.port())),
            ("-h old.example", &format!("-h 127.0.0.1 -p {}", old.port())),
            ("-h new.example", &format!("-h 127.0.0.1 -p {}", new.port())),
        ],
    ));
    eventually("the new server to be the primary", || {
        let role = new.connect().info("replication", "role")?;
        (role == "master").then_some(())
    });
    assert_is_next(&mut new.connect());
    assert_eq!(new.connect().limit("RL.TOKEN k 1/1000d 20")[2], 14);
    // A downgrade is the same in the other direction.
    let error = old.connect().try_line::<Value>("RL.TOKEN k 1/1000d 20");
    assert!(error.is_err_and(|error| error.starts_with("READONLY")));
}

#[test]
#[ignore = "builds the module with a newer form of its buckets"]
fn buckets_of_a_newer_version_are_refused_after_a_downgrade() {
    let dir = tempfile::tempdir().expect("a directory");
    let newer = NEWER_FORM.build(dir.path());
    let mut server = RedisServer::start_as(with_module(&newer, &["--save", "3600 1"]));
    assert_eq!(
        server.connect().limit("RL.TOKEN k 1/1000d 20 COST 5")[2],
        15
    );
    server.connect().value("SAVE");
    let module = artifacts().module.to_str().expect("UTF-8");
    server.restart_with(&["--loadmodule", module]);
    assert_refused(&mut server.connect(), "k");
}

/// Every command refuses the bucket at `key` and leaves it as it is.
fn assert_refused(redis: &mut Redis, key: &str) {
    let before = redis.stored(key);
    for line in [
        format!("RL.TOKEN {key} 1/1000d 20"),
        format!("RL.TOKEN {key} 1/1000d 20 REFUND 1"),
        format!("RL.LEAKY {key} 1/1000d 20"),
        format!("RL.PEEK {key}"),
        format!("RL.INFO {key}"),
        format!("RL.MULTI {key} TOKEN 1/1000d 20 1"),
        format!("RL.THROTTLE {key} 15 30 60"),
    ] {
        let error = redis.try_line::<Value>(&line).expect_err(&line);
        assert!(error.starts_with("WRONGTYPE"), "{line}: {error}");
    }
    assert_eq!(redis.stored(key), before);
}

#[test]
fn a_bucket_of_a_newer_version_is_refused_by_every_command() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 20 COST 5");
    let (bytes, _) = redis.stored("k");
    let mut bytes = bytes.expect("a bucket");
    assert_eq!(bytes[1], b'1');
    bytes[1] = b'2';
    let set: [&[u8]; 5] = [b"SET", b"k", &bytes, b"PX", b"1000000000"];
    redis.try_run::<Value>(&set).expect("stored");
    assert_refused(&mut redis, "k");
}
