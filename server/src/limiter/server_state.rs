//! What the threads share about one Redis server, to which each has a connection of its own: the bounds of waiting calls
//! and the log.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::admission::Admission;

/// The number of lines that are remembered.
const MAX_LINES: usize = 16;

/// The states of all servers, by the names under which the log shows them.
///
/// A name stays for as long as the process runs. A cluster has few.
#[derive(Debug, Default)]
pub(super) struct ServerStates(Mutex<HashMap<String, Arc<ServerState>>>);

/// The state of one server.
#[derive(Debug, Default)]
pub(super) struct ServerState {
    /// Bounds the calls over all connections together.
    pub(super) admission: Admission,
    /// The number of threads that are connected.
    connected: AtomicUsize,
    /// The lines that were logged since all threads were connected.
    logged: Mutex<Vec<String>>,
}

/// Held by a thread while it is connected.
#[derive(Debug)]
pub(super) struct Connected<'a>(&'a ServerState);

impl ServerStates {
    pub(super) fn of(&self, name: &str) -> Arc<ServerState> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.entry(name.to_owned()).or_default().clone()
    }
}

impl ServerState {
    /// Counts a connection until the result is dropped, and returns the number of threads that are connected.
    pub(super) fn connect(&self) -> (Connected<'_>, usize) {
        let before = self.connected.fetch_add(1, Ordering::Relaxed);
        (Connected(self), before + 1)
    }

    /// Whether no thread has logged this line since all were connected. All threads notice that Redis is gone, and one of
    /// them logs it.
    pub(super) fn is_news(&self, line: &str) -> bool {
        let mut logged = self.logged();
        let is_news = !logged.iter().any(|old| old == line);
        if is_news {
            // The reasons of an outage are few. If they change all the time, old ones are news again.
            if logged.len() == MAX_LINES {
                logged.remove(0);
            }
            logged.push(line.to_owned());
        }
        is_news
    }

    /// All threads are connected.
    pub(super) fn forget_lines(&self) {
        self.logged().clear();
    }

    fn logged(&self) -> MutexGuard<'_, Vec<String>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_news_once_until_all_threads_are_connected() {
        let states = ServerStates::default();
        let news = |name, line| states.of(name).is_news(line);
        assert!(news("a", "lost") && news("a", "refused"));
        assert!(!news("a", "lost") && !news("a", "refused"));
        assert!(news("b", "lost"));
        states.of("a").forget_lines();
        assert!(news("a", "lost"));
        assert!(!news("b", "lost"));
    }

    #[test]
    fn a_connection_counts_until_it_is_dropped() {
        let state = ServerState::default();
        let (first, second) = (state.connect(), state.connect());
        assert_eq!((first.1, second.1), (1, 2));
        drop(first);
        assert_eq!(state.connect().1, 2);
    }
}
