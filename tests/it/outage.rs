use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rl_tests::{
    Answer, By, Fault, FaultProxy, Figures, HttpServer, Load, RedisServer, TimedAnswer, artifacts,
    callers, eventually,
};

/// The one that rl-server has if nothing is said.
const DEADLINE: &str = "50ms";

/// The deadline and 20 ms, within which every answer comes on a machine that is not busy with other things.
const P9: Duration = Duration::from_millis(70);

/// Within which it has to come here. A client that waits for its own reconnection takes more.
const AT_LAST: Duration = Duration::from_secs(5);

/// Callers, each of which asks as soon as it is answered.
const FEW: u8 = 8;
const FULL_LOAD: u8 = 64;

const MODES: [&str; 3] = ["deny", "allow", "local"];

/// Of a policy under which no call of a test is denied: a 429 would be an outage that is told as one.
const PLENTY: [&str; 4] = ["-rate", "281474976710655", "-burst", "281474976710655"];

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Kill,
    Stop,
    BlackHole,
}

impl Trouble {
    fn begin(self, redis: &RedisServer, network: &FaultProxy) {
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

fn start(flags: &[&str]) -> (RedisServer, FaultProxy, HttpServer) {
    let redis = RedisServer::start_on_tcp(&[]);
    let network = FaultProxy::to(redis.port());
    let http = HttpServer::start(&[&["-redis", &network.address()], flags].concat());
    (redis, network, http)
}

/// Twice the same trouble while so many callers ask, and all that was told meanwhile checked.
fn outage(trouble: Trouble, mode: &str, count: u8) {
    let flags = [&["-deadline", DEADLINE, "-on-outage", mode], &PLENTY[..]].concat();
    let (redis, network, http) = start(&flags);
    let without_redis = if mode == "deny" {
        By::Nobody
    } else {
        By::Itself
    };
    let told = Load::on(&http, "/token", &callers(count), |load| {
        for _ in 0..2 {
            load.wait_for(By::Redis, 100);
            trouble.begin(&redis, &network);
            load.wait_for(without_redis, 1000);
            trouble.end(&redis, &network);
            let over = Instant::now();
            load.wait_for(By::Redis, 1);
            println!(
                "{trouble:?}, {mode}: back {:.0?} after its end",
                over.elapsed()
            );
            assert!(over.elapsed() < AT_LAST, "{:?}", over.elapsed());
        }
        load.wait_for(By::Redis, 100);
    });
    check(&told, without_redis);
    let late = told.iter().filter(|told| told.took > P9).count();
    println!(
        "{trouble:?}, {mode}: {}; {late} took longer than {P9:?}",
        Figures::of(&told)
    );
}

fn check(told: &[TimedAnswer], without_redis: By) {
    for told in told {
        assert!(told.took < AT_LAST, "{told:?}");
        assert!(told.status != 429, "an outage is no denial: {told:?}");
        assert!([By::Redis, without_redis].contains(&told.by), "{told:?}");
    }
}

#[test]
fn a_killed_redis_is_used_again_under_load() {
    MODES
        .iter()
        .for_each(|mode| outage(Trouble::Kill, mode, FEW));
}

#[test]
fn a_stopped_redis_is_used_again_under_load() {
    MODES
        .iter()
        .for_each(|mode| outage(Trouble::Stop, mode, FEW));
}

#[test]
fn redis_behind_a_black_hole_is_used_again_under_load() {
    MODES
        .iter()
        .for_each(|mode| outage(Trouble::BlackHole, mode, FEW));
}

#[test]
#[ignore = "make test-full"]
fn redis_is_used_again_after_every_fault_at_full_load() {
    for trouble in [Trouble::Kill, Trouble::Stop, Trouble::BlackHole] {
        for mode in MODES {
            outage(trouble, mode, FULL_LOAD);
        }
    }
}

/// With a deadline of ten minutes a request that waited would show it.
#[test]
fn requests_do_not_wait_for_a_redis_that_is_gone() {
    let (redis, _network, http) = start(&["-deadline", "600s"]);
    redis.kill();
    let begun = Instant::now();
    (0..100).for_each(|_| assert_unavailable(&http.get("/token"), "Redis does not answer"));
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
}

/// Five wait for their answer; those after them know.
#[test]
fn requests_do_not_wait_after_five_calls_without_reply() {
    let (redis, network, http) = start(&["-deadline", "2s"]);
    for trouble in [Trouble::Stop, Trouble::BlackHole] {
        trouble.begin(&redis, &network);
        let waits: Vec<_> = (0..60)
            .map(|_| {
                let begun = Instant::now();
                assert_unavailable(&http.get("/token"), "Redis does not answer");
                begun.elapsed()
            })
            .collect();
        let long = waits
            .iter()
            .filter(|wait| **wait > Duration::from_secs(1))
            .count();
        assert!(long < 30, "{waits:?}");
        trouble.end(&redis, &network);
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
        "no numbers that nobody counted"
    );
}

#[test]
fn a_redis_that_starts_later_is_used() {
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
fn an_uncounted_request_gets_no_numbers() {
    let (redis, _network, http) =
        start(&["-on-outage", "allow", "-burst", "1", "-rate", "1/1000d"]);
    redis.kill();
    for path in ["/token", "/leaky", "/token"] {
        let answer = http.get(path);
        let passed =
            r#"{"allowed":true,"ip":"127.0.0.1","message":"Request allowed","degraded":true}"#;
        assert_eq!((answer.status, answer.body.as_str()), (200, passed));
        for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
            assert_eq!(answer.header(name), None, "{name}: nobody has counted");
        }
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn local_limits_follow_the_policy_and_say_degraded() {
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
        let left: Vec<_> = answers
            .iter()
            .map(|answer| answer.field("remaining"))
            .collect();
        assert_eq!(left, ["2", "1", "0", "0"].map(Some));
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
fn a_missing_module_is_reported_and_may_be_loaded_later() {
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
        "that was about the call, not about Redis"
    );
}

/// Waits for the refusal: the first call may find the connection as it was before.
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
fn a_demoted_primary_is_left_for_the_new_one() {
    let (old, network, http) = start(&PLENTY);
    let new = RedisServer::start_on_tcp(&[]);
    let follow = format!("REPLICAOF 127.0.0.1 {}", new.port());
    old.connect().value(&follow);
    wait_for_refusal(&http, "READONLY");
    network.forward_to(new.port());
    wait_for_decision(&http);
    let key = "RL.PEEK rl:token:127.0.0.1";
    let there: redis::Value = new.connect().value(key);
    assert_ne!(there, redis::Value::Nil, "the new primary has the bucket");
}

#[test]
fn a_replica_without_its_primary_is_left() {
    let (redis, network, http) = start(&PLENTY);
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
    let (redis, network, http) = start(&PLENTY);
    let before = network.connections();
    let mut connection = redis.connect();
    // At 50 ms for each a load of 25 s if nothing ends it, with a look at the clients after each, or, before 7.0, after 2
    // MB.
    connection.value("CONFIG SET rdbcompression no");
    let often = "CONFIG SET loading-process-events-interval-bytes 1024";
    let _ = connection.try_line::<redis::Value>(often);
    connection.value("DEBUG POPULATE 500 pad 65536");
    connection.value("CONFIG SET key-load-delay 50000");
    thread::scope(|scope| {
        scope.spawn(|| redis.connect().value("DEBUG RELOAD"));
        wait_for_refusal(&http, "LOADING");
        eventually("CONFIG SET to be taken", || {
            let set = connection.try_line::<redis::Value>("CONFIG SET key-load-delay 0");
            set.is_ok().then_some(())
        });
    });
    wait_for_decision(&http);
    assert!(
        network.connections() > before,
        "the connection is made anew"
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
    let none: redis::Value = connection
        .try_run(&["CONFIG", "SET", "requirepass", ""])
        .expect("taken");
    assert_eq!(none, redis::Value::Okay);
    wait_for_decision(&http);
}
