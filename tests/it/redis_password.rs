use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rl_tests::{HttpServer, Process, RedisServer, artifacts, eventually};

use crate::redis_addresses::{USER, add_user, assert_refused_by, assert_used_by};

/// A temporary file for `-redis-password-file`.
pub(crate) struct PasswordFile(tempfile::NamedTempFile);

impl PasswordFile {
    pub(crate) fn new(content: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, content).expect("written");
        Self(file)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("UTF-8")
    }

    pub(crate) fn flags(&self) -> [&str; 2] {
        ["-redis-password-file", self.path()]
    }
}

#[test]
fn a_password_file_holds_the_password_unencoded() {
    let redis = RedisServer::start_on_tcp(&[]);
    let port = redis.port();
    add_user(&mut redis.connect(), &[]);
    redis.connect().value("ACL SETUSER rl-server >p%40:/@\"é'");
    for content in ["p%40:/@\"é'", "p%40:/@\"é'\n", "a-password\n"] {
        let file = PasswordFile::new(content);
        let flags = file.flags();
        let address = format!("redis://rl-server@127.0.0.1:{port}");
        assert_used_by(&redis, 0, &address, &flags);
        let address = format!("unix:{}?user=rl-server", redis.socket().display());
        assert_used_by(&redis, 0, &address, &flags);
    }
    let wrong = PasswordFile::new("a-password \n");
    let address = format!("rl-server@127.0.0.1:{port}");
    assert_refused_by(&address, &wrong.flags(), "WRONGPASS");
}

#[test]
fn a_password_file_works_without_a_user_and_in_a_cluster() {
    let redis = RedisServer::start_cluster_node(&[]);
    let mut connection = redis.connect();
    connection.add_slots();
    connection.value("CONFIG SET requirepass a-password");
    let file = PasswordFile::new("a-password\n");
    let node = format!("127.0.0.1:{}", redis.port());
    for address in [node.clone(), format!("redis-cluster://{node}")] {
        let http = HttpServer::start_alone(&[&["-redis", &address], &file.flags()[..]].concat());
        eventually("a decision", || {
            (http.get("/token").status == 200).then_some(())
        });
    }
}

/// `-redis-password-file <(command)` in a shell. A pipe can be read only once.
#[test]
fn a_password_file_may_be_a_pipe() {
    let redis = RedisServer::start_on_tcp(&[]);
    add_user(&mut redis.connect(), &[]);
    let line = format!(
        "exec {} -addr 127.0.0.1:0 -deadline 600s -redis rl-server@127.0.0.1:{} -redis-password-file <(echo a-password)",
        artifacts().server.display(),
        redis.port()
    );
    let log = log_until_connected(Command::new("bash").args(["-c", &line]));
    assert!(log.concat().contains("connected to Redis"), "{log:?}");
}

/// The lines that an rl-server logs until it has connected to Redis, or ends.
fn log_until_connected(command: &mut Command) -> Vec<String> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let _process = Process::from(child);
    let mut log = Vec::new();
    for line in lines {
        log.push(line.expect("UTF-8"));
        if log
            .last()
            .is_some_and(|line| line.contains("connected to Redis"))
        {
            break;
        }
    }
    log
}

#[test]
fn only_a_password_on_the_command_line_causes_a_warning() {
    let redis = RedisServer::start_on_tcp(&[]);
    add_user(&mut redis.connect(), &[]);
    let (port, socket) = (redis.port(), redis.socket());
    let file = PasswordFile::new("a-password");
    let url = format!("redis://{USER}@127.0.0.1:{port}");
    let by_socket = format!("unix:{}?user=rl-server&pass=a-password", socket.display());
    let without = format!("redis://rl-server@127.0.0.1:{port}");
    let server = || {
        let mut command = Command::new(&artifacts().server);
        command.args(["-addr", "127.0.0.1:0", "-deadline", "600s"]);
        command
    };
    let warning = |command: &mut Command| {
        let log = log_until_connected(command);
        assert!(
            log.iter().any(|line| line.contains("connected to Redis")),
            "{log:?}"
        );
        assert!(!log.concat().contains("a-password"), "{log:?}");
        let mut warnings = log.iter().filter(|line| line.contains("process list"));
        let line = warnings.next()?;
        assert!(
            line.contains("-redis-password-file") && line.contains("RL_REDIS"),
            "{line}"
        );
        assert_eq!(warnings.next(), None);
        Some(())
    };
    assert!(warning(server().args(["-redis", &url])).is_some());
    assert!(warning(server().args(["-redis", &by_socket])).is_some());
    assert!(warning(server().env("RL_REDIS", &url)).is_none());
    assert!(warning(server().args(["-redis", &without]).args(file.flags())).is_none());
    let variables = [
        ("RL_REDIS", without.as_str()),
        ("RL_REDIS_PASSWORD_FILE", file.path()),
    ];
    assert!(warning(server().envs(variables)).is_none());
}

/// The exit code, and the text on both outputs.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn errors_do_not_repeat_a_misplaced_password() {
    const URL: &str = "redis://:s3cret@localhost:1";
    let server = || Command::new(&artifacts().server);
    let (bare, socket) = ("u:s3cret@localhost:1", "unix:/s?pass=s3cret");
    let words: &[&[&str]] = &[
        &[URL],
        &[bare],
        &[socket],
        &["--", URL],
        &["-redis", "localhost", URL],
        &["--redis-url", URL],
        &["-rate", URL],
        &["-on-outage", URL],
        &["-trusted-proxies", URL],
        &["-cors-origins", URL],
        &["-trust-caller=redis://:s3cret@localhost"],
        &["-addr", URL],
        &["-metrics-addr", bare],
        &["-redis-ca", URL],
        &["-redis-password-file", URL],
        &["-redis", "redis://:s3cret@localhost:bad"],
    ];
    for words in words {
        let (code, text) = refused(server().args(*words));
        assert_eq!(code, Some(2), "{words:?}: {text}");
        assert!(
            !text.contains("s3cret") && text.contains("-redis"),
            "{words:?}: {text}"
        );
    }
    for variable in [
        "RL_ADDR",
        "RL_RATE",
        "RL_REDIS_PASSWORD_FILE",
        "RL_ON_OUTAGE",
    ] {
        let (code, text) = refused(server().env(variable, URL));
        assert_eq!(code, Some(2), "{variable}: {text}");
        assert!(
            !text.contains("s3cret") && text.contains(variable),
            "{text}"
        );
    }
    let (code, text) = refused(server().env("RL_REDIS", "redis://:s3cret@localhost:bad"));
    assert!(code == Some(2) && !text.contains("s3cret"), "{text}");
}

#[test]
fn an_unusable_password_file_is_an_error_at_the_start() {
    let (empty, newline) = (PasswordFile::new(""), PasswordFile::new("\n"));
    let (good, binary) = (PasswordFile::new("s3cret"), PasswordFile::new(""));
    std::fs::write(&binary.0, b"\xff").expect("written");
    for (address, file, error) in [
        ("localhost", "/nowhere/password", "No such file"),
        ("localhost", "/", "Is a directory"),
        ("localhost", empty.path(), "holds no password"),
        ("localhost", newline.path(), "holds no password"),
        ("localhost", binary.path(), "UTF-8"),
        (
            "redis://:s3cret@localhost",
            good.path(),
            "remove one of them",
        ),
        (
            "redis-cluster://:s3cret@a,b",
            good.path(),
            "remove one of them",
        ),
        ("unix:/s?pass=s3cret", good.path(), "remove one of them"),
    ] {
        let mut command = Command::new(&artifacts().server);
        command.args(["-redis", address, "-redis-password-file", file]);
        let (code, text) = refused(&mut command);
        assert_eq!(code, Some(2), "{text}");
        let prefix = format!("-redis-password-file {file}: ");
        assert!(text.contains(&prefix) && text.contains(error), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
