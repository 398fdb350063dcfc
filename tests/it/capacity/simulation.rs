//! Buckets on a simulated primary whose changes reach a simulated replica late, until the replica takes over. Each
//! caller may take 10 tokens a second, 20 at once; rl-bucket decides.

use std::collections::VecDeque;

use rl_bucket::{
    Algorithm, Bucket, Capacity, Change, Decision, Policy, Rate, Request, State, Tokens, UnixMicros,
};

use super::load::{CALLERS, Call, Load, Random};

const RATE: &[u8] = b"10/s";
pub(super) const BURST: u64 = 20;
/// The time in which the rate refills one token.
pub(super) const TOKEN_US: u64 = 100_000;
const START_US: u64 = 1_700_000_000_000_000;

/// A primary fails, and its replica takes over.
#[derive(Clone, Copy)]
pub(super) struct Failover {
    pub(super) at_us: u64,
    /// The time that a change takes to reach the replica.
    pub(super) lag_us: u64,
    /// How far the replica's clock is ahead of the primary's.
    pub(super) ahead_us: i64,
    /// How long the old primary still answers half of the calls.
    pub(super) both_us: u64,
}

/// The buckets of one Redis server.
struct Server {
    ahead_us: i64,
    buckets: Vec<Option<State>>,
}

impl Server {
    fn new(ahead_us: i64) -> Self {
        let buckets = vec![None; CALLERS];
        Self { ahead_us, buckets }
    }

    /// Decides a call for one token, and stores what is to be stored.
    fn decide(&mut self, call: Call) -> Decision {
        let now = UnixMicros::new((START_US + call.at_us).saturating_add_signed(self.ahead_us));
        let rate = Rate::parse(RATE).expect("a rate");
        let policy = Policy::new(rate, Capacity::new(BURST).expect("a capacity"));
        let stored = &mut self.buckets[call.caller];
        let bucket = Bucket::open(*stored, Algorithm::Token, policy, now);
        let mut bucket = bucket.expect("a token bucket");
        let decision = bucket.decide(Request::Cost(Tokens::ONE)).expect("no debt");
        match bucket.change() {
            Change::Nothing => {}
            Change::Store(state) => *stored = Some(state),
            Change::Remove => *stored = None,
        }
        decision
    }
}

/// What one caller was admitted. Amounts ending in `_us` are the time in which the rate refills them: [`TOKEN_US`] for a
/// token.
#[derive(Clone, Copy, Default)]
pub(super) struct Caller {
    /// The maximum, over all time spans that end now, of what was admitted less what the rate refills in the span (D. V.
    /// Lindley, The theory of queues with a single server, 1952).
    backlog_us: u64,
    /// When it was last admitted.
    at_us: u64,
    pub(super) admitted: u64,
    /// The maximum over all time spans of what was admitted beyond burst and rate.
    pub(super) over_us: u64,
    /// Tokens taken from the old primary and unknown to the new one.
    pub(super) lost: u64,
}

impl Caller {
    fn admit(&mut self, at_us: u64) {
        self.backlog_us = self.backlog_us.saturating_sub(at_us - self.at_us) + TOKEN_US;
        self.at_us = at_us;
        self.admitted += 1;
        let over_us = self.backlog_us.saturating_sub(BURST * TOKEN_US);
        self.over_us = self.over_us.max(over_us);
    }

    /// P8: what was lost, and the difference of the clocks times the rate. Each of the two primaries keeps P1, so it is
    /// also at most one burst, and the rate for the time in which both answer.
    pub(super) fn bound_us(&self, failover: Failover) -> u64 {
        let ahead_us = u64::try_from(failover.ahead_us).unwrap_or(0);
        let lost_us = self.lost * TOKEN_US + ahead_us;
        lost_us.min(BURST * TOKEN_US + failover.both_us)
    }
}

/// A change on its way to the replica.
struct Sent {
    arrives_us: u64,
    caller: usize,
    bucket: Option<State>,
}

/// A primary, and the replica that takes over from it.
struct Pair {
    failover: Failover,
    primary: Server,
    replica: Server,
    on_the_way: VecDeque<Sent>,
    /// Decides who asks which of the two while both answer.
    random: Random,
}

impl Pair {
    fn new(failover: Failover) -> Self {
        Self {
            failover,
            primary: Server::new(0),
            replica: Server::new(failover.ahead_us),
            on_the_way: VecDeque::new(),
            random: Random(2),
        }
    }

    /// Decides a call, and returns whether it is admitted.
    fn decide(&mut self, call: Call, callers: &mut [Caller]) -> bool {
        self.replicate(call.at_us.min(self.failover.at_us), callers);
        let since_us = call.at_us.checked_sub(self.failover.at_us);
        let is_old =
            since_us.is_none_or(|us| us < self.failover.both_us && self.random.below(2) == 0);
        if !is_old {
            return self.replica.decide(call).allowed == 1;
        }
        let is_admitted = self.primary.decide(call).allowed == 1;
        if is_admitted {
            callers[call.caller].lost += 1;
            self.on_the_way.push_back(Sent {
                arrives_us: call.at_us + self.failover.lag_us,
                caller: call.caller,
                bucket: self.primary.buckets[call.caller],
            });
        }
        is_admitted
    }

    /// Stores the changes that have arrived by this instant.
    fn replicate(&mut self, until_us: u64, callers: &mut [Caller]) {
        let has_arrived = |sent: &mut Sent| sent.arrives_us <= until_us;
        while let Some(sent) = self.on_the_way.pop_front_if(has_arrived) {
            self.replica.buckets[sent.caller] = sent.bucket;
            callers[sent.caller].lost -= 1;
        }
    }
}

/// Sends the whole load. Returns what each caller was admitted.
pub(super) fn run(failover: Failover) -> Vec<Caller> {
    let mut pair = Pair::new(failover);
    let mut callers = vec![Caller::default(); CALLERS];
    for call in Load::new() {
        if pair.decide(call, &mut callers) {
            callers[call.caller].admit(call.at_us);
        }
    }
    callers
}

/// Calls of the hottest caller alone, spread over rl-servers with a deny cache. Each repeats a denial for its wait, a
/// second at most. Returns how many calls there are, how many reach Redis, and how many are admitted.
pub(super) fn run_with_deny_cache(servers: usize) -> [u64; 3] {
    let mut redis = Server::new(0);
    let mut denied_until_us = vec![0; servers];
    let mut random = Random(3);
    let mut counts = [0; 3];
    for call in Load::new().filter(|call| call.caller == 0) {
        counts[0] += 1;
        let chosen = random.below(servers as u64);
        let until_us = &mut denied_until_us[usize::try_from(chosen).expect("an index")];
        if call.at_us < *until_us {
            continue;
        }
        let decision = redis.decide(call);
        counts[1] += 1;
        counts[2] += decision.allowed;
        let wait_ms = decision.retry_after_ms.expect("a wait").min(1000);
        *until_us = call.at_us + 1000 * wait_ms;
    }
    counts
}
