//! The cases, and those of rl-server.

use std::env;
use std::path::Path;

use rl_tests::{Answer, HttpServer, PoliciesFile, Port, RedisServer, eventually};

use crate::target::Target;
use crate::{bare, peers};

/// A server and what is asked of it.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The argument that selects it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Starts the server. A bare handler gives this answer of rl-server. `None` if it is skipped.
    pub(crate) start: fn(&Answer) -> Option<Target>,
}

pub(crate) const CASES: [Case; 13] = [
    case("bare", "bare axum", bare::multi_threaded),
    case(
        "bare-per-core",
        "bare axum, a runtime per core",
        bare::runtime_per_core,
    ),
    case("one-caller", "rl-server, one caller", one_caller),
    case("tcp", "the same, Redis by TCP", tcp),
    case("callers", "rl-server, 10,000 callers", callers),
    case("denied", "rl-server, denied", denied),
    case(
        "deny-cache",
        "rl-server, denied from the deny cache",
        deny_cache,
    ),
    case("named", "rl-server, a named policy with two limits", named),
    case("local", "rl-server, outage, -on-outage local", local),
    case("other-server", "OTHER_SERVER, one caller", other_server),
    case(
        "throttlecrab",
        "throttlecrab-server, in memory",
        peers::throttlecrab,
    ),
    case("nginx", "nginx, limit_req", peers::nginx),
    case("other-http", "OTHER_HTTP", peers::other_http),
];

const fn case(
    name: &'static str,
    title: &'static str,
    start: fn(&Answer) -> Option<Target>,
) -> Case {
    Case { name, title, start }
}

/// Every request is allowed.
const ALLOW: [&str; 4] = ["-rate", "1000000", "-burst", "1000000000"];

/// Every request but the first is denied.
const DENY: [&str; 4] = ["-rate", "1/1000d", "-burst", "1"];

/// Every request is allowed, by two limits.
const TWO_LIMITS: &str = r#"
[api]
limits = [
  { name = "second", rate = "1000000/s", burst = 1000000000 },
  { name = "hour", rate = "1000000000/h", burst = 1000000000 },
]
"#;

/// What rl-server answers to one caller.
pub(crate) fn answer() -> Answer {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url()], &ALLOW[..]].concat());
    http.get("/token")
}

fn one_caller(_: &Answer) -> Option<Target> {
    Some(with_redis("/token", &ALLOW))
}

fn tcp(_: &Answer) -> Option<Target> {
    let redis = RedisServer::start_on_tcp(&[]);
    let address = format!("127.0.0.1:{}", redis.port());
    let http = HttpServer::start(&[&["-redis", &address], &ALLOW[..]].concat());
    Some(target("/token", http, redis))
}

fn callers(_: &Answer) -> Option<Target> {
    let flags = [&ALLOW[..], &["-trusted-proxies", "127.0.0.1"]].concat();
    Some(Target {
        callers: 10_000,
        ..with_redis("/token", &flags)
    })
}

fn denied(_: &Answer) -> Option<Target> {
    Some(denying(&[]))
}

fn deny_cache(_: &Answer) -> Option<Target> {
    Some(denying(&["-deny-cache", "1000"]))
}

fn denying(flags: &[&str]) -> Target {
    Target {
        is_denied: true,
        ..with_redis("/token", &[&DENY[..], flags].concat())
    }
}

fn named(_: &Answer) -> Option<Target> {
    let policies = PoliciesFile::new(TWO_LIMITS);
    // The server has read the file when it is connected.
    Some(with_redis("/token/api", &["-policies", policies.path()]))
}

fn local(_: &Answer) -> Option<Target> {
    let nobody = Port::free();
    let address = format!("127.0.0.1:{}", nobody.number());
    let flags = ["-redis", &address, "-on-outage", "local"];
    let http = HttpServer::start_alone(&[&flags[..], &ALLOW].concat());
    let url = url(&http, "/token");
    eventually("an answer without Redis", || {
        (http.get("/token").field("degraded")? == "true").then_some(())
    });
    Some(Target::new(url, vec![http.id()], (http, nobody)))
}

fn other_server(_: &Answer) -> Option<Target> {
    let program = env::var_os("OTHER_SERVER").filter(|path| !path.is_empty())?;
    let redis = RedisServer::start();
    let address = redis.url();
    let flags = [&["-redis", &address], &ALLOW[..]].concat();
    let http = HttpServer::start_build(Path::new(&program), &flags);
    Some(target("/token", http, redis))
}

/// An rl-server with a Redis of its own, by a unix socket. The first request is sent.
fn with_redis(path: &str, flags: &[&str]) -> Target {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url()], flags].concat());
    assert_eq!(http.get(path).status, 200, "{path}");
    target(path, http, redis)
}

fn target(path: &str, http: HttpServer, redis: RedisServer) -> Target {
    let id = redis.connect().info("server", "process_id");
    let id = id.and_then(|id| id.parse().ok()).expect("a process");
    Target {
        redis: Some(id),
        ..Target::new(url(&http, path), vec![http.id()], (http, redis))
    }
}

fn url(http: &HttpServer, path: &str) -> String {
    format!("http://{}{path}", http.address())
}
