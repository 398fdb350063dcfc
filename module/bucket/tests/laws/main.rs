//! The laws of the arithmetic: properties that hold for every sequence of requests. Where a new test goes:
//!
//! - `replay`: random sequences, each decision compared with the oracle's
//! - `exhaustive`: every sequence of six steps over small domains, each decision compared with the oracle's
//! - `windows`: what may be admitted in any span, decided from the history alone
//! - `waiting`: the times in a decision, and the decisions after waiting for them
//! - `policies`: a rate or a capacity that changes under a live bucket
//! - `grammar`: rates and numbers of tokens as text
//! - `stored`: the 44 stored bytes
//! - `batch`: several charges, made all or not at all
//! - `wire`: the order of the numbers in a reply
//! - `oracle`: a second implementation of the two algorithms, in rationals (no test)

mod batch;
mod exhaustive;
mod grammar;
mod oracle;
mod policies;
mod replay;
mod stored;
mod waiting;
mod windows;
mod wire;

use proptest::prelude::*;
use rl_bucket::{
    Algorithm, Bucket, Capacity, Change, Decision, Policy, Rate, Request, State, Tokens, UnixMicros,
};

/// Where the clock of most tests starts: far from zero, so that it can go back.
const START_US: u64 = 1_700_000_000_000_000;

fn tokens(n: u64) -> Tokens {
    Tokens::new(n).expect("at most 2^48 - 1 tokens")
}

fn policy(count: u64, period_us: u64, capacity: u64) -> Policy {
    let rate = Rate::new(count.into(), period_us.into()).expect("a rate");
    Policy::new(rate, Capacity::new(capacity).expect("a capacity"))
}

/// One bucket as Redis stores it: changed by each decision, deleted at its deadline.
#[derive(Clone, Copy, Debug, Default)]
struct StoredBucket {
    state: Option<State>,
}

impl StoredBucket {
    fn decide(
        &mut self,
        algorithm: Algorithm,
        policy: Policy,
        request: Request,
        now_us: u64,
    ) -> Decision {
        let (decision, change) = self
            .try_decide(algorithm, policy, request, now_us)
            .expect("no debt that large");
        self.apply(change);
        decision
    }

    fn try_decide(
        &self,
        algorithm: Algorithm,
        policy: Policy,
        request: Request,
        now_us: u64,
    ) -> Result<(Decision, Change), rl_bucket::DebtTooLarge> {
        let mut bucket = Bucket::open(self.state, algorithm, policy, UnixMicros::new(now_us))
            .expect("the same algorithm");
        let decision = bucket.decide(request)?;
        Ok((decision, bucket.change()))
    }

    fn take(&mut self, policy: Policy, cost: u64, now_us: u64) -> Decision {
        self.decide(
            Algorithm::Token,
            policy,
            Request::Cost(tokens(cost)),
            now_us,
        )
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Nothing => {}
            Change::Store(state) => self.state = Some(state),
            Change::Remove => self.state = None,
        }
    }

    /// Deletes the state as Redis does once its clock, in whole milliseconds, has passed the deadline. Returns
    /// whether it has expired.
    fn expire(&mut self, now_us: u64) -> bool {
        let is_live = |state: &State| now_us / 1000 <= state.deadline_ms();
        let has_expired = self.state.is_some_and(|state| !is_live(&state));
        self.state = self.state.filter(is_live);
        has_expired
    }
}

/// Policies near every edge: tiny, usual and huge counts, periods and capacities.
fn any_policy() -> impl Strategy<Value = Policy> {
    let number = prop_oneof![
        1..=5_u64,
        1..=1_000_000_u64,
        1..=Tokens::MAX.get(),
        (Tokens::MAX.get() - 3)..=Tokens::MAX.get()
    ];
    (number.clone(), number.clone(), number)
        .prop_map(|(count, period_us, capacity)| policy(count, period_us, capacity))
}

/// Policies under which a short sequence of small steps reaches every branch.
fn small_policy() -> impl Strategy<Value = Policy> {
    (1..=7_u64, 1..=30_000_u64, 1..=12_u64)
        .prop_map(|(count, period_us, capacity)| policy(count, period_us, capacity))
}
