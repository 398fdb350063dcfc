//! Other servers that limit, if they are installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use nix::sys::signal::Signal;
use rl_tests::{Answer, Port, Process, children, eventually, installed, listens};
use tempfile::TempDir;

use crate::target::Target;

/// Every request is allowed: the rate and the burst are those of rl-server.
const THROTTLE: &str =
    r#"{"key":"127.0.0.1","max_burst":1000000000,"count_per_period":1000000,"period":1}"#;

/// Without the limits and files that would cost a request more than it needs.
const NGINX: &str = "
daemon off;
user root;
worker_processes CORES;
pid pid;
error_log log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  keepalive_requests 1000000000;
  open_file_cache max=10;
  default_type application/json;
  limit_req_zone $binary_remote_addr zone=callers:1m rate=1000000r/s;
  server {
    listen 127.0.0.1:PORT;
    root DIR;
    location /token { limit_req zone=callers burst=1000000 nodelay; }
  }
}
";

/// Its own HTTP interface, which takes a policy with each request.
pub(crate) fn throttlecrab(_: &Answer) -> Option<Target> {
    let Some(program) = installed("throttlecrab-server") else {
        println!("skipped: throttlecrab-server is not in PATH; cargo install throttlecrab-server");
        return None;
    };
    let port = Port::free();
    let number = port.number();
    let process = Process::start(
        Command::new(program)
            .args(["--http", "--http-host", "127.0.0.1"])
            .args(["--http-port", &number.to_string()])
            .args(["--log-level", "error"])
            .stdout(Stdio::null()),
    );
    eventually("throttlecrab-server to listen", || {
        listens(number).then_some(())
    });
    let (url, ids) = (
        format!("http://127.0.0.1:{number}/throttle"),
        vec![process.id()],
    );
    Some(Target {
        body: Some(THROTTLE.to_owned()),
        ..Target::new(url, ids, (process, port))
    })
}

/// It limits before it serves a file with the body of rl-server's answer. It would answer `return` before it limits.
pub(crate) fn nginx(answer: &Answer) -> Option<Target> {
    let Some(program) = installed("nginx") else {
        println!("skipped: nginx is not installed; tests/packages.sh bench installs it");
        return None;
    };
    let port = Port::free();
    let nginx = Nginx::start(&program, port.number(), &answer.body);
    let url = format!("http://127.0.0.1:{}/token", port.number());
    let ids = [&[nginx.master.id()][..], &nginx.workers()].concat();
    Some(Target::new(url, ids, (nginx, port)))
}

/// A master with a worker for each core.
struct Nginx {
    master: Process,
    _dir: TempDir,
}

impl Nginx {
    fn start(program: &Path, port: u16, body: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let cores = thread::available_parallelism().expect("a number of cores");
        let configuration = NGINX
            .replace("CORES", &cores.to_string())
            .replace("PORT", &port.to_string())
            .replace("DIR", dir.path().to_str().expect("UTF-8"));
        fs::write(dir.path().join("nginx.conf"), configuration).expect("written");
        fs::write(dir.path().join("token"), body).expect("written");
        let mut command = Command::new(program);
        command.arg("-p").arg(dir.path());
        let master = Process::start(command.args(["-c", "nginx.conf", "-e", "log"]));
        let nginx = Self { master, _dir: dir };
        eventually("nginx to listen", || {
            (nginx.workers().len() == cores.get() && listens(port)).then_some(())
        });
        nginx
    }

    fn workers(&self) -> Vec<u32> {
        children(self.master.id())
    }
}

/// A master that is killed leaves its workers behind.
impl Drop for Nginx {
    fn drop(&mut self) {
        self.master.signal(Signal::SIGTERM);
        self.master.wait();
    }
}

/// `OTHER_HTTP` must allow every GET. `OTHER_HTTP_PID` is its process, if its processor time is to be shown.
pub(crate) fn other_http(_: &Answer) -> Option<Target> {
    let given = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let id = given("OTHER_HTTP_PID").map(|id| id.parse().expect("OTHER_HTTP_PID is a number"));
    Some(Target::new(
        given("OTHER_HTTP")?,
        id.into_iter().collect(),
        (),
    ))
}
