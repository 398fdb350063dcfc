//! P1 to P4, checked on the calls of one key by the promises alone: no bucket is computed here.

use crate::history::Event;
use crate::plan::{Kind, LARGEST_COST, Policy, policies};

/// Tokens that a call took (or, below 0, gave back), and when by some clock.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) tokens: i128,
    pub(crate) at_us: i128,
}

/// The most that was taken since any of the entries, less what the rate gave since then, in units of `policy`: what is used
/// (the backlog of a queue: D. V. Lindley, The theory of queues with a single server, 1952).
pub(crate) fn used(entries: &[Entry], now_us: i128, policy: Policy) -> i128 {
    let (mut sum, mut most) = (0, 0);
    for entry in entries.iter().rev() {
        sum += entry.tokens;
        most = most.max(sum * policy.period_us - policy.count * (now_us - entry.at_us));
    }
    most
}

/// What was taken of one key so far.
#[derive(Default)]
struct Taken {
    /// Since the bucket was last seen as new, by its own clock: that never goes back, but is set back, and all with it, when
    /// the server's is too far behind.
    entries: Vec<Entry>,
    /// What was admitted ever, FORCE aside, by the distance that the clock has moved forward in all.
    admitted: Vec<Entry>,
    now_us: i128,
    forward_us: i128,
    /// The bucket's latest instant.
    kept_us: Option<i128>,
    /// Whether an answer was lost since the bucket was last seen as new: it may have taken tokens that nobody counted.
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
        // Of a bucket that is as new and still there a refund gives back nothing, and a clock that goes back may yet show it used.
        let is_idle = tokens < 0 && before.is_some_and(|before| before.bytes == event.bytes);
        if let (Some(at_us), true) = (event.updated_us(), tokens != 0 && !is_idle) {
            self.entries.push(Entry { tokens, at_us });
        }
        if event.kind != Kind::Force && tokens != 0 {
            let at_us = self.forward_us;
            self.admitted.push(Entry { tokens, at_us });
        }
    }

    /// So many calls got no answer: each may have taken tokens, or given back as many as the largest refund.
    fn lose_sight_of(&mut self, calls: i64) {
        self.incomplete = true;
        let tokens = -LARGEST_COST * i128::from(calls);
        for changes in [&mut self.entries, &mut self.admitted] {
            if let Some(Entry { at_us, .. }) = changes.last().copied() {
                changes.push(Entry { tokens, at_us });
            }
        }
    }

    /// P1: whether more was admitted in some span that ends now than capacity and rate allow.
    fn exceeds(&self, policy: Policy) -> bool {
        used(&self.admitted, self.forward_us, policy) > policy.full()
    }

    /// Whether there is no room for `cost` at an instant of the bucket's clock.
    fn is_full(&self, cost: i128, at_us: i128, policy: Policy) -> bool {
        let latest_us = self.entries.last().map_or(at_us, |entry| entry.at_us);
        used(&self.entries, at_us.max(latest_us), policy) + cost * policy.period_us > policy.full()
    }
}

/// How many calls between two neighbours of a line got no answer; before the first, if there is none before.
fn unanswered_between(before: Option<&Event>, event: &Event) -> i64 {
    let known = |id: &u64| before.is_some_and(|before| before.id == *id);
    let calls = event.past.iter().position(known);
    i64::try_from(calls.unwrap_or(event.past.len())).expect("few")
}

/// How many calls of a line got no answer.
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

/// Checks the calls of one line of a key, in order. `by_migrate` says whether MIGRATE may have taken it to another server.
///
/// # Panics
///
/// At the first that breaks a promise.
pub(crate) fn check(key: u64, line: &[&Event], by_migrate: bool) {
    let mut taken = Taken::default();
    let mut before: Option<&Event> = None;
    for event in line {
        let unanswered = unanswered_between(before, event);
        let next = unanswered == 0;
        let kept_us = taken.kept_us;
        if !next {
            taken.lose_sight_of(unanswered);
        }
        taken.move_clock(event);
        taken.take(event, before);
        let broken = if event.tokens() == 0 {
            let is_same = |before| is_same(before, event, by_migrate);
            let same = !next || before.is_none_or(is_same);
            took_nothing(&taken, event, same, kept_us, policies(key))
        } else {
            took_some(&taken, event, kept_us, policies(key))
        };
        if let Some(promise) = broken {
            panic!("{promise}, k{key}: {event:?} after {before:?}");
        }
        before = Some(event);
    }
}

/// What a call that changed its bucket breaks.
fn took_some(
    taken: &Taken,
    event: &Event,
    kept_us: Option<i128>,
    policies: &[Policy],
) -> Option<&'static str> {
    let updated_us = event.updated_us();
    if updated_us.is_some() && event.read_us().is_none() && updated_us != kept_us {
        return Some("P1, at an instant that no clock showed");
    }
    if taken.exceeds(largest(policies)) {
        return Some("P1");
    }
    let ([policy], Some(at_us)) = (policies, updated_us) else {
        return None;
    };
    if event.admitted() > 0 && used(&taken.entries, at_us, *policy) > policy.full() {
        return Some("P1, with what was forced");
    }
    let short = event.kind == Kind::Partial && event.admitted() < event.cost;
    (short && !taken.incomplete && !taken.is_full(1, at_us, *policy)).then_some("P2, in part")
}

/// What a call that took nothing breaks.
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
    match *event.told.first()? {
        0 if taken.incomplete || (peeked && clock_went_back) => None,
        0 => denied(taken, event, *policy),
        _ => taken
            .is_full(event.cost, event.after_us, *policy)
            .then_some("P1, peeked"),
    }
}

/// Whether a bucket is as it was after the call before. MIGRATE takes the time to live along and not the deadline, which is
/// later by as long as that takes.
fn is_same(before: &Event, event: &Event, by_migrate: bool) -> bool {
    let most_ms = if by_migrate && event.server != before.server {
        (event.after_us - before.before_us) / 1000 + 1
    } else {
        0
    };
    let in_time = |(before_ms, event_ms)| {
        (0..=most_ms).contains(&(i128::from(event_ms) - i128::from(before_ms)))
    };
    let deadlines_ms = before.deadline_ms.zip(event.deadline_ms);
    before.bytes == event.bytes && deadlines_ms.is_none_or(in_time)
}

/// A denial is right if it would have been one at the earlier reading of the clock, and its wait if a millisecond less is
/// too little from the earlier reading on and the wait enough from the later one on.
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
    match i128::from(event.told[3]) {
        -1 => (cost <= policy.capacity).then_some("P4, told never"),
        wait_ms if !is_full(event.before_us + (wait_ms - 1) * 1000) => Some("P4, told too long"),
        wait_ms => is_full(event.after_us + wait_ms * 1000).then_some("P4, told too short"),
    }
}

/// The fastest of the rates with the largest of the capacities.
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

    /// A call at `at_us` of a bucket of 7 tokens, of which one comes back in 3 ms: what it was told, and what it left.
    fn call(kind: Kind, cost: i128, at_us: i128, told: [i64; 2], left: [u64; 2]) -> Event {
        let [used, updated_us] = left;
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
            told: vec![told[0], 7, 0, told[1], 0],
            bytes: Some(bytes),
            deadline_ms: None,
        }
    }

    #[test]
    fn a_refund_of_nothing_leaves_what_a_clock_that_goes_back_shows_again() {
        let line = [
            call(Kind::Cost, 7, 1_000_000, [1, 0], [21_000, 1_000_000]),
            call(Kind::Refund, 5, 1_021_500, [1, 0], [21_000, 1_000_000]),
            call(Kind::Cost, 6, 1_020_500, [1, 0], [18_500, 1_020_500]),
            call(Kind::Cost, 4, 1_021_600, [0, 9], [18_500, 1_020_500]),
        ];
        let line: Vec<Event> = (1..)
            .zip(line)
            .map(|(id, event)| Event {
                id,
                past: (1..id).rev().collect(),
                ..event
            })
            .collect();
        check(2, &line.iter().collect::<Vec<_>>(), false);
    }
}
