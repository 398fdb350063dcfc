//! The laws of the arithmetic. Where a new test goes:
//!
//! - `replay`: random sequences, every answer compared with the oracle's
//! - `exhaustive`: every sequence of six steps over small domains, compared likewise
//! - `windows`: what may be admitted in any span, decided from the history alone
//! - `waiting`: what a caller is told, and what it finds when it has waited
//! - `policies`: a rate or a capacity that changes under a live bucket
//! - `grammar`: rates and numbers of tokens as text
//! - `stored`: the 44 bytes
//! - `together`: several limits at once
//! - `wire`: the order of a reply
//! - `oracle`: the two algorithms once more, in rationals (no test)

mod exhaustive;
mod grammar;
mod oracle;
mod policies;
mod replay;
mod stored;
mod together;
mod waiting;
mod windows;
mod wire;

use proptest::prelude::*;
use rl_bucket::{
    Algorithm, Bucket, Change, Decision, Policy, Rate, Request, State, Tokens, UnixMicros,
};

/// What the tests call noon: far from zero, so that clocks can go back.
const NOON_US: u64 = 1_700_000_000_000_000;

fn tokens(n: u64) -> Tokens {
    Tokens::new(n).expect("at most 2^48 - 1 tokens")
}

fn policy(count: u64, period_us: u64, capacity: u64) -> Policy {
    let rate = Rate::new(count.into(), period_us.into()).expect("a rate");
    Policy::new(rate, tokens(capacity)).expect("a capacity")
}

/// One bucket as its key would keep it, forgotten when Redis would forget it.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    state: Option<State>,
}

impl Kept {
    fn ask(
        &mut self,
        algorithm: Algorithm,
        policy: Policy,
        request: Request,
        now_us: u64,
    ) -> Decision {
        let (decision, change) = self
            .try_ask(algorithm, policy, request, now_us)
            .expect("no debt that large");
        self.apply(change);
        decision
    }

    fn try_ask(
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
        self.ask(
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

    /// What Redis does once its clock, in whole milliseconds, has passed the deadline. Whether it did.
    fn expire(&mut self, now_us: u64) -> bool {
        let lives = |state: &State| now_us / 1000 <= state.deadline_ms();
        let gone = self.state.is_some_and(|state| !lives(&state));
        self.state = self.state.filter(lives);
        gone
    }
}

/// Policies near every edge: tiny and huge counts, periods and capacities, and what people really ask for.
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

/// Policies under which a short sequence of small steps meets every branch.
fn small_policy() -> impl Strategy<Value = Policy> {
    (1..=7_u64, 1..=30_000_u64, 1..=12_u64)
        .prop_map(|(count, period_us, capacity)| policy(count, period_us, capacity))
}
