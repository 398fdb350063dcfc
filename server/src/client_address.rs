//! Whose request it is: the peer's, or that of the client that trusted proxies name. Pure.
//!
//! Each proxy adds the address it was asked from at the right of a list; what stands further left was written by whoever
//! that is. So the list is read from the right, and never past an address that is not a trusted proxy's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Networks as a comma-separated list of addresses and CIDR blocks, such as `10.0.0.0/8,192.0.2.7,2001:db8::/32`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let network = |text: &str| {
            network(text).ok_or_else(|| format!("not an address or CIDR block: '{text}'"))
        };
        text.split(',')
            .map(|text| network(text.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(canonical(network))
}

/// An IPv4 network that is written as IPv6, as addresses are compared in their canonical form.
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

/// The header in which the trusted proxies name the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIpHeader {
    /// A list of addresses, to which each proxy adds one.
    XForwardedFor,
    /// The same with a grammar, RFC 7239.
    Forwarded,
    /// One address, which the proxy sets.
    XRealIp,
    /// One address, which Cloudflare sets.
    CfConnectingIp,
}

impl ClientIpHeader {
    const ALL: [Self; 4] = [
        Self::XForwardedFor,
        Self::Forwarded,
        Self::XRealIp,
        Self::CfConnectingIp,
    ];

    /// Its usual spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
            Self::XRealIp => "X-Real-IP",
            Self::CfConnectingIp => "CF-Connecting-IP",
        }
    }

    /// The address that one element of the list names, if it names one.
    fn named_by(self, element: &[u8]) -> Option<IpAddr> {
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
        let is_meant = |header: &Self| header.name().eq_ignore_ascii_case(text);
        Self::ALL
            .into_iter()
            .find(is_meant)
            .ok_or_else(|| format!("expected {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The proxies that are believed, and where they name the client.
#[derive(Clone, Debug)]
pub struct Proxies {
    /// Whom we believe.
    pub trusted: Networks,
    /// Where they say it.
    pub header: ClientIpHeader,
}

impl Proxies {
    /// The client's address, in canonical form: an IPv4 address that is written as `::ffff:a.b.c.d` is IPv4.
    ///
    /// `lines` are the values of the header, in order. From the right, trusted proxies are passed over, and the first other
    /// address is the client's. Where there is none, or one that cannot be read, it is the last that could.
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        let elements = lines.rev().flat_map(|line| from_the_right(line, b','));
        let mut named = elements.map(|element| self.header.named_by(element));
        while self.trusted.contain(client) {
            let Some(Some(address)) = named.next() else {
                break;
            };
            client = address;
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

fn value_of_for(pair: &[u8]) -> Option<&[u8]> {
    let (name, value) = pair.trim_ascii().split_at_checked(4)?;
    name.eq_ignore_ascii_case(b"for=").then_some(value)
}

/// What stands between separators that are not within quotes, the last first.
///
/// It is cut from the right too, so that nothing further left, such as a quote that is never closed, changes what is found.
fn from_the_right(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(text);
    std::iter::from_fn(move || {
        let text = left?;
        let at = last_outside_quotes(text, separator);
        left = at.map(|at| &text[..at]);
        Some(at.map_or(text, |at| &text[at + 1..]))
    })
}

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

/// Whether what follows `before` is escaped by its last backslash, which is not escaped itself.
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

/// One to five digits, or, after an underscore, a name that hides the port (RFC 7239).
fn is_port(text: &str) -> bool {
    let is_hidden = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(is_hidden),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
