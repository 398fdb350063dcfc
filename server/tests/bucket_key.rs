//! The keys of named policies: P11 for every list of algorithm, policy, caller and limit.

use std::collections::HashMap;
use std::net::IpAddr;

use proptest::prelude::*;

use bucket_key::{CallerPart, Network, hash_tag, of_limit};
use rl_bucket::Algorithm;

#[path = "../src/http/bucket_key.rs"]
mod bucket_key;

fn network(address: &str) -> CallerPart<'static> {
    CallerPart::Network(Network::new(address.parse().unwrap(), 64))
}

#[test]
fn a_key_names_algorithm_policy_caller_and_limit() {
    let tag = hash_tag(Algorithm::Token, "login", [network("192.0.2.1")]);
    assert_eq!(of_limit(&tag, None), "rl:{token:login:192.0.2.1}");
    let header = CallerPart::Header("x-api-key", b"k,1{}");
    let parts = [header, network("2001:db8::1")];
    let tag = hash_tag(Algorithm::Leaky, "api", parts);
    let expected = "rl:{leaky:api:x-api-key=k%2C1%7B%7D,2001:db8::/64}:hour";
    assert_eq!(of_limit(&tag, Some("hour")), expected);
}

#[test]
fn a_secret_and_a_long_value_are_hashed() {
    let name = "authorization";
    let key = |part| hash_tag(Algorithm::Token, "a", [part]);
    // The hash of "abc" is in FIPS 180-2, appendix B.1.
    assert_eq!(
        key(CallerPart::Sha256(name, b"abc")),
        "rl:{token:a:authorization:sha256=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}"
    );
    let (longest, too_long) = ([b'a'; 128], [b'a'; 129]);
    let text = key(CallerPart::Header(name, &longest));
    assert_eq!(
        text,
        format!("rl:{{token:a:authorization={}}}", "a".repeat(128))
    );
    let hashed = key(CallerPart::Header(name, &too_long));
    assert!(
        hashed.starts_with("rl:{token:a:authorization:long="),
        "{hashed}"
    );
    let hashed = key(CallerPart::Key(&"a".repeat(129)));
    assert!(hashed.starts_with("rl:{token:a::key:long="), "{hashed}");
}

#[test]
fn a_key_is_never_longer_than_600_bytes() {
    let value = [0xff; 128];
    let parts = |count| vec![CallerPart::Header("a", &value); count];
    let tag = |count| hash_tag(Algorithm::Token, "a", parts(count));
    assert!(tag(1).starts_with("rl:{token:a:a=%FF%FF") && tag(1).len() > 384);
    assert!(tag(2).starts_with("rl:{token:a::long="), "{}", tag(2));
    assert_ne!(tag(2), tag(3));
    let longest = "a".repeat(64);
    for count in 1..=8 {
        let tag = hash_tag(Algorithm::Token, &longest, parts(count));
        assert!(of_limit(&tag, Some(&longest)).len() <= 600);
    }
}

/// A part with its own data.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Address(IpAddr),
    Header(String, Vec<u8>),
    Sha256(String, Vec<u8>),
}

/// Values that look like parts of keys, so that a byte that is not encoded makes two keys the same.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let fragments = [
        "a",
        "1",
        ",",
        ",a=1",
        ",192.0.2.1",
        ",a::/64",
        ":sha256=",
        ":long=",
        "=",
        ":key=a",
        "%",
        "2C",
        "{",
        "}",
        "}:a",
        "\u{e9}",
    ];
    let fragment = prop::sample::select(fragments.to_vec());
    prop::collection::vec(fragment, 1..4).prop_map(|fragments| fragments.concat().into_bytes())
}

fn part() -> impl Strategy<Value = Owned> {
    let name = || prop::sample::select(["a", "a%", "sha256", "long", "key"].as_slice());
    let address = prop::sample::select(["::1", "192.0.2.1", "a::", "2001:db8::"].as_slice());
    prop_oneof![
        address.prop_map(|text| Owned::Address(text.parse().unwrap())),
        (name(), bytes()).prop_map(|(name, value)| Owned::Header(name.to_owned(), value)),
        (name(), bytes()).prop_map(|(name, value)| Owned::Sha256(name.to_owned(), value)),
    ]
}

/// Algorithm, policy, parts, or the key of a trusted caller in place of parts, and limit.
type Identity = (bool, String, Result<Vec<Owned>, String>, Option<String>);

fn identity() -> impl Strategy<Value = Identity> {
    let name = || prop::sample::select(["a", "key", "token", "sha256"].as_slice());
    let name = || name().prop_map(str::to_owned);
    let key = bytes().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let caller = prop_oneof![
        3 => prop::collection::vec(part(), 1..4).prop_map(Ok),
        1 => key.prop_map(Err),
    ];
    (any::<bool>(), name(), caller, prop::option::of(name()))
}

fn key_of((is_token, policy, caller, limit): &Identity) -> String {
    let algorithm = [Algorithm::Leaky, Algorithm::Token][usize::from(*is_token)];
    let parts = caller.as_deref().unwrap_or_default().iter();
    let parts = parts.map(|part| match part {
        Owned::Address(address) => CallerPart::Network(Network::new(*address, 64)),
        Owned::Header(name, value) => CallerPart::Header(name, value),
        Owned::Sha256(name, value) => CallerPart::Sha256(name, value),
    });
    let key = caller.as_ref().err().map(|key| CallerPart::Key(key));
    let tag = hash_tag(algorithm, policy, parts.chain(key));
    of_limit(&tag, limit.as_deref())
}

proptest! {
    /// P11.
    #[test]
    fn different_identities_have_different_keys(
        identities in prop::collection::vec(identity(), 2..60),
    ) {
        let mut seen: HashMap<String, &Identity> = HashMap::new();
        for identity in &identities {
            let other = seen.entry(key_of(identity)).or_insert(identity);
            prop_assert_eq!(*other, identity);
        }
    }

    /// P11. The caller sends as its header what the key of another caller holds in place of the header and all that follows.
    #[test]
    fn a_header_that_looks_like_the_end_of_a_key_is_another_caller(
        value in bytes(),
        others in prop::collection::vec(part(), 0..3),
    ) {
        let first = Owned::Header("a".to_owned(), value);
        let parts = [vec![first], others].concat();
        let identity = (true, "a".to_owned(), Ok(parts), None);
        let key = key_of(&identity);
        let end = key.strip_prefix("rl:{token:a:a=").and_then(|end| end.strip_suffix('}'));
        let header = Owned::Header("a".to_owned(), end.unwrap_or_default().into());
        let attacker = (true, "a".to_owned(), Ok(vec![header]), None);
        prop_assert!(identity == attacker || key != key_of(&attacker), "{}", key);
    }

    /// P11. The hash tag is what Redis Cluster takes: from the first `{` to the next `}`.
    #[test]
    fn limits_share_a_slot_and_no_key_is_one_of_token_or_leaky(identity in identity()) {
        let key = key_of(&identity);
        let braces: String = key.matches(['{', '}']).collect();
        prop_assert_eq!((key.get(..4), braces.as_str()), (Some("rl:{"), "{}"));
        prop_assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
        let braces = ['{', '}'];
        let tag = |key: &str| key.split(braces).nth(1).map(str::to_owned);
        let (is_token, policy, caller, _) = identity;
        let other = key_of(&(is_token, policy, caller, Some("other".to_owned())));
        prop_assert!(tag(&key).is_some_and(|tag| !tag.is_empty()));
        prop_assert_eq!(tag(&key), tag(&other));
    }
}
