//! The lines of history of one key: what each primary knew of its calls.
//!
//! Each call is told the ids of those before it on its server, so that the calls are a tree: it forks where a primary was
//! followed by one that did not know all, even if both answered for a while.

use std::collections::{HashMap, HashSet};
use std::iter::successors;

use crate::history::Event;

/// How many calls before it a call is told: more than are ever without an answer in a row.
pub(crate) const SEEN: usize = 32;

/// A line from its first call on for each call that was the last one on some server. The last line is that of the primary
/// that lived on: it answered last.
///
/// # Panics
///
/// If a call was told of none that was answered, though there were so many.
pub(crate) fn lines(events: &[Event]) -> Vec<Vec<&Event>> {
    let by_id: HashMap<u64, &Event> = events.iter().map(|event| (event.id, event)).collect();
    let parent = |event: &&Event| {
        let parent = event.past.iter().find_map(|id| by_id.get(id)).copied();
        assert!(
            parent.is_some() || event.past.len() < SEEN,
            "too many calls without an answer before {event:?}"
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
