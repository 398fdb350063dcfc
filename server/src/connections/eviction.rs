//! Which connections the server closes to make room for new ones. Pure: [`super::acceptor`] closes them.
//!
//! Only connections without a request in flight are candidates. So a server whose connections are all busy closes none,
//! and new ones wait.

use std::time::Duration;

use tokio::time::Instant;

/// Closes 1 of this many connections at a time, because choosing them takes a pass over all. With 10,000 connections
/// one pass makes room for 156 new ones.
const MAX_PER_EVICTION: usize = 64;

/// Up to 1 of this many connections may be unused, that is without a request so far, before unused ones are closed
/// first.
const MAX_UNUSED: usize = 4;

/// How long an unused connection may take to send its first request before it may be closed. A client that connects and
/// sends at once is not closed in between.
const UNUSED_GRACE: Duration = Duration::from_millis(100);

/// How long a client has to read a response before its connection may be closed. Shorter than the time-out for all
/// connections, or clients that do not read could keep others out for that long.
const UNSENT_GRACE: Duration = Duration::from_secs(1);

/// A connection without a request in flight. `Id` is whatever the caller closes it by.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleConnection<Id> {
    pub(super) id: Id,
    /// When it was opened, or its latest response was finished.
    pub(super) idle_since: Instant,
    /// Whether it has sent a request.
    pub(super) has_requested: bool,
    /// When its oldest response that is not sent yet was finished.
    pub(super) unsent_since: Option<Instant>,
}

/// The connections to close, if there may be `max_connections`: those that have been idle for longest, at most 1 in 64.
///
/// Unused connections are closed first, because a flood can open any number of them. If they are at most a quarter of
/// all connections, they are no flood, and used ones are closed first: otherwise new clients would have no room to send
/// their first request.
///
/// Connections within their grace are never among them. The result can be empty although there are candidates: then all
/// are within it. The order is arbitrary.
pub(super) fn choose<Id: Copy>(
    idle: impl Iterator<Item = IdleConnection<Id>>,
    max_connections: usize,
    now: Instant,
) -> Vec<Id> {
    let (mut used, mut unused): (Vec<_>, Vec<_>) =
        idle.partition(|connection| connection.has_requested);
    let few_unused = unused.len() <= max_connections / MAX_UNUSED;
    unused.retain(|connection| now - connection.idle_since >= UNUSED_GRACE);
    used.retain(|connection| {
        let unsent_since = connection.unsent_since;
        unsent_since.is_none_or(|since| now - since >= UNSENT_GRACE)
    });
    let mut candidates = if few_unused && !used.is_empty() {
        used
    } else {
        unused
    };
    let count = (max_connections / MAX_PER_EVICTION).max(1);
    if count < candidates.len() {
        candidates.select_nth_unstable_by_key(count, |connection| connection.idle_since);
        candidates.truncate(count);
    }
    candidates.iter().map(|connection| connection.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a connection has been idle, in milliseconds, and whether it is used.
    type Row = (u64, bool);

    /// The indices of the connections that are closed, sorted.
    fn chosen(table: &[Row], max_connections: usize) -> Vec<usize> {
        let now = Instant::now() + Duration::from_hours(1);
        let rows = table.iter().enumerate();
        let idle = rows.map(|(id, (idle_ms, has_requested))| IdleConnection {
            id,
            idle_since: now - Duration::from_millis(*idle_ms),
            has_requested: *has_requested,
            unsent_since: None,
        });
        let mut chosen = choose(idle, max_connections, now);
        chosen.sort_unstable();
        chosen
    }

    const USED: bool = true;
    const UNUSED: bool = false;

    #[test]
    fn the_longest_idle_is_closed_unused_ones_first() {
        let cases: [(&str, &[Row], usize, &[usize]); 9] = [
            ("no idle connection", &[], 3, &[]),
            ("the longest idle", &[(5, USED), (9, USED)], 2, &[1]),
            ("unused first", &[(900, USED), (100, UNUSED)], 3, &[1]),
            (
                "the longest idle of the unused ones",
                &[(100, UNUSED), (101, UNUSED)],
                2,
                &[1],
            ),
            (
                "a new connection has time for its request",
                &[(99, UNUSED)],
                1,
                &[],
            ),
            (
                "no used one is closed instead",
                &[(99, UNUSED), (900, USED)],
                3,
                &[],
            ),
            (
                "a few unused ones are kept",
                &[(500, UNUSED), (1, USED)],
                4,
                &[1],
            ),
            (
                "more unused ones are closed first",
                &[(500, UNUSED), (100, UNUSED), (900, USED)],
                4,
                &[0],
            ),
            (
                "a few unused ones while all others are busy",
                &[(500, UNUSED)],
                4,
                &[0],
            ),
        ];
        for (case, table, max_connections, expected) in cases {
            assert_eq!(chosen(table, max_connections), expected, "{case}");
        }
    }

    #[test]
    fn a_client_has_a_second_to_read_a_response() {
        let now = Instant::now() + Duration::from_hours(1);
        let connection = |id, unsent_ms: Option<u64>| IdleConnection {
            id,
            idle_since: now - Duration::from_secs(id),
            has_requested: true,
            unsent_since: unsent_ms.map(|ms| now - Duration::from_millis(ms)),
        };
        let chosen = |unsent_ms| {
            choose(
                [connection(9, unsent_ms), connection(5, None)].into_iter(),
                2,
                now,
            )
        };
        assert_eq!(chosen(None), [9]);
        assert_eq!(chosen(Some(999)), [5]);
        assert_eq!(chosen(Some(1000)), [9]);
    }

    #[test]
    fn one_connection_in_64_is_closed_at_a_time() {
        let table: Vec<Row> = (0..640).rev().map(|idle_ms| (idle_ms, USED)).collect();
        assert_eq!(chosen(&table, 640), (0..10).collect::<Vec<_>>());
        assert_eq!(chosen(&table[..5], 640), (0..5).collect::<Vec<_>>());
        assert_eq!(chosen(&table, 63), [0]);
    }
}
