//! The programs of tests/clients, each with its client library, on a real server and on a cluster of three primaries.
//! `make test-full` installs the libraries. A program whose library is missing is skipped with a message.

use std::process::{Command, Stdio};

use rl_tests::{Cluster, Fault, FaultProxy, Port, Process, RedisServer, installed, project};

/// Longer than any call takes on a busy machine.
const LONG_MS: &str = "60000";

/// Shorter than a test waits for a reply that does not come.
const SHORT_MS: &str = "100";

/// A program in tests/clients.
struct Program {
    file: &'static str,
    /// Whether it takes the ports of a cluster too.
    has_cluster: bool,
}

const PROGRAMS: [Program; 8] = [
    Program {
        file: "python/redis_py.py",
        has_cluster: true,
    },
    Program {
        file: "python/redis_py_asyncio.py",
        has_cluster: false,
    },
    Program {
        file: "node/node_redis.mjs",
        has_cluster: true,
    },
    Program {
        file: "node/ioredis.mjs",
        has_cluster: true,
    },
    Program {
        file: "rust/src/bin/redis_rs.rs",
        has_cluster: true,
    },
    Program {
        file: "go/redigo.go",
        has_cluster: true,
    },
    Program {
        file: "php/phpredis.php",
        has_cluster: true,
    },
    Program {
        file: "ruby/redis_rb.rb",
        has_cluster: true,
    },
];

/// A command that runs the program in this file. Prints that it is skipped and returns `None` if its language or its
/// library is not installed.
fn command(file: &str) -> Option<Command> {
    let folder = project().join("tests/clients");
    let python = project().join("target/clients/python/bin/python");
    let manifest = folder.join("rust/Cargo.toml");
    let target = project().join("target/clients/rust");
    let (language, name) = (file.split('/').next()?, file.rsplit('/').next()?);
    let words: Option<Vec<&str>> = match language {
        "python" if python.exists() => Some(vec![python.to_str()?]),
        "node" if folder.join("node/node_modules").exists() => Some(vec!["node"]),
        "php" if installed("php").is_some() => Some(vec!["php"]),
        "ruby" if installed("ruby").is_some() => Some(vec!["ruby"]),
        "go" if installed("go").is_some() => Some(vec!["go", "run"]),
        "rust" => Some(vec![
            env!("CARGO"),
            "run",
            "--quiet",
            "--locked",
            "--manifest-path",
            manifest.to_str()?,
            "--target-dir",
            target.to_str()?,
            "--bin",
            name.strip_suffix(".rs")?,
            "--",
        ]),
        _ => None,
    };
    let Some(words) = words else {
        println!("skipped: {file} has no library; make test-full installs it");
        return None;
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    if language == "go" {
        // Debian's packages, without modules.
        command.envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")]);
    }
    if language != "rust" {
        command.arg(folder.join(file));
    }
    Some(command)
}

/// Runs a program with these arguments until it ends, and returns the lines that it printed.
fn run(file: &str, deadline_ms: &str, arguments: &[&str]) -> Option<Vec<String>> {
    let output = tempfile::NamedTempFile::new().expect("a file");
    let printed = output.reopen().expect("the file");
    let mut command = command(file)?;
    command
        .args(arguments)
        .env("DEADLINE_MS", deadline_ms)
        .stdout(Stdio::from(printed));
    let status = Process::start(&mut command).wait();
    let printed = std::fs::read_to_string(output.path()).expect("UTF-8");
    assert!(status.success(), "{file}: {status}\n{printed}");
    Some(printed.lines().map(str::to_owned).collect())
}

/// A number of `INFO rl`, such as `token_allowed`.
fn count(redis: &RedisServer, field: &str) -> i64 {
    let info: String = redis.connect().line("INFO rl");
    let start = format!("rl_{field}:");
    let line = info.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|number| number.trim().parse().ok())
        .expect("a number")
}

#[test]
#[ignore = "make test-full"]
fn each_client_waits_until_its_call_passes() {
    for Program { file, .. } in PROGRAMS {
        let redis = RedisServer::start_on_tcp(&[]);
        let port = redis.port().to_string();
        // The bucket of 20 is empty after 20 calls; the others wait for a tenth of a second each.
        let arguments = [vec![port.as_str()], vec!["key"; 25]].concat();
        let Some(lines) = run(file, LONG_MS, &arguments) else {
            continue;
        };
        assert_eq!(lines.len(), 50, "{file}: {lines:?}");
        for (line, kind) in lines
            .iter()
            .zip([["RL.TOKEN"; 25], ["RL.LEAKY"; 25]].concat())
        {
            assert!(
                line.starts_with(&format!("{kind} key remaining ")),
                "{file}: {line}"
            );
        }
        for kind in ["token", "leaky"] {
            assert_eq!(
                count(&redis, &format!("{kind}_allowed")),
                25,
                "{file}: {kind}"
            );
        }
        // One denial for each call that waits: it neither asks again early nor gives up.
        assert!(count(&redis, "token_denied") <= 5, "{file}");
        assert_eq!(count(&redis, "leaky_denied"), 0, "{file}: it waited");
    }
}

#[test]
#[ignore = "make test-full"]
fn each_client_sends_a_call_without_reply_once() {
    for Program { file, .. } in PROGRAMS {
        let redis = RedisServer::start_on_tcp(&[]);
        let network = FaultProxy::to(redis.port());
        network.set(Fault::DropReplies(b"*5\r\n:1\r\n:20\r\n"));
        let port = network.port().to_string();
        let Some(lines) = run(file, SHORT_MS, &[&port, "key"]) else {
            continue;
        };
        assert_eq!(lines[0], "RL.TOKEN key Redis is away", "{file}");
        let sent = count(&redis, "token_allowed");
        assert!(sent <= 1, "{file} sent one call {sent} times");
    }
}

#[test]
#[ignore = "make test-full"]
fn each_client_goes_on_without_redis() {
    let refused = Port::free();
    let redis = RedisServer::start_on_tcp(&[]);
    let silent = FaultProxy::to(redis.port());
    silent.set(Fault::BlackHole);
    for Program { file, .. } in PROGRAMS {
        for port in [refused.number(), silent.port()] {
            let lines = run(file, SHORT_MS, &[&port.to_string(), "key"]);
            let expected = ["RL.TOKEN key Redis is away", "RL.LEAKY key Redis is away"];
            if let Some(lines) = lines {
                assert_eq!(lines, expected, "{file}");
            }
        }
    }
}

/// MOVED errors that the nodes have sent.
fn redirections(cluster: &Cluster) -> i64 {
    let of_node = |node: &RedisServer| {
        let info: String = node.connect().line("INFO errorstats");
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("errorstat_MOVED:count="));
        count.map_or(0, |count| count.trim().parse::<i64>().expect("a number"))
    };
    cluster.nodes().iter().map(of_node).sum()
}

#[test]
#[ignore = "make test-full"]
fn no_client_of_a_cluster_is_redirected() {
    let cluster = Cluster::of_primaries(3);
    let ports: Vec<String> = cluster
        .nodes()
        .iter()
        .map(|node| node.port().to_string())
        .collect();
    let ports = ports.join(",");
    for (number, program) in PROGRAMS.iter().enumerate() {
        if !program.has_cluster {
            continue;
        }
        let keys: Vec<String> = (0..500).map(|key| format!("{number}-{key}")).collect();
        let arguments = std::iter::once(ports.as_str()).chain(keys.iter().map(String::as_str));
        let before = redirections(&cluster);
        let Some(lines) = run(program.file, LONG_MS, &arguments.collect::<Vec<_>>()) else {
            continue;
        };
        let passed = lines.iter().filter(|line| line.ends_with("remaining 19"));
        assert_eq!(passed.count(), 1000, "{}", program.file);
        let moved = redirections(&cluster) - before;
        println!("{}: {moved} MOVED in 1000 calls", program.file);
        assert_eq!(moved, 0, "{}", program.file);
    }
}

/// Runs a program that makes a request for each caller, and prints the caller, the status and Retry-After. A caller may
/// make two; all requests pass while Redis is gone.
fn limits_requests(file: &str, wait_s: std::ops::RangeInclusive<u32>) {
    let redis = RedisServer::start_on_tcp(&[]);
    let port = redis.port().to_string();
    let callers = ["ann", "ann", "ann", "bob"];
    let arguments = [&[port.as_str()], &callers[..]].concat();
    let Some(lines) = run(file, LONG_MS, &arguments) else {
        return;
    };
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let [first, second, denied, other] = lines[..] else {
        panic!("{file}: {lines:?}");
    };
    assert_eq!([first, second, other], ["ann 200", "ann 200", "bob 200"]);
    let wait = denied.strip_prefix("ann 429 ").expect("a denial");
    let wait = wait.parse().expect("seconds");
    assert!(wait_s.contains(&wait), "{file}: {wait} s");
    redis.kill();
    let lines = run(file, SHORT_MS, &arguments).expect("it ran before");
    assert!(lines.iter().all(|line| line.contains(" 200")), "{lines:?}");
}

#[test]
#[ignore = "make test-full"]
fn the_tower_layer_limits_each_caller() {
    limits_requests("rust/src/bin/tower_layer.rs", 1..=6);
}

#[test]
#[ignore = "make test-full"]
fn the_express_store_limits_each_caller() {
    limits_requests("node/express.mjs", 42_000..=43_200);
}
