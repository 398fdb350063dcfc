use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use rl_tests::{HttpServer, Process, RedisServer, artifacts, eventually, get, send};

pub(crate) fn start(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url()], flags].concat());
    (redis, http)
}

#[test]
fn an_allowed_request_is_answered_to_the_byte() {
    let (_redis, http) = start(&[]);
    let answer = http.get("/token");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","limit":20,"remaining":19,"retry_after_ms":0,"reset_after_ms":100}"#
    );
    assert_eq!(
        answer.headers,
        [
            "content-type: application/json",
            "cache-control: no-store",
            "ratelimit-policy: \"token\";q=20;w=2",
            "ratelimit: \"token\";r=19;t=2",
            "content-length: 127",
            "x-content-type-options: nosniff",
        ]
    );
    let answer = http.get("/leaky");
    assert_eq!(
        answer.body,
        r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","limit":20,"remaining":19,"retry_after_ms":0,"reset_after_ms":100,"delay_ms":0}"#
    );
    assert_eq!(answer.header("ratelimit"), Some("\"leaky\";r=19;t=2"));
}

#[test]
fn thirty_calls_on_one_connection_end_in_denials() {
    let (_redis, http) = start(&["-rate", "1/1000d"]);
    let mut stream = http.connect();
    let answers: Vec<_> = (0..30).map(|_| get(&mut stream, "/token")).collect();
    assert!(answers[..20].iter().all(|answer| answer.status == 200));
    for denied in &answers[20..] {
        assert_eq!(denied.status, 429);
        let fixed = r#"{"allowed":false,"ip":"127.0.0.1","message":"Rate limit exceeded","limit":20,"remaining":0,"retry_after_ms":"#;
        assert!(denied.body.starts_with(fixed), "{}", denied.body);
        let wait_ms: u64 = denied
            .field("retry_after_ms")
            .and_then(|ms| ms.parse().ok())
            .expect("a wait");
        let wait_s = denied
            .header("retry-after")
            .expect("a denial has Retry-After");
        assert_eq!(wait_s, wait_ms.div_ceil(1000).to_string());
        assert_eq!(
            denied.header("ratelimit"),
            Some(format!("\"token\";r=0;t={wait_s}").as_str())
        );
        assert_eq!(
            denied.header("ratelimit-policy"),
            Some("\"token\";q=20;w=1728000000")
        );
        assert_eq!(denied.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn the_default_rate_denies_for_a_second_at_most() {
    let (redis, http) = start(&[]);
    let (mut redis, mut stream) = (redis.connect(), http.connect());
    let denied = eventually("a denial", || {
        // On a slow machine tokens are refilled in between, so the test repeats until a request comes within 100 ms.
        redis.limit("RL.TOKEN rl:token:127.0.0.1 10 20 COST 20 PARTIAL");
        Some(get(&mut stream, "/token")).filter(|answer| answer.status == 429)
    });
    assert_eq!(denied.header("retry-after"), Some("1"));
}

#[test]
fn the_key_of_a_caller_is_its_address() {
    let (redis, _) = start(&[]);
    let http = HttpServer::start_at(":0", &["-redis", &redis.url(), "-rate", "1/1000d"]);
    let answer = http.get("/token");
    assert_eq!(
        answer.field("ip"),
        Some("\"127.0.0.1\""),
        "an IPv4 caller on a socket of both families"
    );
    let ipv6 = get(
        &mut TcpStream::connect(("::1", http.port())).expect("both families"),
        "/leaky",
    );
    assert!(ipv6.body.contains(r#""ip":"::1","#), "{}", ipv6.body);
    let mut keys: Vec<String> = redis.connect().line("KEYS *");
    keys.sort();
    assert_eq!(keys, ["rl:leaky:::/64", "rl:token:127.0.0.1"]);
}

#[test]
fn flags_in_every_spelling_have_precedence_over_variables() {
    let redis = RedisServer::start();
    for flags in [
        &["-rate=1/1000s", "-burst=3"][..],
        &["--rate", "1/1000s", "--burst", "3"],
    ] {
        redis.connect().value("FLUSHALL");
        let http = HttpServer::start(&[&["-redis", &redis.url()], flags].concat());
        let answer = http.get("/token");
        assert_eq!(
            (answer.field("limit"), answer.field("reset_after_ms")),
            (Some("3"), Some("1000000"))
        );
    }
}

#[test]
fn the_environment_sets_what_flags_do_not() {
    let redis = RedisServer::start();
    let output = Command::new(&artifacts().server)
        .args(["-addr", "127.0.0.1:0", "-burst", "7"])
        .env("RL_REDIS", redis.url())
        .env("RL_RATE", "nonsense")
        .env("RL_BURST", "8")
        .output()
        .expect("rl-server was built");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(
            "RL_RATE: invalid value 'nonsense' for '-rate RATE': expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
             units are ms, s, sec, m, min, h, hour, d and day"
        ),
        "{text}"
    );
}

#[test]
fn an_address_in_use_is_a_clear_error() {
    let (_redis, http) = start(&[]);
    let addr = format!("127.0.0.1:{}", http.port());
    let output = Command::new(&artifacts().server)
        .args(["-addr", &addr])
        .stdin(Stdio::null())
        .output()
        .expect("built");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(&format!("cannot listen on {addr}")) && text.contains("-addr"),
        "{text}"
    );
}

#[test]
fn head_spends_a_token_and_other_paths_and_methods_do_not() {
    let (_redis, http) = start(&["-rate", "1/1000d"]);
    let head = send(
        &mut http.connect(),
        "HEAD /token HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert_eq!(
        (head.status, head.header("ratelimit")),
        (200, Some("\"token\";r=19;t=1641600000"))
    );
    assert_eq!(http.get("/nowhere").status, 404);
    assert_eq!(http.get("/token/").status, 404);
    assert_eq!(
        send(
            &mut http.connect(),
            "POST /token HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
        )
        .status,
        405
    );
    assert_eq!(http.get("/token").field("remaining"), Some("18"));
}

/// A request that waits for Redis when the signal arrives is still answered. Then the server exits with 0.
#[test]
fn requests_in_flight_are_answered_before_the_exit() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (redis, mut http) = start(&["-deadline", "1s"]);
        let mut redis = redis.connect();
        let mut stream = http.connect();
        eventually("a decision", || {
            (get(&mut stream, "/token").status == 200).then_some(())
        });
        redis.value("CLIENT PAUSE 60000 WRITE");
        stream
            .write_all(b"GET /token HTTP/1.1\r\nHost: test\r\n\r\n")
            .expect("sent");
        eventually("the call to be held", || {
            let clients: String = redis.line("CLIENT LIST");
            let mut held = clients.lines().filter(|line| line.contains("cmd=rl.token"));
            held.any(|line| line.contains("flags=b")).then_some(())
        });
        http.signal(signal);
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer, and then the end of the stream");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
        assert!(answer.ends_with("}"), "{answer:?}");
        assert_eq!(http.exit_code(), Some(0), "{signal}");
    }
}

/// In a shell pipeline Ctrl-C may end the reader of the log first.
#[test]
fn a_closed_log_does_not_delay_the_exit() {
    let mut child = Command::new(&artifacts().server)
        .args(["-addr", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("built");
    let mut log = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert!(log.read_line(&mut line).expect("UTF-8") > 0, "it listens");
    }
    drop(log);
    let mut server = Process::from(child);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
