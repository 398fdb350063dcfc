//! Measures the arithmetic without Redis: `make bench`. The goal is less than 25 ns for one decision.
//!
//! Allocations are not measured, because the crate does not use an allocator.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rl_bucket::{
    Algorithm, Bucket, Capacity, Change, Policy, Rate, Request, State, Tokens, UnixMicros,
};

const RATE: &[u8] = b"100/m";
const CAPACITY: u64 = 100;
const STORED_AT: UnixMicros = UnixMicros::new(1_700_000_000_000_000);
const NOW: UnixMicros = UnixMicros::new(1_700_000_000_003_000);

fn policy() -> Policy {
    let rate = Rate::parse(RATE).expect("a rate");
    Policy::new(rate, Capacity::new(CAPACITY).expect("a capacity"))
}

fn tokens(n: u64) -> Tokens {
    Tokens::new(n).expect("at most 2^48 - 1 tokens")
}

/// The state of a bucket with `n` tokens used.
fn used(algorithm: Algorithm, n: u64) -> State {
    let mut bucket = Bucket::new(algorithm, policy(), STORED_AT);
    bucket.decide(Request::Force(tokens(n))).expect("no debt");
    match bucket.change() {
        Change::Store(state) => state,
        other => panic!("{other:?}"),
    }
}

/// The arithmetic of RL.TOKEN and RL.LEAKY on a stored bucket: from its state to the decision and the change.
fn take(criterion: &mut Criterion) {
    let kinds = [
        ("take, token bucket, allowed", Algorithm::Token, 50),
        ("take, leaky bucket, allowed", Algorithm::Leaky, 50),
        ("take, token bucket, denied", Algorithm::Token, 100),
    ];
    for (name, algorithm, n) in kinds {
        let (state, policy) = (used(algorithm, n), policy());
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (state, policy, now) = black_box((state, policy, NOW));
                let mut bucket = Bucket::open(Some(state), algorithm, policy, now).ok()?;
                let decision = bucket.decide(black_box(Request::Cost(Tokens::ONE)));
                Some((decision.ok()?, bucket.change()))
            });
        });
    }
}

fn peek(criterion: &mut Criterion) {
    let state = used(Algorithm::Token, 50);
    criterion.bench_function("peek", |bencher| {
        bencher.iter(|| {
            let (state, now) = black_box((state, NOW));
            let mut bucket = Bucket::stored(state, now);
            bucket.decide(black_box(Request::Cost(Tokens::ONE))).ok()
        });
    });
}

fn read_and_write(criterion: &mut Criterion) {
    let state = used(Algorithm::Token, 50);
    let bytes = state.encode();
    criterion.bench_function("parse of a rate", |bencher| {
        bencher.iter(|| Rate::parse(black_box(RATE)));
    });
    criterion.bench_function("decode", |bencher| {
        bencher.iter(|| State::decode(black_box(&bytes)));
    });
    criterion.bench_function("encode", |bencher| {
        bencher.iter(|| black_box(state).encode());
    });
    criterion.bench_function("deadline", |bencher| {
        bencher.iter(|| black_box(state).deadline_ms());
    });
}

criterion_group!(benches, take, peek, read_and_write);
criterion_main!(benches);
