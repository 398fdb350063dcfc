//! Checks P1 to P4 on the calls of one key. The checks follow from the promises alone; no bucket is simulated here.

use crate::history::Event;
use crate::plan::{Kind, LARGEST_COST, Policy, policies};

/// Tokens that a call took (or, below 0, refunded), and when by some clock.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) tokens: i128,
    pub(crate) at_us: i128,
}

/// The units in use: the maximum over all entries of the tokens taken since then, less what the rate has refilled since
/// then, in units of `policy` (the backlog of a queue: D. V. Lindley, The theory of queues with a single server, 1952).
pub(crate) fn used(entries: &[Entry], now_us: i128, policy: Policy) -> i128 {
    let (mut sum, mut max) = (0, 0);
    for entry in entries.iter().rev() {
        sum += entry.tokens;
        max = max.max(sum * policy.period_us - policy.count * (now_us - entry.at_us));
    }
    max
}

/// The calls of one key so far.
#[derive(Default)]
struct Taken {
    /// What was taken since the bucket was last reset, by the bucket's own clock. That clock never goes back, except
    /// when the server's clock is too far behind; then all entries move back with it.
    entries: Vec<Entry>,
    /// All that was admitted, without FORCE, by the total distance that the clock has moved forward.
    admitted: Vec<Entry>,
    now_us: i128,
    forward_us: i128,
    /// The instant that the bucket stores.
    kept_us: Option<i128>,
    /// Whether a reply was lost since the bucket was last reset. That call may have taken tokens that are not in
    /// `entries`.
    incomplete: bool,
}

impl Taken {
    fn move_clock(&mut self, event: &Event) {
        let now_us = event.read_us().unwrap_or(event.after_us);
        if self.now_us != 0 {
            self.forward_us += (now_us - self.now_us).max(0);
        }
        self.now_us = now_us;
        if let (Some(kept_us), Some(updated_us)) = (self.kept_us, event.updated_us()) {
            let behind_us = (kept_us - updated_us).max(0);
            for entry in &mut self.entries {
                entry.at_us -= behind_us;
            }
        }
        self.kept_us = event.updated_us();
    }

    fn take(&mut self, event: &Event, before: Option<&Event>) {
        let tokens = event.tokens();
        if event.used_alone(tokens) {
            self.entries.clear();
            self.incomplete = false;
        }
        // A refund to a bucket that has refilled but has not expired changes nothing, and a clock that steps back may
        // still show that bucket as used.
        let is_idle = tokens < 0 && before.is_some_and(|before| before.bytes == event.bytes);
        if let (Some(at_us), true) = (event.updated_us(), tokens != 0 && !is_idle) {
            self.entries.push(Entry { tokens, at_us });
        }
        if event.kind != Kind::Force && tokens != 0 {
            let at_us = self.forward_us;
            self.admitted.push(Entry { tokens, at_us });
        }
    }

    /// Counts calls without a reply: each may have taken tokens, or refunded as many as the largest refund.
    fn add_unanswered(&mut self, calls: i64) {
        self.incomplete = true;
        let tokens = -LARGEST_COST * i128::from(calls);
        for changes in [&mut self.entries, &mut self.admitted] {
            if let Some(Entry { at_us, .. }) = changes.last().copied() {
                changes.push(Entry { tokens, at_us });
            }
        }
    }

    /// P1: whether more was admitted in some time span that ends now than capacity and rate allow.
    fn exceeds(&self, policy: Policy) -> bool {
        used(&self.admitted, self.forward_us, policy) > policy.full()
    }

    /// Whether `cost` does not fit at an instant of the bucket's clock.
    fn is_full(&self, cost: i128, at_us: i128, policy: Policy) -> bool {
        let latest_us = self.entries.last().map_or(at_us, |entry| entry.at_us);
        used(&self.entries, at_us.max(latest_us), policy) + cost * policy.period_us > policy.full()
    }
}

/// How many calls between two consecutive ones of a line got no reply; without `before`, how many before the first.
fn unanswered_between(before: Option<&Event>, event: &Event) -> i64 {
    let known = |id: &u64| before.is_some_and(|before| before.id == *id);
    let calls = event.past.iter().position(known);
    i64::try_from(calls.unwrap_or(event.past.len())).expect("a small number")
}

/// How many calls of a line got no reply.
pub(crate) fn unanswered(line: &[&Event]) -> i64 {
    let first = line
        .iter()
        .take(1)
        .map(|event| unanswered_between(None, event));
    let others = line
        .windows(2)
        .map(|pair| unanswered_between(Some(pair[0]), pair[1]));
    first.chain(others).sum()
}

/// Checks the calls of one line of a key in order. `by_migrate` says whether MIGRATE may have moved it to another
/// server.
///
/// # Panics
///
/// At the first call that breaks a promise.
pub(crate) fn check(key: u64, line: &[&Event], by_migrate: bool) {
    let mut taken = Taken::default();
    let mut before: Option<&Event> = None;
    for event in line {
        let unanswered = unanswered_between(before, event);
        let next = unanswered == 0;
        let kept_us = taken.kept_us;
        if !next {
            taken.add_unanswered(unanswered);
        }
        taken.move_clock(event);
        taken.take(event, before);
        let broken = if event.tokens() == 0 {
            let is_same = |before| is_same(before, event, by_migrate);
            let same = !next || before.is_none_or(is_same);
            took_nothing(&taken, event, same, kept_us, policies(key))
        } else {
            let since_us = before.filter(|_| !next).map(|before| before.before_us);
            took_some(&taken, event, kept_us, since_us, policies(key))
        };
        if let Some(promise) = broken {
            panic!("{promise}, k{key}: {event:?} after {before:?}");
        }
        before = Some(event);
    }
}

/// The promise that a call that took or refunded tokens breaks, if any. `since_us` is the earliest instant that a call
/// without a reply may have stored since the call before.
fn took_some(
    taken: &Taken,
    event: &Event,
    kept_us: Option<i128>,
    since_us: Option<i128>,
    policies: &[Policy],
) -> Option<&'static str> {
    let updated_us = event.updated_us();
    // A refund to a full bucket changes nothing, so the instant may be that of a call without a reply.
    let is_of_unanswered = event.tokens() < 0
        && updated_us
            .zip(since_us)
            .is_some_and(|(at_us, since_us)| (since_us..=event.after_us).contains(&at_us));
    let is_known = event.read_us().is_some() || updated_us == kept_us || is_of_unanswered;
    if updated_us.is_some() && !is_known {
        return Some("P1, at an instant that no clock showed");
    }
    if taken.exceeds(largest(policies)) {
        return Some("P1");
    }
    let ([policy], Some(at_us)) = (policies, updated_us) else {
        return None;
    };
    if event.admitted() > 0 && used(&taken.entries, at_us, *policy) > policy.full() {
        return Some("P1, with FORCE");
    }
    let short = event.kind == Kind::Partial && event.admitted() < event.cost;
    (short && !taken.incomplete && !taken.is_full(1, at_us, *policy)).then_some("P2, PARTIAL")
}

/// The promise that a call that took nothing breaks, if any.
fn took_nothing(
    taken: &Taken,
    event: &Event,
    same: bool,
    kept_us: Option<i128>,
    policies: &[Policy],
) -> Option<&'static str> {
    let [policy] = policies else { return None };
    let clock_went_back = kept_us.is_some_and(|kept_us| event.before_us < kept_us);
    if event.bytes.is_some() && !clock_went_back && !same {
        return Some("P3");
    }
    let peeked = event.kind == Kind::Peek;
    match *event.reply.first()? {
        0 if taken.incomplete || (peeked && clock_went_back) => None,
        0 => denied(taken, event, *policy),
        _ => taken
            .is_full(event.cost, event.after_us, *policy)
            .then_some("P1, RL.PEEK"),
    }
}

/// Whether a bucket is unchanged since the call before. MIGRATE moves the time to live instead of the deadline, so the
/// deadline may be later by the time that this takes.
fn is_same(before: &Event, event: &Event, by_migrate: bool) -> bool {
    let max_ms = if by_migrate && event.server != before.server {
        (event.after_us - before.before_us) / 1000 + 1
    } else {
        0
    };
    let in_time = |(before_ms, event_ms)| {
        (0..=max_ms).contains(&(i128::from(event_ms) - i128::from(before_ms)))
    };
    let deadlines_ms = before.deadline_ms.zip(event.deadline_ms);
    before.bytes == event.bytes && deadlines_ms.is_none_or(in_time)
}

/// Checks a denial. It is correct if it would also be one at the earlier reading of the clock. Its wait is correct if
/// one millisecond less is too short from the earlier reading, and the wait is long enough from the later one.
fn denied(taken: &Taken, event: &Event, policy: Policy) -> Option<&'static str> {
    let cost = if event.kind == Kind::Partial {
        1
    } else {
        event.cost
    };
    let is_full = |at_us| taken.is_full(cost, at_us, policy);
    if !is_full(event.before_us) {
        return Some("P2");
    }
    match i128::from(event.reply[3]) {
        -1 => (cost <= policy.capacity).then_some("P4, the reply says never"),
        wait_ms if !is_full(event.before_us + (wait_ms - 1) * 1000) => {
            Some("P4, the wait is too long")
        }
        wait_ms => is_full(event.after_us + wait_ms * 1000).then_some("P4, the wait is too short"),
    }
}

/// The highest rate combined with the largest capacity.
fn largest(policies: &[Policy]) -> Policy {
    let mut largest = policies[0];
    for policy in policies {
        if policy.count * largest.period_us > largest.count * policy.period_us {
            (largest.count, largest.period_us) = (policy.count, policy.period_us);
        }
        largest.capacity = largest.capacity.max(policy.capacity);
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::{Event, Kind, check, policies};

    /// A call at `at_us` on a bucket of 7 tokens that refills one in 3 ms, with its reply and the bucket after it.
    fn call(kind: Kind, cost: i128, at_us: i128, reply: [i64; 2], after: [u64; 2]) -> Event {
        let [used, updated_us] = after;
        let policy = policies(2)[0];
        let numbers = [
            u128::from(used).to_le_bytes().to_vec(),
            updated_us.to_le_bytes().to_vec(),
        ];
        let rate = [1, 3000, 7].map(|n: u64| n.to_le_bytes()[..6].to_vec());
        let bytes = [b"T1".to_vec(), numbers.concat(), rate.concat()].concat();
        Event {
            id: 0,
            past: Vec::new(),
            server: "0".to_owned(),
            ahead_us: 0,
            kind,
            policy,
            cost,
            before_us: at_us,
            after_us: at_us,
            reply: vec![reply[0], 7, 0, reply[1], 0],
            bytes: Some(bytes),
            deadline_ms: None,
        }
    }

    /// Checks a line of these calls, each with its id.
    fn check_line(calls: Vec<(u64, Event)>) {
        let line: Vec<Event> = calls
            .into_iter()
            .map(|(id, event)| Event {
                id,
                past: (1..id).rev().collect(),
                ..event
            })
            .collect();
        check(2, &line.iter().collect::<Vec<_>>(), false);
    }

    #[test]
    fn a_refund_that_changes_nothing_is_not_counted() {
        check_line(vec![
            (
                1,
                call(Kind::Cost, 7, 1_000_000, [1, 0], [21_000, 1_000_000]),
            ),
            (
                2,
                call(Kind::Refund, 5, 1_021_500, [1, 0], [21_000, 1_000_000]),
            ),
            (
                3,
                call(Kind::Cost, 6, 1_020_500, [1, 0], [18_500, 1_020_500]),
            ),
            (
                4,
                call(Kind::Cost, 4, 1_021_600, [0, 9], [18_500, 1_020_500]),
            ),
        ]);
    }

    /// The call without a reply took 1 token at 1.010 s, which is refilled when the refund comes.
    #[test]
    fn a_refund_may_keep_the_instant_of_a_call_without_a_reply() {
        let first = || (1, call(Kind::Cost, 1, 1_000_000, [1, 0], [3000, 1_000_000]));
        let refund = |at_us| call(Kind::Refund, 4, 1_020_000, [1, 0], [3000, at_us]);
        check_line(vec![first(), (3, refund(1_010_000))]);
        for (id, at_us) in [(2, 1_010_000), (3, 999_999), (3, 1_020_001)] {
            let checked =
                std::panic::catch_unwind(|| check_line(vec![first(), (id, refund(at_us))]));
            assert!(checked.is_err(), "{id}, {at_us}");
        }
    }
}
