//! Attacks on named policies that worked once.

use std::process::Command;

use nix::sys::signal::Signal;
use rl_tests::{
    Answer, HttpServer, PoliciesFile, RedisServer, artifacts, eventually, get_with, send,
};

const FILE: &str = r#"
[login]
limits = [{ rate = "1/1000d", burst = 3 }]
[api]
limits = [
  { name = "second", rate = "1/1000d", burst = 30 },
  { name = "hour", rate = "1/1000d", burst = 20 },
]
"#;

fn start(flags: &[&str]) -> (RedisServer, PoliciesFile, HttpServer) {
    let (redis, file) = (RedisServer::start(), PoliciesFile::new(FILE));
    let address = redis.url();
    let given = ["-redis", &address, "-policies", file.path()];
    let http = HttpServer::start(&[&given, flags].concat());
    (redis, file, http)
}

fn options(http: &HttpServer, path: &str) -> Answer {
    let lines = "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n";
    let request = format!("OPTIONS {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    send(&mut http.connect(), &request)
}

/// CORS answered them all, so a proxy passed every OPTIONS request on.
#[test]
fn a_proxied_options_request_is_decided_despite_cors() {
    let (_redis, _file, http) = start(&["-cors-origins", "*"]);
    let statuses = [(); 4].map(|()| options(&http, "/token/login/orders").status);
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(options(&http, "/token/login/").status, 429);
    let preflight = options(&http, "/token/login");
    assert_eq!(preflight.status, 200, "scripts use the name alone");
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
}

/// MULTI was refused and the calls behind it were made, so each 503 had refunded.
#[test]
fn a_user_without_multi_forces_and_refunds_nothing() {
    let (redis, file) = (RedisServer::start_on_tcp(&[]), PoliciesFile::new(FILE));
    let rights = "on >a-password ~rl:* +rl.token +rl.leaky +rl.multi";
    redis
        .connect()
        .value(&format!("ACL SETUSER limited {rights}"));
    let address = format!("redis://limited:a-password@127.0.0.1:{}", redis.port());
    let flags = [
        "-redis",
        &address,
        "-policies",
        file.path(),
        "-trust-caller",
    ];
    let http = HttpServer::start(&flags);
    assert_eq!(
        http.get("/token/api?key=a&cost=10").field("remaining"),
        Some("10")
    );
    for charge in ["refund=5", "force=5"] {
        let answer = http.get(&format!("/token/api?key=a&{charge}"));
        let reason = r#"{"error":"Redis refused the call: NOPERM"}"#;
        assert_eq!((answer.status, answer.body.as_str()), (503, reason));
    }
    assert_eq!(
        http.get("/token/api?key=a&cost=0").field("remaining"),
        Some("10")
    );
}

#[test]
fn an_error_within_a_transaction_says_that_others_were_charged() {
    let (redis, _file, http) = start(&["-trust-caller"]);
    let key = "rl:{token:api::key=a}:hour";
    redis
        .connect()
        .value(&format!("RL.TOKEN {key} 1/1000d 20 FORCE 281474976710655"));
    let answer = http.get("/token/api?key=a&force=18");
    assert_eq!(answer.status, 400);
    let reason = "tokens of debt; send less; the other limits of the policy were charged";
    assert!(answer.body.contains(reason), "{}", answer.body);
    let metrics = http.get("/metrics").body;
    let errors = r#"rl_decisions_total{algorithm="token",policy="api",outcome="error"} 0"#;
    assert!(
        metrics.contains(errors),
        "the caller is wrong, and not Redis"
    );
}

/// SIGHUP without -policies ended the server.
#[test]
fn sighup_ends_no_server() {
    let redis = RedisServer::start();
    let http = HttpServer::start(&["-redis", &redis.url()]);
    http.signal(Signal::SIGHUP);
    http.wait_for_log("nothing to read again without -policies");
    assert_eq!(http.get("/token").status, 200);
}

/// Reading a pipe blocks for ever, and a server in that state did not end.
#[test]
fn a_file_that_is_a_pipe_is_refused() {
    let (_redis, file, http) = start(&[]);
    let path = file.path();
    std::fs::remove_file(path).expect("a file");
    let made = Command::new("mkfifo")
        .arg(path)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    http.signal(Signal::SIGHUP);
    http.wait_for_log("not a regular file");
    assert_eq!(http.get("/token/login").status, 200);
    let start = Command::new(&artifacts().server)
        .args(["-addr", "127.0.0.1:0", "-policies", path])
        .output()
        .expect("rl-server was built");
    assert_eq!(start.status.code(), Some(2));
}

#[test]
fn a_truncated_file_keeps_the_policies() {
    let (_redis, file, http) = start(&[]);
    file.write("");
    http.signal(Signal::SIGHUP);
    http.wait_for_log("no policies: add one");
    assert_eq!(http.get("/token/login").status, 200);
    file.write("[login]\nlimits = [{ rate = \"1\", burst = 1 }]\n[a\n# \u{fffd}");
    http.signal(Signal::SIGHUP);
    http.wait_for_log(":3: ");
    assert_eq!(http.get("/token/api").status, 200);
}

#[test]
fn a_removed_policy_is_logged_and_leaves_no_metrics() {
    let (_redis, file, http) = start(&[]);
    assert!(http.get("/metrics").body.contains(r#"policy="api""#));
    file.write("[login]\nkey = [\"header:X-Api-Key\"]\nlimits = [{ rate = \"1\", burst = 1 }]\n");
    http.signal(Signal::SIGHUP);
    http.wait_for_log("policy login: the header x-api-key never counts");
    http.wait_for_log("removed: [api]");
    // A rendering is used for a quarter of a second.
    eventually("metrics without the policy", || {
        let metrics = http.get("/metrics").body;
        (!metrics.contains(r#"policy="api""#) && metrics.contains(r#"policy="login""#))
            .then_some(())
    });
}

#[test]
fn long_and_many_headers_make_short_keys() {
    let (redis, file, http) = start(&["-trust-caller"]);
    let names: Vec<String> = (0..8).map(|n| format!("X-{n}")).collect();
    let parts: Vec<String> = names
        .iter()
        .map(|name| format!("\"header:{name}\""))
        .collect();
    let limits = "limits = [{ rate = \"1/1000d\", burst = 3 }]";
    file.write(&format!("[many]\nkey = [{}]\n{limits}\n", parts.join(", ")));
    http.signal(Signal::SIGHUP);
    http.wait_for_log("policies are in force");
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("{name}: {}", "\u{e9}".repeat(60)))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        get_with(&mut http.connect(), "/token/many", &lines).status,
        200
    );
    let keys: Vec<String> = redis.connect().line("KEYS rl:{token:many:*");
    assert!(keys.len() == 1 && keys[0].len() < 600, "{keys:?}");
}
