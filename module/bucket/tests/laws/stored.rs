//! The 44 stored bytes: what is written is read back, and nothing else is read.

use proptest::prelude::*;
use rl_bucket::{Algorithm, Bucket, OtherAlgorithm, Request, State, UnixMicros};

use crate::{START_US, StoredBucket, any_policy, policy, small_policy, tokens};

fn some_state(algorithm: Algorithm, policy: rl_bucket::Policy, cost: u64, now_us: u64) -> State {
    let mut bucket = StoredBucket::default();
    bucket.decide(algorithm, policy, Request::Force(tokens(cost)), now_us);
    bucket.state.expect("something is used")
}

#[test]
fn the_layout_is_the_documented_one() {
    let state = some_state(
        Algorithm::Leaky,
        policy(10, 1_000_000, 5),
        3,
        0x0807_0605_0403_0201,
    );
    let mut bytes = b"L1".to_vec();
    bytes.extend(300_000_u128.to_le_bytes());
    bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend([1, 0, 0, 0, 0, 0]);
    bytes.extend([0xA0, 0x86, 0x01, 0, 0, 0]);
    bytes.extend([5, 0, 0, 0, 0, 0]);
    assert_eq!(state.encode().as_slice(), bytes);
}

#[test]
fn the_largest_debt_decodes_and_a_unit_more_does_not() {
    let policy = policy(1, 1000, 5);
    let mut bucket = StoredBucket::default();
    bucket.decide(
        Algorithm::Token,
        policy,
        Request::Force(rl_bucket::Tokens::MAX),
        START_US,
    );
    let mut bytes = bucket.state.unwrap().encode();
    assert_eq!(State::decode(&bytes), bucket.state);
    bytes[2..18]
        .copy_from_slice(&(u128::from(rl_bucket::Tokens::MAX.get()) * 1000 + 1).to_le_bytes());
    assert_eq!(State::decode(&bytes), None);
}

#[test]
fn the_other_algorithm_is_refused_and_named() {
    let policy = policy(1, 1000, 5);
    for (one, other) in [
        (Algorithm::Token, Algorithm::Leaky),
        (Algorithm::Leaky, Algorithm::Token),
    ] {
        let mut bucket = StoredBucket::default();
        bucket.decide(one, policy, Request::Force(tokens(1)), START_US);
        let opened = Bucket::open(bucket.state, other, policy, UnixMicros::new(START_US));
        assert_eq!(opened.err(), Some(OtherAlgorithm(one)));
    }
}

#[test]
fn bytes_out_of_range_are_refused() {
    let good = some_state(Algorithm::Token, policy(10, 1_000_000, 5), 3, START_US).encode();
    assert!(State::decode(&good).is_some());
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good;
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        State::decode(&changed)
    };
    assert_eq!(State::decode(&good[..43]), None);
    assert_eq!(State::decode(&[good.as_slice(), &[0]].concat()), None);
    assert_eq!(State::decode(b""), None);
    assert_eq!(with(0, b"X"), None, "letter");
    assert_eq!(with(1, b"2"), None, "version");
    assert_eq!(with(14, &[1]), None, "more used than any debt");
    assert_eq!(with(26, &[0; 6]), None, "no count");
    assert_eq!(with(32, &[0; 6]), None, "no period");
    assert_eq!(with(38, &[0; 6]), None, "no capacity");
    assert_eq!(with(26, &[2, 0, 0, 0, 0, 0]), None, "not in lowest terms");
}

/// Bytes that often are a valid state: a known letter and version, and small numbers.
fn nearly_a_state() -> impl Strategy<Value = Vec<u8>> {
    let small =
        |len: usize| prop::collection::vec(prop_oneof![4 => Just(0), 1 => any::<u8>()], len);
    (prop_oneof![Just(b'T'), Just(b'L')], small(42)).prop_map(|(letter, rest)| {
        let mut bytes = vec![letter, b'1'];
        bytes.extend(rest);
        bytes
    })
}

proptest! {
    #[test]
    fn encode_then_decode_is_the_identity(policy in any_policy(), cost in 1..=rl_bucket::Tokens::MAX.get(), now_us: u64, leaky: bool) {
        let algorithm = if leaky { Algorithm::Leaky } else { Algorithm::Token };
        let state = some_state(algorithm, policy, cost, now_us);
        prop_assert_eq!(State::decode(&state.encode()), Some(state));
    }

    #[test]
    fn decode_never_panics_and_inverts_encode(bytes in prop_oneof![nearly_a_state(), prop::collection::vec(any::<u8>(), 0..60)]) {
        if let Some(state) = State::decode(&bytes) {
            prop_assert_eq!(state.encode().to_vec(), bytes);
        }
    }

    #[test]
    fn a_peek_decides_under_the_stored_policy(
        policy in small_policy(), used in 1..20_u64, moved_us in -20_000..40_000_i64, cost in 0..13_u64, leaky: bool,
    ) {
        let algorithm = if leaky { Algorithm::Leaky } else { Algorithm::Token };
        let mut bucket = StoredBucket::default();
        bucket.decide(algorithm, policy, Request::Force(tokens(used)), START_US);
        let now_us = START_US.saturating_add_signed(moved_us);
        let request = Request::Cost(tokens(cost));
        let mut peek = Bucket::stored(bucket.state.unwrap(), UnixMicros::new(now_us));
        let decision = peek.decide(request).unwrap();
        prop_assert_eq!(Ok((decision, peek.change())), bucket.try_decide(algorithm, policy, request, now_us));
    }

    /// A stored state with one byte changed is either refused, or decides without a panic.
    #[test]
    fn a_changed_byte_is_refused_or_decodes_safely(policy in any_policy(), at in 0..State::LEN, flip in 1..=255_u8, now_us: u64) {
        let mut bytes = some_state(Algorithm::Token, policy, 1, START_US).encode();
        bytes[at] ^= flip;
        if let Some(state) = State::decode(&bytes) {
            prop_assert_eq!(state.encode(), bytes);
            let _ = state.resets_at_ms();
            for request in [Request::Cost(tokens(1)), Request::Force(rl_bucket::Tokens::MAX), Request::Refund(tokens(1))] {
                let mut bucket = StoredBucket { state: Some(state) };
                if let Ok((_, change)) = bucket.try_decide(state.algorithm(), policy, request, now_us) {
                    bucket.apply(change);
                }
            }
        }
    }
}
