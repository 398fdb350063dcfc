//! What is logged of many like things: the first, and then one every ten seconds. Pure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const PAUSE_S: u64 = 10;

/// Says when a line is due.
pub(crate) struct LogThrottle {
    epoch: Instant,
    next_s: AtomicU64,
}

impl LogThrottle {
    pub(crate) fn since(epoch: Instant) -> Self {
        let next_s = AtomicU64::new(0);
        Self { epoch, next_s }
    }

    /// True for one of all who ask at that time.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let now_s = now.saturating_duration_since(self.epoch).as_secs();
        let next_s = self.next_s.load(Ordering::Relaxed);
        let after = now_s + PAUSE_S;
        let claim = || {
            self.next_s
                .compare_exchange(next_s, after, Ordering::Relaxed, Ordering::Relaxed)
        };
        now_s >= next_s && claim().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_is_due_at_once_and_then_every_ten_seconds() {
        let epoch = Instant::now();
        let seldom = LogThrottle::since(epoch);
        let due_s: Vec<u64> = (0..35_000)
            .filter(|ms| seldom.is_due(epoch + Duration::from_millis(*ms)))
            .map(|ms| ms / 1000)
            .collect();
        assert_eq!(due_s, [0, 10, 20, 30]);
    }
}
