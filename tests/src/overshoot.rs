//! P8: what failovers gave on top.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use crate::history::Event;
use crate::lines::lines;
use crate::plan::{Kind, LARGEST_COST, Policy, policies};
use crate::promises::{Entry, unanswered, used};

/// What failovers gave on top of one key, in tokens.
#[derive(Clone, Debug)]
pub struct Overshoot {
    /// Which key.
    pub key: u64,
    /// Its rate and capacity.
    pub policy: String,
    /// Admitted by a primary, and unknown to the one that came after it.
    pub lost: i128,
    /// What those calls may have given back that a primary made, and its replica knew of, but whose callers it did not answer.
    pub unseen: i128,
    /// What the rate gives in the time that a primary's clock was ahead of the others': at most a full bucket.
    pub ahead: i128,
    /// The most that any span admitted above capacity and rate.
    pub tokens: i128,
}

impl Overshoot {
    /// Of a key with one policy and some calls.
    pub(crate) fn of(key: u64, events: &[Event]) -> Option<Self> {
        let [policy] = policies(key) else {
            return None;
        };
        let lived = lines(events).pop()?;
        let known: HashSet<u64> = lived.iter().map(|event| event.id).collect();
        let is_lost = |event: &&Event| !known.contains(&event.id);
        let lost: Vec<&Event> = events.iter().filter(is_lost).collect();
        let ahead_us = events.iter().map(|event| event.ahead_us).max()?;
        Some(Self {
            key,
            policy: policy.words(),
            lost: lost.iter().map(|event| event.admitted()).sum(),
            unseen: LARGEST_COST * i128::from(unanswered(&lived)),
            ahead: policy.given_in(ahead_us.max(0)),
            tokens: overshoot(&lived, &lost, *policy),
        })
    }

    /// The most that may have been admitted on top.
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

/// The tokens that were admitted in some span above what capacity and rate allow: by the line that lived, whose instants never
/// go back, and by what was lost beside it.
fn overshoot(lived: &[&Event], lost: &[&Event], policy: Policy) -> i128 {
    let mut latest_us = 0;
    let mut changes: Vec<Entry> = Vec::new();
    for event in lived.iter().filter(|event| event.tokens() != 0) {
        latest_us = event.changed_us().unwrap_or(latest_us).max(latest_us);
        changes.extend(admission(event, latest_us));
    }
    for event in lost {
        let at_us = event.changed_us().or(event.updated_us());
        changes.extend(admission(event, at_us.unwrap_or(event.after_us)));
    }
    changes.sort_by_key(|change| change.at_us);
    let most = (1..=changes.len())
        .map(|end| used(&changes[..end], changes[end - 1].at_us, policy))
        .max();
    let above = (most.unwrap_or(0) - policy.full()).max(0);
    above.div_euclid(policy.period_us) + i128::from(above % policy.period_us != 0)
}

fn admission(event: &Event, at_us: i128) -> Option<Entry> {
    let tokens = event.tokens();
    (event.kind != Kind::Force && tokens != 0).then_some(Entry { tokens, at_us })
}
