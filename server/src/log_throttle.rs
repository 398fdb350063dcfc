//! Throttles a log line that many requests can cause: the first is logged, then at most one every ten seconds. Pure.
//!
//! Lines that are held back are not counted in the log; the metrics count what they are about. Each kind of line needs
//! a throttle of its own, or one would hide another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The shortest time between two lines, in seconds.
const INTERVAL_S: u64 = 10;

/// The throttle of one log line. All threads share it, without a lock.
pub(crate) struct LogThrottle {
    /// Time zero of `next_s`, so that an instant fits an atomic number.
    epoch: Instant,
    /// When the next line may be logged, in seconds after `epoch`.
    next_s: AtomicU64,
}

impl LogThrottle {
    /// A throttle that lets the first line pass. Time counts from `epoch`, in whole seconds, so the interval may be up
    /// to a second shorter than ten.
    pub(crate) fn new(epoch: Instant) -> Self {
        let next_s = AtomicU64::new(0);
        Self { epoch, next_s }
    }

    /// Claims the right to log now. Of all threads that call this while a line is due, one gets `true`, and must log.
    pub(crate) fn claim(&self, now: Instant) -> bool {
        let now_s = now.saturating_duration_since(self.epoch).as_secs();
        let due_s = self.next_s.load(Ordering::Relaxed);
        let next_s = now_s + INTERVAL_S;
        let claim = || {
            self.next_s
                .compare_exchange(due_s, next_s, Ordering::Relaxed, Ordering::Relaxed)
        };
        now_s >= due_s && claim().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_passes_at_once_and_then_every_ten_seconds() {
        let epoch = Instant::now();
        let throttle = LogThrottle::new(epoch);
        let claimed_s: Vec<u64> = (0..35_000)
            .filter(|ms| throttle.claim(epoch + Duration::from_millis(*ms)))
            .map(|ms| ms / 1000)
            .collect();
        assert_eq!(claimed_s, [0, 10, 20, 30]);
    }
}
