//! No Kubernetes: requests as its specification says that a gateway sends them, with the documented paths and headers.

use rl_tests::{Answer, blocks, section, send};

use super::{API, LIMITS, LOGIN, Limiter, assert_denied, assert_has_headers, documentation};

/// What a gateway asks rl-server before it passes `METHOD TARGET` on: the same, with the documented prefix. It sends no
/// body, and says so.
fn ask(limiter: &Limiter, policy: &str, request: &str, lines: &[&str]) -> Answer {
    let documentation = section(&documentation(), "### Kubernetes Gateway API");
    let route = blocks(&documentation, "yaml").concat();
    let prefix = format!("/token/{policy}");
    let filter = route
        .lines()
        .find(|line| line.contains(&format!("path: {prefix},")));
    let filter = filter.expect("a filter for each policy");
    for line in lines {
        let name = line.split(':').next().expect("a name");
        assert!(filter.contains(name), "{name} in {filter}");
    }
    let (method, target) = request.split_once(' ').expect("a method");
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = "Host: example.com\r\nContent-Length: 0\r\nAuthorization: Bearer abc";
    send(
        &mut limiter.http.connect(),
        &format!("{method} {prefix}{target} HTTP/1.1\r\n{head}\r\n{lines}\r\n"),
    )
}

#[test]
fn a_gateway_s_requests_follow_the_policy_of_their_prefix() {
    let limiter = Limiter::start(&LIMITS, &[]);
    let client = ["X-Forwarded-For: 192.0.2.1"];
    for methods in [["GET", "POST", "DELETE"], ["PUT", "PATCH", "OPTIONS"]] {
        limiter.redis.connect().value("FLUSHALL");
        for (method, remaining) in methods.iter().zip([2, 1, 0]) {
            let request = format!("{method} /orders/%2e%2e/7?x=1&key=a&cost=0");
            let answer = ask(&limiter, "api", &request, &client);
            assert_eq!(answer.status, 200, "{method}");
            assert_has_headers(&answer, API, remaining);
        }
        for method in methods {
            let request = format!("{method} /orders?x=1");
            assert_denied(&ask(&limiter, "api", &request, &client), API);
        }
        assert_eq!(ask(&limiter, "login", "GET /login", &client).status, 200);
    }
}

#[test]
fn a_gateway_names_the_client_and_its_key() {
    let limiter = Limiter::start(&LIMITS, &[]);
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let client = format!("X-Forwarded-For: 203.0.113.9, {client}");
        assert_eq!(ask(&limiter, "api", "GET /", &[&client]).status, 200);
    }
    let ask_with_key = |client: &str| {
        let client = format!("X-Forwarded-For: {client}");
        ask(&limiter, "api", "GET /", &[&client, "X-Api-Key: k-5f3a9c"])
    };
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.4"] {
        assert_eq!(ask_with_key(client).status, 200);
    }
    assert_denied(&ask_with_key("192.0.2.5"), API);
}

#[test]
fn a_gateway_s_requests_are_limited_without_redis() {
    let limiter = Limiter::start(&LIMITS, &[]);
    limiter.redis.kill();
    let client = ["X-Forwarded-For: 192.0.2.1"];
    for _ in 0..2 {
        assert_eq!(ask(&limiter, "login", "POST /login", &client).status, 200);
    }
    assert_denied(&ask(&limiter, "login", "POST /login", &client), LOGIN);
}
