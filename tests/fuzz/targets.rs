//! The fuzz targets. Each takes any bytes, and a panic is a finding. The fuzz programs and the replay of their corpus
//! include this file.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each fuzz target is a separate program that uses one of these"
)]

use std::net::IpAddr;

use args::Words;
use bucket_key::{CallerPart, Network};
use client_address::{ClientIpHeader, Networks, Peer, Proxies};
use rl_bucket::{
    Algorithm, Bucket, Capacity, Change, Policy, Rate, Request, State, Tokens, UnixMicros,
};

#[path = "../../module/src/args.rs"]
mod args;
#[path = "../../server/src/http/bucket_key.rs"]
mod bucket_key;
#[path = "../../server/src/client_address.rs"]
mod client_address;
#[path = "../../module/src/error.rs"]
mod error;
#[path = "../../module/bucket/tests/laws/oracle.rs"]
mod oracle;

/// The rate grammar: a parsed rate is in lowest terms, and its text form parses to the same rate.
pub(crate) fn rate(data: &[u8]) {
    if let Some(rate) = Rate::parse(data) {
        let same = Rate::new(rate.count().into(), rate.period_us().into());
        assert_eq!(same, Some(rate));
        assert_eq!(Rate::parse(rate.to_string().as_bytes()), Some(rate));
    }
}

/// The state decoder: a decoded state encodes to the same bytes, and a bucket with it can be used.
pub(crate) fn state(data: &[u8]) {
    let (head, tail) = data.split_at(data.len().min(State::LEN));
    let Some(state) = State::decode(head) else {
        return;
    };
    assert_eq!(state.encode().as_slice(), head);
    let later = tail
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    for now in [0, state.updated().get(), later, u64::MAX].map(UnixMicros::new) {
        let bucket = Bucket::stored(state, now);
        for request in [
            Request::Cost(Tokens::ONE),
            Request::Partial(Tokens::MAX),
            Request::Force(Tokens::MAX),
            Request::Refund(Tokens::ONE),
        ] {
            let mut bucket = bucket;
            if let Ok(decision) = bucket.decide(request) {
                assert!(decision.remaining <= decision.limit);
                if let Change::Store(state) = bucket.change() {
                    assert_eq!(State::decode(&state.encode()), Some(state));
                    assert!(i64::try_from(state.resets_at_ms()).is_ok());
                }
            }
        }
    }
}

/// The argument parsers: the words of every command, one per line, read in the order of its grammar. The grammars
/// themselves are in `module/src/commands/`, whose own tests replay this corpus.
pub(crate) fn arguments(data: &[u8]) {
    let split = || Words::new("rl.token", data.split(|byte| *byte == b'\n'));
    if let Ok((policy, request)) = limit(split()) {
        assert!(policy.capacity().get() > 0);
        assert!(!matches!(
            request,
            Request::Partial(Tokens::ZERO)
                | Request::Force(Tokens::ZERO)
                | Request::Refund(Tokens::ZERO)
        ));
    }
    let mut words = split();
    if let Ok(cost) = words.cost() {
        assert!(cost <= Tokens::MAX);
        let _ = words.end();
    }
    let mut words = split();
    while words.any().is_ok() {
        if let Ok((policy, cost)) = batch_bucket(&mut words) {
            assert!(policy.capacity().get() > 0 && cost <= Tokens::MAX);
        }
    }
    if let Ok((at_least_one, quantity)) = throttle(split()) {
        assert!(at_least_one.iter().all(|n| *n > Tokens::ZERO));
        assert!(quantity <= Tokens::MAX);
    }
}

/// `rate burst [COST n [PARTIAL] | FORCE n | REFUND n]`
fn limit<'a>(
    mut words: Words<impl Iterator<Item = &'a [u8]>>,
) -> Result<(Policy, Request), error::Error> {
    let (policy, request) = (words.policy("burst")?, words.request()?);
    words.end()?;
    Ok((policy, request))
}

/// One bucket of RL.MULTI: `TOKEN|LEAKY rate capacity cost`.
fn batch_bucket<'a>(
    words: &mut Words<impl Iterator<Item = &'a [u8]>>,
) -> Result<(Policy, Tokens), error::Error> {
    words.algorithm()?;
    Ok((words.policy("capacity")?, words.tokens()?))
}

/// `max_burst count period [quantity]`
fn throttle<'a>(
    mut words: Words<impl Iterator<Item = &'a [u8]>>,
) -> Result<([Tokens; 2], Tokens), error::Error> {
    words.tokens()?;
    let at_least_one = [words.at_least_one("count")?, words.at_least_one("period")?];
    let quantity = words.tokens_or_one()?;
    words.end()?;
    Ok((at_least_one, quantity))
}

/// Sequences of calls on one bucket: each has the same result as that of the oracle.
///
/// The first bytes form three policies. Each nine bytes after them form a call: the policy, the request, and the
/// distance that the clock moves, forward or back.
pub(crate) fn calls(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<48>() else {
        return;
    };
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let policies: Vec<Policy> = head
        .chunks_exact(16)
        .filter_map(|bytes| {
            let rate = Rate::new(number(&bytes[..5]).into(), number(&bytes[5..11]).into())?;
            Some(Policy::new(rate, Capacity::new(number(&bytes[11..16]))?))
        })
        .collect();
    if policies.is_empty() {
        return;
    }
    let (mut state, mut oracle, mut now_us) =
        (None, oracle::Oracle::NEW, 1_700_000_000_000_000_u64);
    for call in rest.chunks_exact(9).take(64) {
        let policy = policies[usize::from(call[0]) % policies.len()];
        let moved_us = i64::from(i32::from_le_bytes([call[1], call[2], call[3], call[4]]));
        now_us = now_us.saturating_add_signed(moved_us);
        let Some(n) = Tokens::new(number(&call[6..9])) else {
            continue;
        };
        let request = match call[5] % 5 {
            0 | 1 => Request::Cost(n),
            2 if n > Tokens::ZERO => Request::Partial(n),
            3 if n > Tokens::ZERO => Request::Force(n),
            4 if n > Tokens::ZERO => Request::Refund(n),
            _ => continue,
        };
        let expected = oracle.decide(Algorithm::Leaky, policy, request, now_us);
        let bucket = Bucket::open(state, Algorithm::Leaky, policy, UnixMicros::new(now_us));
        let answer = bucket.ok().and_then(|mut bucket| {
            let decision = bucket.decide(request).ok()?;
            Some((decision, bucket.change()))
        });
        assert_eq!(answer.map(|(decision, _)| decision), expected);
        match answer {
            Some((_, Change::Store(after))) => state = Some(after),
            Some((_, Change::Remove)) => state = None,
            Some((_, Change::Nothing)) | None => {}
        }
    }
}

/// The client address: an untrusted peer is always itself, whatever its headers say; behind a trusted proxy the entries
/// that proxies append on the right decide. A trusted unix socket is such a proxy, and 127.0.0.1 where an
/// address is needed.
pub(crate) fn client_address(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else {
        return;
    };
    let trusted = "10.0.0.0/8,2001:db8::/32,unix".parse().expect("networks");
    let header = [ClientIpHeader::XForwardedFor, ClientIpHeader::Forwarded][usize::from(kind % 2)];
    let proxies = Proxies { trusted, header };
    let client_of = |peer: Peer, text: &[u8]| {
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        proxies.client(peer, lines.into_iter())
    };
    let client = |peer: [u8; 4], text: &[u8]| client_of(Peer::Tcp((peer, 80).into()), text);
    let (untrusted, proxy) = ([203, 0, 113, 9], [10, 0, 0, 1]);
    assert_eq!(client(untrusted, text), IpAddr::from(untrusted));
    let address = client(proxy, text);
    assert_eq!(address, address.to_canonical());
    let by_unix = client_of(Peer::Unix, text);
    assert!(by_unix == address || (address, by_unix) == (proxy.into(), [127, 0, 0, 1].into()));
    let pair = match header {
        ClientIpHeader::Forwarded => "for=",
        _ => "",
    };
    for separator in [", ", "\n"] {
        let added =
            |address: &str| [text, format!("{separator}{pair}{address}").as_bytes()].concat();
        assert_eq!(
            client(proxy, &added("203.0.113.9")),
            IpAddr::from(untrusted)
        );
        let one_more = client(proxy, &added("10.0.0.1"));
        assert_eq!(one_more, address);
        assert_eq!(client(proxy, &added("unknown")), IpAddr::from(proxy));
    }
    if let Ok(text) = str::from_utf8(text) {
        let _ = text.parse::<Networks>();
    }
}

/// The keys of named policies, P11: two requests have the same key only if they have the same algorithm, policy, caller and
/// limit.
pub(crate) fn bucket_key(data: &[u8]) {
    let mut rest = data;
    let (Some(one), Some(other)) = (Identity::read(&mut rest), Identity::read(&mut rest)) else {
        return;
    };
    let [key, other_key] = [&one, &other].map(Identity::key);
    assert_eq!(key == other_key, one == other, "{key} {one:?} {other:?}");
    let braces: String = key.matches(['{', '}']).collect();
    assert!(key.starts_with("rl:{") && braces == "{}", "{key}");
    assert!(key.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
}

/// Whose bucket a key names.
#[derive(Debug, PartialEq)]
struct Identity<'a> {
    is_token: bool,
    policy: &'static str,
    limit: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

#[derive(Debug, PartialEq)]
enum Part<'a> {
    Address([u8; 4]),
    Header(&'static str, &'a [u8]),
    Sha256(&'static str, &'a [u8]),
    Key(&'a str),
}

impl<'a> Identity<'a> {
    /// Reads an identity from the front of `data`.
    fn read(data: &mut &'a [u8]) -> Option<Self> {
        let [kind, names, parts] = *data.split_off(..3)? else {
            return None;
        };
        let policy = ["a", "key", "token", "sha256"][usize::from(names % 4)];
        let limit = [None, Some("a"), Some("long"), Some("key")][usize::from(names / 4 % 4)];
        let parts = match kind & 2 {
            0 => (0..=parts % 3)
                .map(|_| Part::read(data))
                .collect::<Option<_>>()?,
            _ => vec![Part::Key(str::from_utf8(value(data)?).ok()?)],
        };
        Some(Self {
            is_token: kind & 1 == 0,
            policy,
            limit,
            parts,
        })
    }

    fn key(&self) -> String {
        let algorithm = [Algorithm::Leaky, Algorithm::Token][usize::from(self.is_token)];
        let parts = self.parts.iter().map(|part| match *part {
            Part::Address(address) => CallerPart::Network(Network::new(address.into(), 64)),
            Part::Header(name, value) => CallerPart::Header(name, value),
            Part::Sha256(name, value) => CallerPart::Sha256(name, value),
            Part::Key(key) => CallerPart::Key(key),
        });
        let tag = bucket_key::hash_tag(algorithm, self.policy, parts);
        bucket_key::of_limit(&tag, self.limit)
    }
}

impl<'a> Part<'a> {
    fn read(data: &mut &'a [u8]) -> Option<Self> {
        let kind = *data.split_off_first()?;
        let name = ["a", "a%", "sha256", "long"][usize::from(kind / 4 % 4)];
        match kind % 3 {
            0 => data.split_off(..4)?.try_into().ok().map(Self::Address),
            1 => Some(Self::Header(name, value(data)?)),
            _ => Some(Self::Sha256(name, value(data)?)),
        }
    }
}

/// Reads a length and that many bytes.
fn value<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(*data.split_off_first()?);
    data.split_off(..length)
}
