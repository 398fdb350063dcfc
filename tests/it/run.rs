//! `make run`, as README.md shows it.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rl_tests::{Port, Process, eventually, listens, project};

fn make_run(redis_port: u16, addr: &str) -> Command {
    let mut command = make();
    command.args([format!("REDIS_PORT={redis_port}"), format!("ADDR={addr}")]);
    command
}

/// `make run`, without variables.
fn make() -> Command {
    let mut command = Command::new("make");
    command
        .arg("run")
        .current_dir(project())
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn make_run_serves_until_ctrl_c_and_leaves_no_files() {
    for (host, is_everywhere) in [("127.0.0.1", false), ("", true)] {
        serves_until_ctrl_c(host, is_everywhere);
    }
}

fn serves_until_ctrl_c(host: &str, is_everywhere: bool) {
    let (redis, http) = (Port::free(), Port::free());
    let (redis_port, http_port) = (redis.number(), http.number());
    let temporary = tempfile::tempdir().expect("a directory");
    let mut child = make_run(redis_port, &format!("{host}:{http_port}"))
        .env("TMPDIR", temporary.path())
        .process_group(0)
        .spawn()
        .expect("make runs");
    let group = Pid::from_raw(child.id().cast_signed());
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut process = Process::from(child);
    let mut output = Vec::new();
    while !output
        .iter()
        .any(|line: &String| line.contains("RL.LEAKY job:7 10 5"))
    {
        output.push(lines.next().expect("it runs until Ctrl-C").expect("UTF-8"));
    }
    assert!(
        output
            .iter()
            .any(|line| line.trim() == format!("curl 127.0.0.1:{http_port}/token")),
        "{output:?}"
    );
    assert!(
        output
            .iter()
            .any(|line| line.trim() == format!("redis-cli -p {redis_port} RL.TOKEN user:42 10 20"))
    );
    assert!(listens(redis_port) && listens(http_port));
    // An address of this machine that is neither of the two.
    let listens_elsewhere = |port: u16| TcpStream::connect(("127.0.0.2", port)).is_ok();
    assert_eq!(
        (listens_elsewhere(redis_port), listens_elsewhere(http_port)),
        (false, is_everywhere)
    );

    nix::sys::signal::killpg(group, Signal::SIGINT).expect("the group is ours");
    process.wait();
    eventually("both ports to be free", || {
        (!listens(redis_port) && !listens(http_port)).then_some(())
    });
    let left: Vec<_> = std::fs::read_dir(temporary.path())
        .expect("a directory")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The standard error of a command that fails.
fn refused(command: &mut Command) -> String {
    let mut child = command.spawn().expect("make runs");
    let mut error = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut error)
        .expect("UTF-8");
    assert!(!Process::from(child).wait().success(), "{error}");
    error
}

#[test]
fn make_run_listens_on_loopback_by_default() {
    // Tests in other processes wait for the lock. If another program has the port, make run reports it as taken as
    // well.
    let lock = std::fs::File::create(std::env::temp_dir().join("rl-tests-8080.lock"));
    let lock = lock.expect("a file");
    lock.lock().expect("a lock");
    let taken = TcpListener::bind("127.0.0.1:8080");
    let error = refused(make_run(Port::free().number(), "").env_remove("ADDR"));
    assert!(
        error.contains("address 127.0.0.1:8080 is in use"),
        "{error}"
    );
    drop(taken);
}

#[test]
fn make_run_does_not_execute_its_variables() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("it-ran");
    let command = format!("touch {}", file.display());
    let hostile = [
        format!("\"; {command}; \""),
        format!("'; {command}; '"),
        format!("`{command}`"),
        format!("\n{command}\n"),
        format!("127.0.0.1:1; {command}"),
        format!("x[$({command})]"),
    ];
    let addr = format!("127.0.0.1:{}", Port::free().number());
    let port = Port::free().number().to_string();
    for value in &hostile {
        for (redis_port, addr, variable) in [(&port, value, "ADDR"), (value, &addr, "REDIS_PORT")] {
            let mut in_environment = make();
            in_environment.envs([("REDIS_PORT", redis_port), ("ADDR", addr)]);
            // A dollar sign in an argument is make's own.
            let words = [format!("REDIS_PORT={redis_port}"), format!("ADDR={addr}")];
            let mut in_words = make();
            in_words.args(words.map(|word| word.replace('$', "$$")));
            for make in [&mut in_environment, &mut in_words] {
                let error = refused(make);
                assert!(!file.exists(), "{variable}={value}");
                assert!(
                    error.contains(&format!("make run: {variable} must be")),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_wrong_variable_is_an_error_that_names_it() {
    for (redis_port, addr, variable) in [
        ("0", "127.0.0.1:1", "REDIS_PORT"),
        ("65536", "127.0.0.1:1", "REDIS_PORT"),
        ("redis", "127.0.0.1:1", "REDIS_PORT"),
        ("1", "8080", "ADDR"),
        ("1", "127.0.0.1:", "ADDR"),
        ("1", ":0", "ADDR"),
        ("1", ":65536", "ADDR"),
        ("1", "::1:8080", "ADDR"),
        ("1", "a b:8080", "ADDR"),
    ] {
        let error = refused(make().envs([("REDIS_PORT", redis_port), ("ADDR", addr)]));
        assert!(
            error.contains(&format!("make run: {variable} must be")),
            "{error}"
        );
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_variable() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let free = Port::free().number();
    for (redis_port, addr, variable) in [
        (port, format!("127.0.0.1:{free}"), "REDIS_PORT"),
        (free, format!("127.0.0.1:{port}"), "ADDR"),
    ] {
        let error = refused(&mut make_run(redis_port, &addr));
        assert!(
            error.contains("is in use") && error.contains(&format!("make run {variable}=")),
            "{error}"
        );
    }
}
