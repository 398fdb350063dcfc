//! P8: what failovers admitted beyond capacity and rate.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use crate::history::Event;
use crate::lines::lines;
use crate::plan::{Kind, LARGEST_COST, Policy, policies};
use crate::promises::{Entry, unanswered, used};

/// What failovers admitted on one key beyond capacity and rate, in tokens.
#[derive(Clone, Debug)]
pub struct Overshoot {
    /// The number of the key.
    pub key: u64,
    /// Its rate and capacity.
    pub policy: String,
    /// Admitted by a primary and unknown to its successor.
    pub lost: i128,
    /// What calls without a reply may have refunded. Their primary ran them and its replica knows them, but no caller
    /// recorded them.
    pub unseen: i128,
    /// What the rate refills in the time that a primary's clock was ahead of the others': at most a full bucket.
    pub ahead: i128,
    /// The maximum over all time spans of what was admitted beyond capacity and rate.
    pub tokens: i128,
}

impl Overshoot {
    /// Computes the overshoot of a key; `None` if the key has several policies or no calls.
    pub(crate) fn of(key: u64, events: &[Event]) -> Option<Self> {
        let [policy] = policies(key) else {
            return None;
        };
        let kept = lines(events).pop()?;
        let known: HashSet<u64> = kept.iter().map(|event| event.id).collect();
        let is_lost = |event: &&Event| !known.contains(&event.id);
        let lost: Vec<&Event> = events.iter().filter(is_lost).collect();
        let ahead_us = events.iter().map(|event| event.ahead_us).max()?;
        Some(Self {
            key,
            policy: policy.arguments(),
            lost: lost.iter().map(|event| event.admitted()).sum(),
            unseen: LARGEST_COST * i128::from(unanswered(&kept)),
            ahead: policy.refilled_in(ahead_us.max(0)),
            tokens: overshoot(&kept, &lost, *policy),
        })
    }

    /// The maximum of `tokens` that P8 allows.
    #[must_use]
    pub fn bound(&self) -> i128 {
        self.lost + self.unseen + self.ahead
    }
}

impl Display for Overshoot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { policy, lost, .. } = self;
        let (tokens, bound) = (self.tokens, self.bound());
        write!(
            f,
            "{policy:15} | lost {lost:5} | overshoot {tokens:3} | bound {bound:5}"
        )
    }
}

/// The maximum over all time spans of the tokens admitted beyond capacity and rate: by the line that was kept, whose
/// instants never go back, and by the lost calls.
fn overshoot(kept: &[&Event], lost: &[&Event], policy: Policy) -> i128 {
    let mut latest_us = 0;
    let mut changes: Vec<Entry> = Vec::new();
    for event in kept.iter().filter(|event| event.tokens() != 0) {
        latest_us = event.changed_us().unwrap_or(latest_us).max(latest_us);
        changes.extend(admission(event, latest_us));
    }
    for event in lost {
        let at_us = event.changed_us().or(event.updated_us());
        changes.extend(admission(event, at_us.unwrap_or(event.after_us)));
    }
    changes.sort_by_key(|change| change.at_us);
    let max = (1..=changes.len())
        .map(|end| used(&changes[..end], changes[end - 1].at_us, policy))
        .max();
    let above = (max.unwrap_or(0) - policy.full()).max(0);
    above.div_euclid(policy.period_us) + i128::from(above % policy.period_us != 0)
}

fn admission(event: &Event, at_us: i128) -> Option<Entry> {
    let tokens = event.tokens();
    (event.kind != Kind::Force && tokens != 0).then_some(Entry { tokens, at_us })
}
