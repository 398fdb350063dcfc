use std::net::{TcpListener, TcpStream};
use std::thread;

use rl_tests::Program::Haproxy;
use rl_tests::Stop;

use super::Site;

#[test]
fn haproxy_limits_each_route_by_its_policy() {
    if let Some(site) = Site::start(Haproxy) {
        site.limits_each_route_by_its_policy(true);
    }
}

#[test]
fn haproxy_limits_the_address_of_the_connection() {
    if let Some(site) = Site::start(Haproxy) {
        site.limits_the_address_of_the_connection();
    }
}

#[test]
fn haproxy_gives_a_key_its_own_bucket() {
    if let Some(site) = Site::start(Haproxy) {
        site.gives_a_key_its_own_bucket();
    }
}

#[test]
fn behind_haproxy_a_site_stays_up_and_limited_without_redis() {
    if let Some(site) = Site::start(Haproxy) {
        site.stays_up_and_limited_without_redis();
    }
}

#[test]
fn haproxy_says_503_where_an_outage_denies() {
    if let Some(answer) = Site::answers_without_redis_where_an_outage_denies(Haproxy) {
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}

#[test]
fn haproxy_says_503_without_rl_server() {
    if let Some(mut site) = Site::start(Haproxy) {
        let answer = site.answers_without_rl_server();
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1"))
        );
    }
}

#[test]
fn haproxy_says_503_where_rl_server_breaks_off() {
    let Some(mut site) = Site::start(Haproxy) else {
        return;
    };
    let _ = site.answers_without_rl_server();
    let addr = ("127.0.0.1", site.limiter.http.port());
    let listener = TcpListener::bind(addr).expect("nobody has the port of the ended server");
    let stop = Stop::default();
    thread::scope(|scope| {
        scope.spawn(|| while !stop.is_set() && listener.accept().is_ok() {});
        let answer = stop.after(|| site.get("127.0.0.9", "/", &[]));
        let _ends_the_thread = TcpStream::connect(addr);
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (503, Some("1"))
        );
        assert_eq!(site.application.requests(), [""; 0]);
    });
}
