//! The client's address: the peer of the connection, or the client that trusted proxies report. Pure.
//!
//! Each proxy appends the address from which it received the request at the right end of a list. Everything further
//! left was sent by that address, which may invent it. So the list is read from the right, and never past an address
//! that is not a trusted proxy. Which bucket an address has is up to `http/caller.rs`.
//!
//! Without trusted proxies no header is read: every client could choose its bucket by it. With them the header must be
//! one that the proxies really set, or clients can set it in their place. The flags are in `config/caller.rs`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A peer of TCP.
    Tcp(SocketAddr),
    /// A process of this machine, over a unix socket. It has no address.
    Unix,
}

impl Peer {
    /// The peer's address in canonical form. A peer of a unix socket counts as 127.0.0.1.
    fn address(self) -> IpAddr {
        match self {
            Self::Tcp(address) => address.ip().to_canonical(),
            Self::Unix => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// For the log.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// A set of networks, which may include the peers of unix sockets. Parsed from a comma-separated list of addresses, CIDR
/// blocks and the word `unix`, such as `10.0.0.0/8,192.0.2.7,2001:db8::/32,unix`. An empty text is the empty set.
///
/// Host bits may be set: `10.1.2.3/8` is `10.0.0.0/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    ip: Vec<IpNet>,
    unix: bool,
}

impl Networks {
    /// Whether an address, in canonical form, is in one of the networks.
    fn contains(&self, address: IpAddr) -> bool {
        self.ip.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Networks {
    /// What is wrong, for a person.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut networks = Self::default();
        for text in text.split(',').map(str::trim) {
            match network(text) {
                Some(network) => networks.ip.push(network),
                None if text == "unix" => networks.unix = true,
                None => {
                    return Err(format!(
                        "expected addresses, CIDR blocks or unix, such as 10.0.0.0/8,unix: '{text}'"
                    ));
                }
            }
        }
        Ok(networks)
    }
}

/// Parses one address, which stands for itself alone, or one CIDR block. `None` for anything else, a host name
/// included.
fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(canonical(network))
}

/// Converts an IPv4 network that is written as IPv6, because addresses are compared in canonical form:
/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`. A network of more than all IPv4 addresses stays as it is.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(network) => network
            .addr()
            .to_ipv4_mapped()
            .zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped.map(|(address, prefix)| Ipv4Net::new(address, prefix)) {
        Some(Ok(network)) => network.into(),
        _ => network,
    }
}

/// The header in which the trusted proxies report the client's address.
///
/// All four are read as lists, from the right. Those with one address are lists of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIpHeader {
    /// A list of addresses, to which each proxy appends one: `X-Forwarded-For: 203.0.113.9, 10.0.0.1`.
    XForwardedFor,
    /// A list of elements with a `for` parameter, RFC 7239: `Forwarded: for=203.0.113.9;proto=https, for=10.0.0.1`.
    Forwarded,
    /// One address. The proxy must set it in place of any that the client sent.
    XRealIp,
    /// One address, set by Cloudflare.
    CfConnectingIp,
}

impl ClientIpHeader {
    /// All headers, in the order in which an error lists them.
    const ALL: [Self; 4] = [
        Self::XForwardedFor,
        Self::Forwarded,
        Self::XRealIp,
        Self::CfConnectingIp,
    ];

    /// The name of the header in its usual spelling. The flag accepts it in any case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
            Self::XRealIp => "X-Real-IP",
            Self::CfConnectingIp => "CF-Connecting-IP",
        }
    }

    /// Parses one element of the list. `None` if it is not an address, such as `unknown`.
    fn parse_element(self, element: &[u8]) -> Option<IpAddr> {
        match self {
            Self::Forwarded => forwarded_for(element),
            Self::XForwardedFor | Self::XRealIp | Self::CfConnectingIp => {
                address(element.trim_ascii())
            }
        }
    }
}

impl FromStr for ClientIpHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let has_name = |header: &Self| header.name().eq_ignore_ascii_case(text);
        Self::ALL
            .into_iter()
            .find(has_name)
            .ok_or_else(|| format!("expected {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The trusted proxies, and the header in which they report the client's address.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// The networks of the proxies. If it is empty, the peer is the client.
    pub trusted: Networks,
    /// The header that they set. It must be the same for all of them.
    pub header: ClientIpHeader,
}

impl Proxies {
    /// Whether `peer` is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(_) => self.trusted.contains(peer.address()),
            Peer::Unix => self.trusted.unix,
        }
    }

    /// The client's address, in canonical form: an IPv4 address that is written as `::ffff:a.b.c.d` is IPv4.
    ///
    /// `lines` are the values of the header, in order. The search goes from the right, skips trusted proxies, and takes
    /// the first other address. If there is none, or an element is not an address, the result is the last address that
    /// was read, that of `peer` included.
    ///
    /// With `10.0.0.0/8` trusted and X-Forwarded-For:
    ///
    /// | peer | header | client |
    /// |---|---|---|
    /// | 192.0.2.7 | `203.0.113.9` | 192.0.2.7, since the peer is no proxy |
    /// | 10.0.0.1 | `203.0.113.9` | 203.0.113.9 |
    /// | 10.0.0.1 | `1.1.1.1, 203.0.113.9` | 203.0.113.9, which may have invented the rest |
    /// | 10.0.0.1 | `203.0.113.9, 10.0.0.2` | 203.0.113.9 |
    /// | 10.0.0.1 | `203.0.113.9, unknown` | 10.0.0.1 |
    /// | 10.0.0.1 | none | 10.0.0.1 |
    pub fn client<'a>(
        &self,
        peer: Peer,
        lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let mut client = peer.address();
        let mut is_trusted = self.trusts(peer);
        let elements = lines.rev().flat_map(|line| from_the_right(line, b','));
        let mut addresses = elements.map(|element| self.header.parse_element(element));
        while is_trusted {
            let Some(Some(address)) = addresses.next() else {
                break;
            };
            client = address;
            is_trusted = self.trusted.contains(address);
        }
        client
    }
}

/// The `for` of one element of Forwarded: `for=192.0.2.43`, `for="[2001:db8::17]:4711";proto=https`. `None` where it is
/// missing, repeated, hidden (`unknown`, `_gazonk`) or malformed.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut values = from_the_right(element, b';').filter_map(value_of_for);
    match (values.next()?, values.next()) {
        ([b'"', quoted @ .., b'"'], None) => address(quoted),
        (token, None) => address(token),
        (_, Some(_)) => None,
    }
}

/// The value in `for=value`, with its quotes. `None` for another parameter.
fn value_of_for(pair: &[u8]) -> Option<&[u8]> {
    let (name, value) = pair.trim_ascii().split_at_checked(4)?;
    name.eq_ignore_ascii_case(b"for=").then_some(value)
}

/// Splits at separators outside quotes, and yields the last part first.
///
/// Quotes are matched from the right too, so that nothing further left, such as a quote without its end, changes a
/// part.
fn from_the_right(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(text);
    std::iter::from_fn(move || {
        let text = left?;
        let at = last_outside_quotes(text, separator);
        left = at.map(|at| &text[..at]);
        Some(at.map_or(text, |at| &text[at + 1..]))
    })
}

/// The index of the last byte `wanted` that is not inside quotes, read from the right.
fn last_outside_quotes(text: &[u8], wanted: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, &byte) in text.iter().enumerate().rev() {
        if byte == wanted && !quoted {
            return Some(at);
        }
        if byte == b'"' && !(quoted && is_escaped(&text[..at])) {
            quoted = !quoted;
        }
    }
    None
}

/// Whether `before` ends with a backslash that is not escaped itself: then it escapes the next byte.
fn is_escaped(before: &[u8]) -> bool {
    before
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count()
        % 2
        == 1
}

/// The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`, in canonical form.
///
/// The port is ignored. `None` for anything else, a host name included.
fn address(node: &[u8]) -> Option<IpAddr> {
    let node = str::from_utf8(node).ok()?;
    let address = node.parse().ok().or_else(|| {
        let host = match node.rsplit_once(':') {
            Some((host, port)) if is_port(port) => host,
            _ => node,
        };
        match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(host) => host.parse().ok().map(Ipv6Addr::into),
            None => host.parse().ok().map(Ipv4Addr::into),
        }
    });
    address.map(|address: IpAddr| address.to_canonical())
}

/// One to five digits, or an underscore and an obfuscated name (RFC 7239).
fn is_port(text: &str) -> bool {
    let is_hidden = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(is_hidden),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
