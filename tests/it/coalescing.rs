//! Requests of one caller that wait for Redis at the same time share calls.

use rl_tests::{Answer, HttpServer, RedisServer, send};

use crate::serving::hold_requests_over;

/// A server with one thread, so that all requests share a connection to Redis. `flags` has the policy.
fn start(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let url = redis.url();
    let first = ["-threads", "1", "-redis", &url, "-deadline", "20s"];
    let http = HttpServer::start(&[first.as_slice(), flags].concat());
    (redis, http)
}

/// The answers to this many requests of one caller that came while Redis answered none.
fn answers(redis: &RedisServer, http: &HttpServer, count: usize) -> Vec<Answer> {
    let held = hold_requests_over(redis, || http.connect(), count);
    // The server has read all of them once it has answered one that came after them.
    assert_eq!(http.get("/livez").status, 200);
    redis.connect().value("CLIENT UNPAUSE");
    let answers = held.into_iter().map(|mut stream| send(&mut stream, ""));
    answers.collect()
}

fn allowed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn requests_that_wait_together_share_calls() {
    let (redis, http) = start(&["-rate", "1/d", "-burst", "1000"]);
    let answers = answers(&redis, &http, 200);
    assert_eq!(allowed(&answers), 200);
    // That of the first request, one for the others, and a few checks of the connection.
    let calls = redis.connect().calls_of("rl.token");
    assert!(calls <= 10, "{calls} calls");
    let left: Vec<_> = answers
        .iter()
        .filter_map(|answer| answer.field("remaining"))
        .collect();
    assert!(left.contains(&"999") && left.contains(&"800"), "{left:?}");
}

#[test]
fn a_shared_call_allows_what_the_bucket_holds() {
    let (redis, http) = start(&["-rate", "1/d", "-burst", "30"]);
    let answers = answers(&redis, &http, 100);
    assert_eq!(allowed(&answers), 30);
    let denied = answers.iter().filter(|answer| answer.status == 429);
    for answer in denied {
        assert_eq!(answer.field("remaining"), Some("0"));
        let wait_ms: u64 = answer
            .field("retry_after_ms")
            .expect("a wait")
            .parse()
            .expect("ms");
        assert!((86_390_000..=86_400_000).contains(&wait_ms), "{wait_ms}");
    }
    let calls = redis.connect().calls_of("rl.token");
    assert!(calls <= 10, "{calls} calls");
}

#[test]
fn other_callers_and_leaky_buckets_share_no_call() {
    let (redis, http) = start(&["-rate", "1/d", "-burst", "1000", "-trust-caller"]);
    let mut streams: Vec<_> = (0..40).map(|_| http.connect()).collect();
    let mut redis_calls = redis.connect();
    let before = redis_calls.calls_of("rl.token") + redis_calls.calls_of("rl.leaky");
    redis_calls.value("CLIENT PAUSE 600000 WRITE");
    for (index, stream) in streams.iter_mut().enumerate() {
        let path = match index % 2 {
            0 => format!("/token?key={index}"),
            _ => "/leaky".to_owned(),
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        std::io::Write::write_all(stream, request.as_bytes()).expect("sent");
    }
    redis_calls.value("CLIENT UNPAUSE");
    for stream in &mut streams {
        assert_eq!(send(stream, "").status, 200);
    }
    let after = redis_calls.calls_of("rl.token") + redis_calls.calls_of("rl.leaky");
    assert!(after - before >= 40, "{} calls", after - before);
}
