//! The address of a client behind a unix socket.

use rl_server::{ClientIpHeader, Networks, Peer, Proxies};

#[test]
fn a_unix_peer_is_a_proxy_only_if_unix_is_trusted() {
    let client = |trusted: &str, lines: &[&str]| {
        let proxies = Proxies {
            trusted: trusted.parse().expect("networks"),
            header: ClientIpHeader::XForwardedFor,
        };
        let lines = lines.iter().map(|line| line.as_bytes());
        let client = proxies.client(Peer::Unix, lines);
        (proxies.trusts(Peer::Unix), client.to_string())
    };
    for (trusted, lines, is_trusted, expected) in [
        ("unix", &["203.0.113.9"][..], true, "203.0.113.9"),
        ("unix", &["1.1.1.1, 203.0.113.9"], true, "203.0.113.9"),
        (
            "10.0.0.0/8, unix",
            &["203.0.113.9, 10.1.1.1"],
            true,
            "203.0.113.9",
        ),
        ("10.0.0.0/8,unix", &["10.2.2.2, 10.1.1.1"], true, "10.2.2.2"),
        ("unix", &["203.0.113.9, 127.0.0.1"], true, "127.0.0.1"),
        ("unix", &[], true, "127.0.0.1"),
        ("unix", &["203.0.113.9, unknown"], true, "127.0.0.1"),
        ("", &["203.0.113.9"], false, "127.0.0.1"),
        (
            "127.0.0.1,::1,0.0.0.0/0",
            &["203.0.113.9"],
            false,
            "127.0.0.1",
        ),
    ] {
        assert_eq!(
            client(trusted, lines),
            (is_trusted, expected.to_owned()),
            "{trusted}: {lines:?}"
        );
    }
}

#[test]
fn unix_is_a_word_of_its_own_and_trusts_no_address() {
    let proxies = Proxies {
        trusted: "unix".parse().expect("the word"),
        header: ClientIpHeader::XForwardedFor,
    };
    assert!(!proxies.trusts(Peer::Tcp(([127, 0, 0, 1], 4711).into())));
    for text in ["Unix", "unix:", "unix:/run/a.sock", "unix/8", "unix unix"] {
        let error = text.parse::<Networks>().unwrap_err();
        assert_eq!(
            error,
            format!("expected addresses, CIDR blocks or unix, such as 10.0.0.0/8,unix: '{text}'")
        );
    }
}
