use rl_tests::{Answer, HttpServer, RedisServer, connect_from, get_with};

fn start(flags: &[&str]) -> (RedisServer, HttpServer) {
    let redis = RedisServer::start();
    let http = HttpServer::start(&[&["-redis", &redis.url(), "-rate", "1/1000d"], flags].concat());
    (redis, http)
}

/// The client address that the server reports for a request with these header lines from `peer`.
fn seen(http: &HttpServer, peer: &str, lines: &[&str]) -> String {
    let answer = get_with(&mut connect_from(peer, http.port()), "/token", lines);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
        .field("ip")
        .expect("an address")
        .trim_matches('"')
        .to_owned()
}

fn keys(redis: &RedisServer) -> Vec<String> {
    let mut keys: Vec<String> = redis.connect().line("KEYS *");
    keys.sort();
    keys
}

#[test]
fn headers_of_an_untrusted_peer_never_change_its_bucket() {
    let spoofed = [
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-For: 127.0.0.2, 203.0.113.9",
        "Forwarded: for=203.0.113.9",
        "X-Real-IP: 203.0.113.9",
        "CF-Connecting-IP: 203.0.113.9",
    ];
    let proxies = ["-trusted-proxies", "127.0.0.2,10.0.0.0/8"];
    let flags: [&[&str]; 5] = [
        &[],
        &proxies,
        &[&proxies[..], &["-client-ip-header", "Forwarded"]].concat(),
        &[&proxies[..], &["-client-ip-header", "X-Real-IP"]].concat(),
        &[&proxies[..], &["-client-ip-header", "CF-Connecting-IP"]].concat(),
    ];
    for flags in flags {
        let (redis, http) = start(flags);
        for line in spoofed {
            assert_eq!(
                seen(&http, "127.0.0.1", &[line]),
                "127.0.0.1",
                "{line} {flags:?}"
            );
        }
        assert_eq!(seen(&http, "127.0.0.1", &spoofed), "127.0.0.1", "{flags:?}");
        assert_eq!(keys(&redis), ["rl:token:127.0.0.1"]);
    }
}

#[test]
fn only_the_header_of_the_flag_is_read_from_a_trusted_peer() {
    let (redis, http) = start(&[
        "-trusted-proxies",
        "127.0.0.1",
        "-client-ip-header",
        "X-Real-IP",
    ]);
    let lines = ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9"];
    assert_eq!(seen(&http, "127.0.0.1", &lines), "127.0.0.1");
    assert_eq!(
        seen(&http, "127.0.0.1", &["x-real-ip: 203.0.113.9"]),
        "203.0.113.9"
    );
    assert_eq!(keys(&redis), ["rl:token:127.0.0.1", "rl:token:203.0.113.9"]);
}

#[test]
fn behind_two_proxies_invented_entries_have_no_effect() {
    let (_redis, http) = start(&["-trusted-proxies", "127.0.0.2,127.0.0.3"]);
    for invented in [
        "",
        "198.51.100.1, ",
        "127.0.0.2, ",
        "unknown, ",
        ", , ,",
        "\", ",
    ] {
        let list = format!("X-Forwarded-For: {invented}203.0.113.9, 127.0.0.2");
        assert_eq!(seen(&http, "127.0.0.3", &[&list]), "203.0.113.9", "{list}");
        let own = format!("X-Forwarded-For: {invented}");
        let lines = [
            own.as_str(),
            "X-Forwarded-For: 203.0.113.9",
            "X-Forwarded-For: 127.0.0.2",
        ];
        assert_eq!(seen(&http, "127.0.0.3", &lines), "203.0.113.9", "{lines:?}");
    }
    assert_eq!(
        seen(
            &http,
            "127.0.0.3",
            &["X-Forwarded-For: 203.0.113.9, 127.0.0.4"]
        ),
        "127.0.0.4"
    );
    assert_eq!(
        seen(&http, "127.0.0.3", &["X-Forwarded-For: 203.0.113.9, oops"]),
        "127.0.0.3"
    );
}

#[test]
fn forwarded_is_read_if_it_is_the_header_of_the_flag() {
    let flags = [
        "-trusted-proxies",
        "127.0.0.0/8",
        "-client-ip-header",
        "Forwarded",
    ];
    let (redis, http) = start(&flags);
    let lines = [
        "Forwarded: for=198.51.100.1;host=\"never closed",
        "Forwarded: for=\"[2001:db8:1:2::3]:4711\";host=\"a, for=198.51.100.1\";proto=https, for=127.0.0.2",
    ];
    assert_eq!(seen(&http, "127.0.0.3", &lines), "2001:db8:1:2::3");
    assert_eq!(keys(&redis), ["rl:token:2001:db8:1:2::/64"]);
    assert_eq!(
        seen(
            &http,
            "127.0.0.3",
            &["Forwarded: for=203.0.113.9, for=_hidden"]
        ),
        "127.0.0.3"
    );
}

#[test]
fn an_ipv6_network_shares_a_bucket_and_answers_show_addresses() {
    for (prefix, key) in [
        ("64", "rl:token:2001:db8:1:2::/64"),
        ("48", "rl:token:2001:db8:1::/48"),
    ] {
        let (redis, http) = start(&["-trusted-proxies", "127.0.0.1", "-ipv6-prefix", prefix]);
        for address in ["2001:db8:1:2::3", "2001:db8:1:2:ffff::3"] {
            assert_eq!(
                seen(
                    &http,
                    "127.0.0.1",
                    &[&format!("X-Forwarded-For: {address}")]
                ),
                address
            );
        }
        assert_eq!(keys(&redis), [key]);
    }
}

#[test]
fn an_ipv4_proxy_is_trusted_on_a_socket_of_both_families() {
    let redis = RedisServer::start();
    let flags = ["-redis", &redis.url(), "-trusted-proxies", "127.0.0.1"];
    let http = HttpServer::start_at(":0", &flags);
    let line = "X-Forwarded-For: ::ffff:203.0.113.9";
    assert_eq!(seen(&http, "127.0.0.1", &[line]), "203.0.113.9");
    assert_eq!(seen(&http, "127.0.0.2", &[line]), "127.0.0.2");
    assert_eq!(keys(&redis), ["rl:token:127.0.0.2", "rl:token:203.0.113.9"]);
}

#[test]
fn a_long_header_is_accepted() {
    let (_redis, http) = start(&["-trusted-proxies", "127.0.0.0/8"]);
    let invented = "198.51.100.1, ".repeat(700) + &"\u{7f}".repeat(200);
    let line = format!(
        "X-Forwarded-For: {}203.0.113.9, 127.0.0.2",
        invented.replace('\u{7f}', "\"")
    );
    assert!(line.len() > 10_000);
    let answer: Answer = get_with(&mut http.connect(), "/token", &[&line]);
    assert_eq!(answer.status, 200, "{answer:?}");
}
