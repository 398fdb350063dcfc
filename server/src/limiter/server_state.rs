//! What the threads share about one Redis server, to which each has a connection of its own: the bounds of waiting calls
//! and the log.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::admission::Admission;

/// The number of lines that are remembered.
const MAX_LINES: usize = 16;

/// The states of all servers, by the names under which the log shows them.
///
/// A name stays for as long as the process runs. A cluster has few.
#[derive(Debug, Default)]
pub(super) struct ServerStates {
    by_name: Mutex<HashMap<String, Arc<ServerState>>>,
    /// The primaries of the cluster, as they were logged last.
    primaries: Mutex<String>,
}

/// The state of one server.
#[derive(Debug, Default)]
pub(super) struct ServerState {
    /// Bounds the calls over all connections together.
    pub(super) admission: Admission,
    /// The number of links to the server: at most one for each thread.
    links: AtomicUsize,
    /// The number of links that are connected.
    connected: AtomicUsize,
    log: Mutex<Log>,
}

/// What was logged of a server. All threads notice what happens to it, and one of them logs it.
#[derive(Debug, Default)]
struct Log {
    /// Whether the latest line says that the server is connected.
    is_connected: bool,
    /// The lines since then.
    lines: Vec<String>,
}

/// Counts a link until it is dropped.
#[derive(Debug)]
pub(super) struct Linked(Arc<ServerState>);

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub(super) struct Connected<'a>(&'a ServerState);

impl ServerStates {
    pub(super) fn of(&self, name: &str) -> Arc<ServerState> {
        let mut states = locked(&self.by_name);
        states.entry(name.to_owned()).or_default().clone()
    }

    /// Whether this list of primaries must be logged: it is another one than the latest.
    pub(super) fn are_new_primaries(&self, list: &str) -> bool {
        let mut logged = locked(&self.primaries);
        let are_new = *logged != list;
        list.clone_into(&mut logged);
        are_new
    }
}

impl ServerState {
    pub(super) fn link(self: &Arc<Self>) -> Linked {
        self.links.fetch_add(1, Ordering::Relaxed);
        Linked(self.clone())
    }

    /// Counts a connection. Returns also whether it must be logged that the server is connected: all links are, of which
    /// there are at least `min_links`, and the log does not say so yet.
    pub(super) fn connect(&self, min_links: usize) -> (Connected<'_>, bool) {
        let connected = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        let guard = Connected(self);
        if connected < self.links.load(Ordering::Relaxed).max(min_links) {
            return (guard, false);
        }
        let mut log = locked(&self.log);
        log.lines.clear();
        (guard, !mem::replace(&mut log.is_connected, true))
    }

    /// Whether a line about a lost or failed connection must be logged: no thread did so since all were connected.
    pub(super) fn is_news(&self, line: &str) -> bool {
        let mut log = locked(&self.log);
        if log.lines.iter().any(|old| old == line) {
            return false;
        }
        // The reasons of an outage are few. If they change all the time, old ones are news again.
        if log.lines.len() == MAX_LINES {
            log.lines.remove(0);
        }
        log.lines.push(line.to_owned());
        log.is_connected = false;
        true
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.0.links.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_news_once_until_all_links_are_connected() {
        let states = ServerStates::default();
        let news = |name, line| states.of(name).is_news(line);
        assert!(news("a", "lost") && news("a", "refused"));
        assert!(!news("a", "lost") && !news("a", "refused"));
        assert!(news("b", "lost"));
        let state = states.of("a");
        let _connected = state.connect(1);
        assert!(news("a", "lost"));
        assert!(!news("b", "lost"));
    }

    #[test]
    fn the_last_link_logs_that_the_server_is_connected() {
        let states = ServerStates::default();
        let state = states.of("a");
        let connect = || state.connect(2);
        let (_first_link, first) = (state.link(), connect());
        assert!(!first.1, "another link is expected");
        let (_second_link, second) = (state.link(), connect());
        assert!(second.1);
        // A link that is made later is no news, unless something was logged since.
        let (_third_link, third) = (state.link(), connect());
        assert!(!third.1);
        drop((second, third));
        assert!(state.is_news("lost"));
        let second = connect();
        assert!(!second.1 && connect().1);
    }

    #[test]
    fn primaries_are_logged_when_they_change() {
        let states = ServerStates::default();
        let logged = ["a, b", "a, b", "a, c", "a, b"].map(|list| states.are_new_primaries(list));
        assert_eq!(logged, [true, false, true, true]);
    }
}
