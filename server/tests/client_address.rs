//! The address of the client: tables of examples, and properties that hold for any header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use rl_server::{ClientIpHeader, Peer, Proxies};

/// The only networks that the tests trust.
const TRUSTED: &str = "10.0.0.0/8, 192.0.2.7,2001:db8:ffff::/48,::ffff:172.16.0.0/108";

fn proxies(header: ClientIpHeader) -> Proxies {
    let trusted = TRUSTED.parse().expect("networks");
    Proxies { trusted, header }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn tcp(address: IpAddr) -> Peer {
    Peer::Tcp((address, 4711).into())
}

/// The client when a trusted peer sends these lines.
fn client(header: ClientIpHeader, lines: &[&str]) -> String {
    let lines = lines.iter().map(|line| line.as_bytes());
    let peer = tcp(ip("10.0.0.1"));
    proxies(header).client(peer, lines).to_string()
}

fn x_forwarded_for(lines: &[&str]) -> String {
    client(ClientIpHeader::XForwardedFor, lines)
}

fn forwarded(lines: &[&str]) -> String {
    client(ClientIpHeader::Forwarded, lines)
}

#[test]
fn only_the_header_of_a_trusted_peer_counts() {
    let lines = || [b"203.0.113.9".as_slice()].into_iter();
    let no_proxies = Proxies {
        trusted: "".parse().expect("none"),
        header: ClientIpHeader::XForwardedFor,
    };
    assert_eq!(
        no_proxies.client(tcp(ip("10.0.0.1")), lines()),
        ip("10.0.0.1")
    );
    let proxies = proxies(ClientIpHeader::XForwardedFor);
    for (peer, is_trusted) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("2001:db8:ffff:1::1", true),
        ("2001:db8:fffe::1", false),
        ("::ffff:10.0.0.1", true),
        ("::ffff:a00:1", true),
        ("::ffff:11.0.0.1", false),
        ("172.16.0.1", true),
        ("172.32.0.1", false),
    ] {
        let client = proxies.client(tcp(ip(peer)), lines());
        let expected = if is_trusted {
            ip("203.0.113.9")
        } else {
            ip(peer).to_canonical()
        };
        assert_eq!(client, expected, "{peer}");
        assert_eq!(proxies.trusts(tcp(ip(peer))), is_trusted, "{peer}");
    }
}

#[test]
fn the_rightmost_address_that_is_not_trusted_is_the_client_s() {
    for (lines, expected) in [
        (&["203.0.113.9"][..], "203.0.113.9"),
        (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (&["1.1.1.1, 203.0.113.9, 10.9.9.9,192.0.2.7"], "203.0.113.9"),
        (&["1.1.1.1", "203.0.113.9", "10.9.9.9"], "203.0.113.9"),
        (
            &["1.1.1.1, 203.0.113.9", "10.9.9.9, 10.8.8.8"],
            "203.0.113.9",
        ),
        (&["10.2.2.2, 10.9.9.9"], "10.2.2.2"),
        (&["10.2.2.2, ::ffff:10.9.9.9"], "10.2.2.2"),
        (&[], "10.0.0.1"),
    ] {
        assert_eq!(x_forwarded_for(lines), expected, "{lines:?}");
    }
}

#[test]
fn an_unreadable_element_ends_the_walk() {
    for unreadable in [
        "",
        " ",
        "unknown",
        "_hidden",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "010.0.0.1",
        "1.2.3.4:",
        "1.2.3.4:http",
        "1.2.3.4:123456",
        "1.2.3.4 5",
        "[1.2.3.4]",
        "[::1",
        "::1]",
        "::1]:80",
        "fe80::1%eth0",
        "1:2:3:4:5:6:7:8:80",
        "\"1.2.3.4\"",
        "\u{661}.1.1.1",
    ] {
        assert_eq!(
            x_forwarded_for(&[&format!("203.0.113.9, {unreadable}")]),
            "10.0.0.1",
            "{unreadable:?}"
        );
        assert_eq!(
            x_forwarded_for(&[&format!("203.0.113.9,{unreadable},10.3.3.3")]),
            "10.3.3.3",
            "{unreadable:?}"
        );
    }
}

#[test]
fn ports_brackets_and_notation_do_not_matter() {
    for (written, expected) in [
        ("203.0.113.9:80", "203.0.113.9"),
        ("203.0.113.9:_p", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::FFFF:CB00:7109", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:80", "203.0.113.9"),
        ("0:0:0:0:0:ffff:cb00:7109", "203.0.113.9"),
        ("2001:DB8:0::9", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("[2001:db8::9]:65535", "2001:db8::9"),
        ("\t203.0.113.9 ", "203.0.113.9"),
    ] {
        assert_eq!(x_forwarded_for(&[written]), expected, "{written}");
        assert_eq!(
            forwarded(&[&format!("for=\"{}\"", written.trim())]),
            expected,
            "{written}"
        );
    }
}

#[test]
fn forwarded_is_parsed_by_its_grammar() {
    for (line, expected) in [
        ("for=203.0.113.9", "203.0.113.9"),
        ("FOR=203.0.113.9;proto=https", "203.0.113.9"),
        ("by=10.0.0.1;for=203.0.113.9;host=\"a\"", "203.0.113.9"),
        (
            "host=\"a, for=1.1.1.1; for=1.1.1.1\" ; for=203.0.113.9",
            "203.0.113.9",
        ),
        ("for=203.0.113.9;host=\"a\\\", for=1.1.1.1\"", "203.0.113.9"),
        (
            "for=203.0.113.9;host=\"a\\\\\", for=10.1.1.1",
            "203.0.113.9",
        ),
        (
            "for=203.0.113.9;host=\"never closed, for=10.1.1.1",
            "10.1.1.1",
        ),
        ("for=1.1.1.1;host=\", for=203.0.113.9", "203.0.113.9"),
        (
            "for=1.1.1.1;host=\", for=\"203.0.113.9\", for=10.2.2.2",
            "203.0.113.9",
        ),
        ("for=\"[2001:db8::17]:4711\"", "2001:db8::17"),
        ("for=\"203.0.113.9:_port\"", "203.0.113.9"),
        ("for=203.0.113.9, for=unknown", "10.0.0.1"),
        ("for=203.0.113.9, for=_gazonk", "10.0.0.1"),
        (
            "for=203.0.113.9, for=\"_gazonk:80\", for=10.1.1.1",
            "10.1.1.1",
        ),
        ("for=203.0.113.9, by=10.0.0.1;proto=http", "10.0.0.1"),
        ("for=203.0.113.9;for=203.0.113.9", "10.0.0.1"),
        ("for=203.0.113.9, ", "10.0.0.1"),
        ("for=\"203.0.113.9", "10.0.0.1"),
        ("for =203.0.113.9", "10.0.0.1"),
        ("for=\"\"", "10.0.0.1"),
        ("203.0.113.9", "10.0.0.1"),
    ] {
        assert_eq!(forwarded(&[line]), expected, "{line}");
    }
    assert_eq!(
        forwarded(&["for=1.1.1.1;x=\"", "for=203.0.113.9;x=\"", "for=10.1.1.1"]),
        "10.1.1.1"
    );
    assert_eq!(
        forwarded(&["for=1.1.1.1;x=\"", "for=203.0.113.9"]),
        "203.0.113.9"
    );
}

#[test]
fn a_header_of_one_address_is_a_list_of_one() {
    for header in [ClientIpHeader::XRealIp, ClientIpHeader::CfConnectingIp] {
        assert_eq!(client(header, &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(header, &["1.1.1.1", "203.0.113.9"]), "203.0.113.9");
    }
}

#[test]
fn a_long_list_is_read_from_the_right_only() {
    let long =
        "1.1.1.1, ".repeat(100_000) + "203.0.113.9, " + &"10.1.1.1, ".repeat(100_000) + "10.1.1.1";
    assert_eq!(x_forwarded_for(&[&long]), "203.0.113.9");
    let quotes = "\\\\\"".repeat(300_000) + "\", for=203.0.113.9";
    assert_eq!(forwarded(&[&quotes]), "203.0.113.9");
    assert_eq!(forwarded(&[&"\\\"".repeat(300_000)]), "10.0.0.1");
}

#[test]
fn header_names_parse_in_any_case_and_others_are_errors() {
    for (text, header) in [
        ("x-forwarded-for", ClientIpHeader::XForwardedFor),
        ("FORWARDED", ClientIpHeader::Forwarded),
        ("X-Real-Ip", ClientIpHeader::XRealIp),
        ("cf-connecting-ip", ClientIpHeader::CfConnectingIp),
    ] {
        assert_eq!(text.parse(), Ok(header));
    }
    let error = "X-Client".parse::<ClientIpHeader>().unwrap_err();
    assert_eq!(
        error,
        "expected X-Forwarded-For, Forwarded, X-Real-IP, CF-Connecting-IP"
    );
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into()),
    ]
}

fn trusted_address() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 3]>().prop_flat_map(|[b, c, d]| {
        let v4 = Ipv4Addr::new(10, b, c, d);
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, b.into(), 0, 0, c.into(), d.into());
        prop_oneof![
            Just(v4.into()),
            Just(v4.to_ipv6_mapped().into()),
            Just(v6.into())
        ]
    })
}

fn untrusted_address() -> impl Strategy<Value = IpAddr> {
    let trusted = |address: &IpAddr| {
        let nets = proxies(ClientIpHeader::XForwardedFor);
        nets.client(tcp(*address), [b"203.0.113.9".as_slice()].into_iter()) == ip("203.0.113.9")
    };
    any_address().prop_filter("trusted", move |address| !trusted(address))
}

/// Any bytes, most of them significant in these headers.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => prop::sample::select(vec![
            "\"", ",", ";", "=", "\\", " ", ":", "[", "]", "for=", "unknown", "1.1.1.1", "10.1.1.1", "::1"
        ])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

/// An address as a proxy may write it in X-Forwarded-For.
fn as_node(address: IpAddr) -> impl Strategy<Value = String> {
    (any::<u16>(), 0..3).prop_map(move |(port, form)| match (address, form) {
        (IpAddr::V4(address), 1) => format!("{address}:{port}"),
        (IpAddr::V6(address), 1) => format!("[{address}]:{port}"),
        (IpAddr::V6(address), 2) => format!("[{address}]"),
        (address, _) => address.to_string(),
    })
}

/// An address as a proxy may write it in Forwarded, among parameters with arbitrary quoted values.
fn as_element(address: IpAddr) -> impl Strategy<Value = String> {
    let parameter = ("(by|host|proto)", "[ -~]{0,12}").prop_map(|(name, value)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name}=\"{value}\"")
    });
    (
        as_node(address),
        prop::collection::vec(parameter, 0..3),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(node, mut parameters, at)| {
            parameters.insert(at.index(parameters.len() + 1), format!("for=\"{node}\""));
            parameters.join(";")
        })
}

fn as_written(header: ClientIpHeader, address: IpAddr) -> BoxedStrategy<String> {
    match header {
        ClientIpHeader::Forwarded => as_element(address).boxed(),
        _ => as_node(address).boxed(),
    }
}

fn any_header() -> impl Strategy<Value = ClientIpHeader> {
    prop_oneof![
        Just(ClientIpHeader::XForwardedFor),
        Just(ClientIpHeader::Forwarded)
    ]
}

/// What a chain of trusted proxies sends: the client's own bytes, then its address, then those of the proxies, each
/// with whether it starts a new line.
#[derive(Clone, Debug)]
struct Chain {
    header: ClientIpHeader,
    client: IpAddr,
    own: Vec<u8>,
    written: Vec<(String, bool)>,
}

impl Chain {
    fn lines(&self) -> Vec<Vec<u8>> {
        let mut lines = vec![self.own.clone()];
        for (element, starts_a_line) in &self.written {
            match lines.last_mut() {
                Some(line) if !starts_a_line => {
                    line.extend_from_slice(format!(", {element}").as_bytes());
                }
                _ => lines.push(element.clone().into_bytes()),
            }
        }
        lines
    }
}

fn chain() -> impl Strategy<Value = Chain> {
    let proxies = prop::collection::vec(trusted_address(), 0..4);
    (any_header(), untrusted_address(), proxies, anything()).prop_flat_map(
        |(header, client, proxies, own)| {
            let written: Vec<_> = std::iter::once(client)
                .chain(proxies)
                .map(|address| (as_written(header, address), any::<bool>()))
                .collect();
            written.prop_map(move |written| Chain {
                header,
                client,
                own: own.clone(),
                written,
            })
        },
    )
}

fn client_of(header: ClientIpHeader, peer: IpAddr, lines: &[Vec<u8>]) -> IpAddr {
    proxies(header).client(tcp(peer), lines.iter().map(Vec::as_slice))
}

proptest! {
    #[test]
    fn a_client_cannot_change_the_address_that_the_proxies_saw(
        chain in chain(), peer in trusted_address(),
    ) {
        prop_assert_eq!(client_of(chain.header, peer, &chain.lines()), chain.client.to_canonical());
    }

    #[test]
    fn an_untrusted_peer_cannot_change_its_address(
        header in any_header(), peer in untrusted_address(), lines in prop::collection::vec(anything(), 0..4),
    ) {
        prop_assert_eq!(client_of(header, peer, &lines), peer.to_canonical());
    }

    #[test]
    fn the_address_is_always_canonical(
        header in any_header(), peer in any_address(), lines in prop::collection::vec(anything(), 0..4),
    ) {
        let client = client_of(header, peer, &lines);
        prop_assert_eq!(client, client.to_canonical());
    }
}
