//! Several limits asked at once: all of them are charged, or none.

use crate::bucket::Bucket;
use crate::decision::Decision;
use crate::tokens::Tokens;

/// A bucket that is asked together with others, perhaps more than once.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// As it was opened, and as it is after [`decide_together`].
    pub bucket: Bucket,
    /// Units asked of it so far.
    wanted: u128,
    /// Whether something is to be recorded of it.
    concerned: bool,
}

/// One of the requests: so many tokens of the bucket at this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which of the members is asked. A part that asks none is passed over.
    pub member: usize,
    /// How much of it.
    pub cost: Tokens,
}

impl Member {
    /// A member that nothing has been asked of.
    #[must_use]
    pub const fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            wanted: 0,
            concerned: false,
        }
    }

    /// Asks for more, on top of what was asked before; whether there is room for all of it.
    fn ask(&mut self, cost: Tokens) -> bool {
        self.wanted = self.wanted.saturating_add(self.bucket.units(cost));
        self.bucket.used_with(self.wanted) <= self.bucket.full()
    }

    fn charge(&mut self, cost: Tokens) -> Decision {
        let used = self.bucket.used_with(self.bucket.units(cost));
        self.concerned = true;
        self.bucket.grant(1, used)
    }

    /// One that would have passed answers as if asked with cost 0; one that denies, for all that was asked up to it.
    fn leave(&mut self, cost: Tokens) -> Decision {
        if self.ask(cost) {
            return self.bucket.grant(1, self.bucket.used());
        }
        self.concerned = true;
        self.bucket.denial(self.bucket.used_with(self.wanted))
    }

    /// What is to be stored of it: nothing if others denied and it did not.
    #[must_use]
    pub const fn change(&self) -> crate::Change {
        if self.concerned {
            self.bucket.change()
        } else {
            crate::Change::Nothing
        }
    }
}

/// Tests every part, then charges every one, or none if one is denied. The costs of parts of one member add up.
///
/// `tell` is called once for each part, in order. Gives the index of the first part that was denied.
pub fn decide_together(
    members: &mut [Member],
    parts: &[Part],
    mut tell: impl FnMut(Decision),
) -> Option<usize> {
    let mut denied = None;
    for (place, part) in parts.iter().enumerate() {
        let fits = members
            .get_mut(part.member)
            .is_none_or(|member| member.ask(part.cost));
        if !fits && denied.is_none() {
            denied = Some(place);
        }
    }
    for member in members.iter_mut() {
        member.wanted = 0;
    }
    for part in parts {
        if let Some(member) = members.get_mut(part.member) {
            tell(match denied {
                None => member.charge(part.cost),
                Some(_) => member.leave(part.cost),
            });
        }
    }
    denied
}
