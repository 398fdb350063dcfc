//! The lines of history of one key: the calls that each primary knew of.
//!
//! Each call reads the ids of the calls before it on its server, so that the calls form a tree. It forks where a
//! primary was followed by one that did not know all calls, even if both replied for a while.

use std::collections::{HashMap, HashSet};
use std::iter::successors;

use crate::history::Event;

/// How many earlier calls a call reads: more than ever fail in a row.
pub(crate) const SEEN: usize = 32;

/// The line that ends in each call that was the last one on some server, from its first call. The line of the primary
/// that was kept comes last, because it replied last.
///
/// # Panics
///
/// If a call read as many earlier calls as it could and none of them got a reply.
pub(crate) fn lines(events: &[Event]) -> Vec<Vec<&Event>> {
    let by_id: HashMap<u64, &Event> = events.iter().map(|event| (event.id, event)).collect();
    let parent = |event: &&Event| {
        let parent = event.past.iter().find_map(|id| by_id.get(id)).copied();
        assert!(
            parent.is_some() || event.past.len() < SEEN,
            "too many calls without a reply before {event:?}"
        );
        parent
    };
    let parents: HashSet<u64> = events
        .iter()
        .filter_map(|event| Some(parent(&event)?.id))
        .collect();
    let is_last = |event: &&Event| !parents.contains(&event.id);
    let mut last: Vec<&Event> = events.iter().filter(is_last).collect();
    last.sort_by_key(|event| event.before_us);
    let line = |last| {
        let mut line: Vec<&Event> = successors(Some(last), parent).collect();
        line.reverse();
        line
    };
    last.into_iter().map(line).collect()
}
