//! Runs the module under memory checkers. Only reports with a frame of the module count, because the server has faults
//! and leaks of its own.

use std::path::PathBuf;
use std::process::Command;

use redis::Value;
use rl_tests::{Redis, RedisServer, Setup, artifacts, eventually, program, project};

use crate::errors::TABLE;

/// Together with [`TABLE`] these use every command, option, kind of reply and error.
const LINES: &[&str] = &[
    "RL.TOKEN live 1/1000d 20",
    "RL.LEAKY queue 1/1000d 20",
    "RL.TOKEN debt 1/1000d 20 FORCE 1",
    "RPUSH list a",
    "SET text hello",
    "RL.TOKEN k 1/1000d 20 COST 3",
    "RL.TOKEN k 1/1000d 20 COST 30",
    "RL.TOKEN k 1/1000d 20 COST 30 PARTIAL",
    "RL.TOKEN k 1/1000d 20",
    "RL.TOKEN k 7/3d 9",
    "RL.TOKEN k 7/3d 9 REFUND 99",
    "RL.TOKEN fast 1000 20",
    "RL.LEAKY queue 1/1000d 20 COST 2 PARTIAL",
    "RL.LEAKY queue 3/700d 20 FORCE 2",
    "RL.LEAKY queue 3/700d 20 REFUND 1",
    "RL.PEEK k",
    "RL.PEEK queue COST 5",
    "RL.PEEK nothing",
    "RL.INFO live",
    "RL.INFO queue",
    "RL.INFO nothing",
    "RL.INFO list",
    "RL.INFO live surplus",
    "RL.MULTI live TOKEN 1/1000d 20 1 queue LEAKY 1/1000d 20 1",
    "RL.MULTI live TOKEN 1/1000d 20 1 live TOKEN 1/1000d 20 21",
    "RL.MULTI live TOKEN 1/1000d 20 1 live TOKEN 1/1000d 21 1",
    "RL.MULTI live TOKEN 1/1000d 20 1 list LEAKY 1/1000d 20 1",
    "RL.MULTI live TOKEN 1/1000d 20 1 queue TOKEN 1/1000d 20 1",
    "RL.MULTI live TOKEN x 20 1",
    "RL.MULTI live NOPE 1 20 1",
    "RL.MULTI live TOKEN 1 20 1 live",
    "RL.THROTTLE cell 15 30 60000",
    "RL.THROTTLE cell 15 30 60000 99",
    "RL.THROTTLE cell 15 30 60000 0",
    "RL.THROTTLE cell 15 0 60000",
    "RL.THROTTLE list 15 30 60000",
    "SET left 9000000000000000000 EX 1000",
    "CL.THROTTLE left 15 30 60000",
    "SET left 1700000000000000000 EX 1000",
    "CL.THROTTLE left 15 30 60000 2",
    "COPY live copy REPLACE",
    "RENAME copy live",
    "INFO rl",
    "COMMAND INFO rl.token",
    "COMMAND GETKEYS rl.multi a TOKEN 1 2 3 b TOKEN 1 2 3",
    "MODULE LIST",
    "EVAL return{redis.pcall('RL.TOKEN','k','1','2'),redis.pcall('RL.TOKEN','k','x')} 0",
    "MULTI",
    "RL.TOKEN k 1/1000d 20",
    "RL.MULTI k TOKEN 1/1000d 20 1",
    "RL.INFO k",
    "EXEC",
];

/// Runs everything in both protocols, including a save and a load, out of memory, and a clean shutdown.
fn use_everything(server: &RedisServer) {
    let mut redis = server.connect();
    for protocol in ["HELLO 2", "HELLO 3"] {
        redis.value(protocol);
        for _ in 0..40 {
            run(&mut redis, LINES.iter().copied());
            run(&mut redis, TABLE.iter().map(|(line, _)| *line));
        }
        let many = "k TOKEN 1 5 1 ".repeat(1001);
        run(
            &mut redis,
            ["DEBUG RELOAD", &format!("RL.MULTI {many}")].into_iter(),
        );
        run(
            &mut redis,
            ["CONFIG SET maxmemory 1"]
                .into_iter()
                .chain(LINES.iter().copied()),
        );
        run(
            &mut redis,
            ["CONFIG SET maxmemory 0", "FLUSHALL"].into_iter(),
        );
    }
    let panics = redis.info("rl", "rl_panics");
    assert_eq!(panics.as_deref(), Some("0"), "{}", server.log());
    let _ = redis.try_line::<Value>("SHUTDOWN NOSAVE");
    eventually("the server to end", || (!server.is_alive()).then_some(()));
}

/// Runs commands. Error replies are fine; a crash of the server is not.
fn run<'a>(redis: &mut Redis, lines: impl Iterator<Item = &'a str>) {
    redis.run_all(lines.map(str::to_owned));
}

/// Arguments of a usual server, and of one that refuses the commands used for replication.
const ARGS: [&[&str]; 2] = [
    &["cl-throttle"],
    &[
        "cl-throttle",
        "--rename-command",
        "SET",
        "",
        "--rename-command",
        "DEL",
        "",
    ],
];

/// valgrind needs symbols of the dynamic loader, which a server of another Debian release lacks if it comes with its
/// own loader.
fn valgrind_runs_the_server() -> bool {
    let output = Command::new("valgrind")
        .args(["--quiet", TO_THE_SERVER, &program(), "--version"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// Some servers are started by a script that calls exec.
const TO_THE_SERVER: &str = "--trace-children=yes";

#[test]
#[ignore = "make test-full"]
fn valgrind_finds_no_leak_or_invalid_access_of_ours() {
    if !valgrind_runs_the_server() {
        println!("skipped: valgrind is not installed or cannot run this server");
        return;
    }
    for args in ARGS {
        let dir = tempfile::tempdir().expect("a directory for the report");
        let report = dir.path().join("report.xml");
        let file = format!("--xml-file={}", report.display());
        // Valkey unloads its modules before it exits; the module's frames must still be recognised.
        let runner = [
            "valgrind",
            "--leak-check=full",
            "--num-callers=60",
            "--keep-debuginfo=yes",
        ];
        let mut setup = Setup::with_module(args);
        setup.runner = runner.map(str::to_owned).to_vec();
        setup.runner.extend(
            [
                TO_THE_SERVER,
                "--child-silent-after-fork=yes",
                "--xml=yes",
                &file,
            ]
            .map(str::to_owned),
        );
        use_everything(&RedisServer::start_as(setup));
        let report = std::fs::read_to_string(report).expect("a report");
        assert!(report.contains("</valgrindoutput>"), "{report}");
        let ours = our_faults(&report);
        assert!(ours.is_empty(), "{}", ours.join("\n"));
    }
}

/// The faults in valgrind's report that have a frame of ours.
///
/// Possible losses allocated at load are ignored: the server keeps the strings of our commands until it exits, with
/// pointers to the data behind their headers, which valgrind does not recognise.
fn our_faults(report: &str) -> Vec<&str> {
    let errors = report.split("<error>").skip(1);
    errors
        .filter(|error| error.contains("librl.so</obj>"))
        .filter(|error| {
            !(error.contains("Leak_PossiblyLost") && error.contains("RedisModule_OnLoad"))
        })
        .collect()
}

/// The sanitizer's runtime, which is preloaded into the server; `None` if it is not installed.
fn runtime() -> Option<PathBuf> {
    let name = format!("libclang_rt.asan-{}.so", std::env::consts::ARCH);
    let list = format!("ls /usr/lib/llvm-*/lib/clang/*/lib/linux/{name}");
    let listed = Command::new("bash").args(["-c", &list]).output().ok()?;
    let text = String::from_utf8(listed.stdout).ok()?;
    text.lines().last().map(PathBuf::from)
}

/// Builds the module with the sanitizer. RUSTC_BOOTSTRAP enables the unstable flags.
fn sanitized_module() -> PathBuf {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let release = artifacts().module.parent().expect("a directory");
    let dir = release.with_file_name("asan");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "rl-module",
            "--target",
            &target,
            "--target-dir",
        ])
        .arg(&dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "RUSTFLAGS",
            "-Zsanitizer=address -Zsanitizer-recover=address",
        )
        .current_dir(project())
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the sanitized module does not build"
    );
    dir.join(target).join("debug/librl.so")
}

/// Servers are built without frame pointers, so stacks must be unwound the slow way to reach our frames. Without symbol
/// names a frame is identified by the file it is in.
const ASAN_OPTIONS: &str =
    "detect_leaks=1:halt_on_error=0:fast_unwind_on_malloc=0:symbolize=0:verbosity=1";

/// The same setup with the sanitizer in our module. Prints the reason and returns `None` if that is not possible.
pub(crate) fn sanitized(mut setup: Setup) -> Option<Setup> {
    let Some(runtime) = runtime() else {
        println!("skipped: the address sanitizer is not installed");
        return None;
    };
    let server = RedisServer::start_without_module(&[]);
    if server.connect().info("server", "valkey_version").is_some() {
        println!("skipped: Valkey loads modules with RTLD_DEEPBIND, which the sanitizer refuses");
        return None;
    }
    setup.module = Some(sanitized_module());
    setup.environment = [
        ("LD_PRELOAD", runtime.to_str().expect("UTF-8")),
        ("ASAN_OPTIONS", ASAN_OPTIONS),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    Some(setup)
}

/// Fails if the sanitizer did not run, or reported something with a frame of ours.
pub(crate) fn assert_no_report_has_our_frames(server: &RedisServer) {
    let log = server.log();
    assert!(log.contains("AddressSanitizer Init done"), "{log}");
    let ours: Vec<&str> = log
        .split("\n\n")
        .filter(|report| report.contains("librl.so+0x"))
        .collect();
    assert!(ours.is_empty(), "{}", ours.join("\n\n"));
}

/// Most effective on Redis 6.2.14, which uses libc's allocator: there the server's memory is checked too when our code
/// accesses it.
#[test]
#[ignore = "make test-full"]
fn address_sanitizer_finds_no_leak_or_invalid_access_of_ours() {
    for args in ARGS {
        let Some(setup) = sanitized(Setup::with_module(args)) else {
            return;
        };
        let server = RedisServer::start_as(setup);
        use_everything(&server);
        assert_no_report_has_our_frames(&server);
    }
}
