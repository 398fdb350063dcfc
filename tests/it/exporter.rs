//! `redis_exporter`, which reads `INFO rl` by the script of `module/README.md`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rl_tests::{Port, Process, RedisServer, eventually, installed, project};

const PROGRAM: &str = "prometheus-redis-exporter";

#[test]
fn redis_exporter_exports_each_field_of_info() {
    let Some(program) = installed(PROGRAM) else {
        println!("skipped: {PROGRAM} is not installed; tests/packages.sh full installs it");
        return;
    };
    let server = RedisServer::start_on_tcp(&[]);
    let mut redis = server.connect();
    redis.limit("RL.TOKEN k 1/1000d 20");
    let port = Port::free();
    let _exporter = Process::start(
        Command::new(program)
            .args([
                "-redis.addr",
                &format!("redis://127.0.0.1:{}", server.port()),
            ])
            .arg("-script")
            .arg(project().join("module/redis_exporter.lua"))
            .args([
                "-web.listen-address",
                &format!("127.0.0.1:{}", port.number()),
            ])
            .stderr(Stdio::null()),
    );
    let metrics = eventually("the metrics", || metrics(port.number()));
    let info: String = redis.line("INFO rl");
    let fields = info
        .lines()
        .filter_map(|line| line.trim_end().split_once(':'));
    for (name, value) in fields {
        let line = format!("redis_script_values{{key=\"{name}\"}} {value}\n");
        assert!(metrics.contains(&line), "no {line}");
    }
    assert!(
        metrics.contains("{key=\"rl_token_allowed\"} 1\n"),
        "{metrics}"
    );
}

/// What it exports, once that has values of the script. It answers HTTP/1.1 in chunks, and HTTP/1.0 without.
fn metrics(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("redis_script_values").then_some(answer)
}
