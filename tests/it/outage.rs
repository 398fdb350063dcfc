use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rl_tests::{
    Answer, By, Fault, FaultProxy, Figures, HttpServer, Load, PoliciesFile, RedisServer,
    TimedAnswer, artifacts, callers, eventually,
};

/// The default of -deadline.
const DEADLINE: &str = "50ms";

/// P9: every answer comes within the deadline and 20 ms, on an otherwise idle machine.
const P9: Duration = Duration::from_millis(70);

/// The bound that the tests check, which holds on a busy machine too.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Numbers of callers, each of which sends its next request as soon as it has an answer.
const FEW: u8 = 8;
const FULL_LOAD: u8 = 64;

const MODES: [&str; 3] = ["deny", "allow", "local"];

/// A policy that denies no call of a test, so that a 429 would be an outage reported as a denial.
const NO_DENIALS: [&str; 4] = ["-rate", "281474976710655", "-burst", "281474976710655"];

#[derive(Clone, Copy, Debug)]
enum Failure {
    Kill,
    Stop,
    BlackHole,
}

impl Failure {
    fn start(self, redis: &RedisServer, network: &FaultProxy) {
        match self {
            Self::Kill => redis.kill(),
            Self::Stop => redis.signal(Signal::SIGSTOP),
            Self::BlackHole => network.set(Fault::BlackHole),
        }
    }

    fn end(self, redis: &RedisServer, network: &FaultProxy) {
        match self {
            Self::Kill => redis.restart(),
            Self::Stop => redis.signal(Signal::SIGCONT),
            Self::BlackHole => network.set(Fault::None),
        }
    }
}

/// A route with one limit, and one with two in a single call.
const PATHS: [&str; 2] = ["/token", "/token/api/orders"];

/// The policy of the second route. It denies no call of a test.
const POLICIES: &str = r#"
[api]
limits = [
  { name = "second", rate = "281474976710655", burst = 281474976710655 },
  { name = "hour", rate = "281474976710655/h", burst = 281474976710655 },
]
"#;

fn start(flags: &[&str]) -> (RedisServer, FaultProxy, HttpServer) {
    let redis = RedisServer::start_on_tcp(&[]);
    let network = FaultProxy::to(redis.port());
    let http = HttpServer::start(&[&["-redis", &network.address()], flags].concat());
    (redis, network, http)
}

/// Fails twice in the same way while `count` callers send requests, on each route, and checks every answer.
fn outage(failure: Failure, mode: &str, count: u8) {
    PATHS
        .iter()
        .for_each(|path| outage_on(path, failure, mode, count));
}

fn outage_on(path: &str, failure: Failure, mode: &str, count: u8) {
    let file = PoliciesFile::new(POLICIES);
    let flags = [
        &[
            "-deadline",
            DEADLINE,
            "-on-outage",
            mode,
            "-policies",
            file.path(),
        ],
        &NO_DENIALS[..],
    ]
    .concat();
    let (redis, network, http) = start(&flags);
    let without_redis = if mode == "deny" {
        By::Nobody
    } else {
        By::Itself
    };
    let answers = Load::on(&http, path, &callers(count), |load| {
        for _ in 0..2 {
            load.wait_for(By::Redis, 100);
            failure.start(&redis, &network);
            load.wait_for(without_redis, 1000);
            failure.end(&redis, &network);
            let ended = Instant::now();
            load.wait_for(By::Redis, 1);
            println!(
                "{failure:?}, {mode}, {path}: Redis decides again {:.0?} after its end",
                ended.elapsed()
            );
            assert!(ended.elapsed() < MAX_WAIT, "{:?}", ended.elapsed());
        }
        load.wait_for(By::Redis, 100);
    });
    check(&answers, without_redis);
    let late = answers.iter().filter(|answer| answer.took > P9).count();
    println!(
        "{failure:?}, {mode}, {path}: {}; {late} took longer than {P9:?}",
        Figures::of(&answers)
    );
}

fn check(answers: &[TimedAnswer], without_redis: By) {
    for answer in answers {
        assert!(answer.took < MAX_WAIT, "{answer:?}");
        assert!(answer.status != 429, "a denial in an outage: {answer:?}");
        assert!(
            [By::Redis, without_redis].contains(&answer.by),
            "{answer:?}"
        );
    }
}

#[test]
fn a_killed_redis_is_used_again_under_load() {
    MODES
        .iter()
        .for_each(|mode| outage(Failure::Kill, mode, FEW));
}

#[test]
fn a_stopped_redis_is_used_again_under_load() {
    MODES
        .iter()
        .for_each(|mode| outage(Failure::Stop, mode, FEW));
}

#[test]
fn redis_behind_a_black_hole_is_used_again_under_load() {
    MODES
        .iter()
        .for_each(|mode| outage(Failure::BlackHole, mode, FEW));
}

#[test]
#[ignore = "make test-full"]
fn redis_is_used_again_after_every_fault_at_full_load() {
    for failure in [Failure::Kill, Failure::Stop, Failure::BlackHole] {
        for mode in MODES {
            outage(failure, mode, FULL_LOAD);
        }
    }
}

/// With a deadline of ten minutes, a request that waits for Redis fails the test.
#[test]
fn requests_do_not_wait_for_a_redis_that_is_gone() {
    let (redis, _network, http) = start(&["-deadline", "600s"]);
    redis.kill();
    let started = Instant::now();
    (0..100).for_each(|_| assert_unavailable(&http.get("/token"), "Redis does not answer"));
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

/// Five calls time out; the server answers later requests at once.
#[test]
fn requests_do_not_wait_after_five_calls_without_reply() {
    let (redis, network, http) = start(&["-deadline", "2s"]);
    for failure in [Failure::Stop, Failure::BlackHole] {
        failure.start(&redis, &network);
        let waits: Vec<_> = (0..60)
            .map(|_| {
                let started = Instant::now();
                assert_unavailable(&http.get("/token"), "Redis does not answer");
                started.elapsed()
            })
            .collect();
        let long = waits
            .iter()
            .filter(|wait| **wait > Duration::from_secs(1))
            .count();
        assert!(long < 30, "{waits:?}");
        failure.end(&redis, &network);
        eventually("a decision", || {
            (http.get("/token").status != 503).then_some(())
        });
    }
}

fn assert_unavailable(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 503);
    assert_eq!(answer.body, format!(r#"{{"error":"{error}"}}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(
        answer.header("ratelimit"),
        None,
        "no decision, so no RateLimit fields"
    );
}

#[test]
fn a_redis_that_starts_after_the_server_is_used() {
    let redis = RedisServer::start_on_tcp(&[]);
    redis.kill();
    let address = format!("127.0.0.1:{}", redis.port());
    let http = HttpServer::start_alone(&["-redis", &address, "-deadline", DEADLINE]);
    assert_unavailable(&http.get("/token"), "Redis does not answer");
    redis.restart();
    eventually("a decision", || {
        (http.get("/token").status == 200).then_some(())
    });
}

#[test]
fn with_outage_allow_answers_have_no_ratelimit_fields() {
    let (redis, _network, http) =
        start(&["-on-outage", "allow", "-burst", "1", "-rate", "1/1000d"]);
    redis.kill();
    for path in ["/token", "/leaky", "/token"] {
        let answer = http.get(path);
        let allowed =
            r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","degraded":true}"#;
        assert_eq!((answer.status, answer.body.as_str()), (200, allowed));
        for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
            assert_eq!(answer.header(name), None, "{name}: there is no decision");
        }
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn local_limits_follow_the_policy_and_answers_say_degraded() {
    let (redis, _network, http) =
        start(&["-on-outage", "local", "-burst", "3", "-rate", "1/1000d"]);
    redis.kill();
    let (mut token, mut leaky) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        token.push(http.get("/token"));
        leaky.push(http.get("/leaky"));
    }
    for answers in [&token, &leaky] {
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 200, 429]);
        let remaining: Vec<_> = answers
            .iter()
            .map(|answer| answer.field("remaining"))
            .collect();
        assert_eq!(remaining, ["2", "1", "0", "0"].map(Some));
        assert!(
            answers
                .iter()
                .all(|answer| answer.body.ends_with(r#","degraded":true}"#))
        );
    }
    assert!(token[3].header("retry-after").is_some(), "{:?}", token[3]);
    assert!(
        leaky[1].field("delay_ms").is_some_and(|ms| ms != "0"),
        "{:?}",
        leaky[1]
    );
}

#[test]
fn a_missing_module_is_reported_and_used_once_it_is_loaded() {
    let mut redis = RedisServer::start_without_module(&[]);
    let http = HttpServer::start(&["-redis", &format!("127.0.0.1:{}", redis.port())]);
    let error = "Redis does not have the rl module: start it with redis-server --loadmodule target/release/librl.so";
    assert_unavailable(&http.get("/leaky"), error);
    redis.restart_with(&["--loadmodule", artifacts().module.to_str().expect("UTF-8")]);
    eventually("a decision", || {
        (http.get("/leaky").status == 200).then_some(())
    });
}

#[test]
fn a_refusal_of_redis_is_not_a_denial() {
    let (redis, _network, http) = start(&[]);
    redis.connect().value("CONFIG SET maxmemory 1");
    assert_unavailable(&http.get("/token"), "Redis refused the call: OOM");
    redis.connect().value("CONFIG SET maxmemory 0");
    assert_eq!(
        http.get("/token").status,
        200,
        "OOM refuses one call and does not end the connection"
    );
}

/// Waits for the refusal. The first calls may still run on the connection from before.
fn wait_for_refusal(http: &HttpServer, code: &str) {
    let error = format!("Redis refused the call: {code}");
    let answer = eventually(&error, || {
        Some(http.get("/token")).filter(|answer| answer.body.contains(&error))
    });
    assert_unavailable(&answer, &error);
}

fn wait_for_decision(http: &HttpServer) {
    eventually("a decision", || {
        (http.get("/token").status == 200).then_some(())
    });
}

#[test]
fn after_a_readonly_error_the_new_primary_is_used() {
    let (old, network, http) = start(&NO_DENIALS);
    let new = RedisServer::start_on_tcp(&[]);
    let follow = format!("REPLICAOF 127.0.0.1 {}", new.port());
    old.connect().value(&follow);
    wait_for_refusal(&http, "READONLY");
    network.forward_to(new.port());
    wait_for_decision(&http);
    let key = "RL.PEEK rl:token:127.0.0.1";
    let bucket: redis::Value = new.connect().value(key);
    assert_ne!(bucket, redis::Value::Nil, "the new primary has the bucket");
}

#[test]
fn after_a_masterdown_error_the_new_primary_is_used() {
    let (redis, network, http) = start(&NO_DENIALS);
    let mut connection = redis.connect();
    connection.value("CONFIG SET replica-serve-stale-data no");
    connection.value("CONFIG SET replica-read-only no");
    connection.value("REPLICAOF 127.0.0.1 1");
    wait_for_refusal(&http, "MASTERDOWN");
    let new = RedisServer::start_on_tcp(&[]);
    network.forward_to(new.port());
    wait_for_decision(&http);
}

#[test]
fn a_loading_redis_is_used_once_it_has_loaded() {
    let (redis, network, http) = start(&NO_DENIALS);
    let before = network.connections();
    let mut connection = redis.connect();
    // Loading takes 50 ms a key, 25 s in all, until the test resets the delay. Redis serves clients after each key, or,
    // before 7.0, after each 2 MB.
    connection.value("CONFIG SET rdbcompression no");
    let interval = "CONFIG SET loading-process-events-interval-bytes 1024";
    let _ = connection.try_line::<redis::Value>(interval);
    connection.value("DEBUG POPULATE 500 pad 65536");
    connection.value("CONFIG SET key-load-delay 50000");
    thread::scope(|scope| {
        scope.spawn(|| redis.connect().value("DEBUG RELOAD"));
        wait_for_refusal(&http, "LOADING");
        eventually("CONFIG SET to be accepted", || {
            let set = connection.try_line::<redis::Value>("CONFIG SET key-load-delay 0");
            set.is_ok().then_some(())
        });
    });
    wait_for_decision(&http);
    assert!(
        network.connections() > before,
        "the server opens a new connection"
    );
}

#[test]
fn a_redis_that_stops_requiring_a_password_is_used() {
    let redis = RedisServer::start_on_tcp(&[]);
    let mut connection = redis.connect();
    connection.value("CONFIG SET requirepass secret");
    let address = format!("127.0.0.1:{}", redis.port());
    let http = HttpServer::start_alone(&["-redis", &address]);
    wait_for_refusal(&http, "NOAUTH");
    let reply: redis::Value = connection
        .try_run(&["CONFIG", "SET", "requirepass", ""])
        .expect("accepted");
    assert_eq!(reply, redis::Value::Okay);
    wait_for_decision(&http);
}
