use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rl_tests::{Port, Process, eventually, listens, project};

fn make_run(redis_port: u16, addr: &str) -> Command {
    let mut command = Command::new("make");
    command
        .args([
            "run",
            &format!("REDIS_PORT={redis_port}"),
            &format!("ADDR={addr}"),
        ])
        .current_dir(project())
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn make_run_serves_until_ctrl_c_and_leaves_nothing_behind() {
    let (redis, http) = (Port::free(), Port::free());
    let (redis_port, http_port) = (redis.number(), http.number());
    let temporary = tempfile::tempdir().expect("a directory");
    let mut child = make_run(redis_port, &format!("127.0.0.1:{http_port}"))
        .env("TMPDIR", temporary.path())
        .process_group(0)
        .spawn()
        .expect("make runs");
    let group = Pid::from_raw(child.id().cast_signed());
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut process = Process::from(child);
    let mut said = Vec::new();
    while !said
        .iter()
        .any(|line: &String| line.contains("RL.LEAKY job:7 10 5"))
    {
        said.push(
            lines
                .next()
                .expect("it goes on until Ctrl-C")
                .expect("UTF-8"),
        );
    }
    assert!(
        said.iter()
            .any(|line| line.trim() == format!("curl 127.0.0.1:{http_port}/token")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|line| line.trim() == format!("redis-cli -p {redis_port} RL.TOKEN user:42 10 20"))
    );
    assert!(listens(redis_port) && listens(http_port));

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

#[test]
fn a_taken_port_is_a_clear_error_that_names_the_variable() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let free = Port::free().number();
    for (redis_port, addr, variable) in [
        (port, format!("127.0.0.1:{free}"), "REDIS_PORT"),
        (free, format!("127.0.0.1:{port}"), "ADDR"),
    ] {
        let mut child = make_run(redis_port, &addr).spawn().expect("make runs");
        let mut error = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut error)
            .expect("UTF-8");
        assert!(!Process::from(child).wait().success());
        assert!(
            error.contains("is taken") && error.contains(&format!("make run {variable}=")),
            "{error}"
        );
    }
}
