//! What the calls over one connection show of the server at its other end: whether it answers, and how far it is behind. Pure.
//!
//! A call that is not answered in time has one of two causes, which lead to opposite conclusions. Either Redis is silent: nothing
//! came over the connection while calls waited. Then it counts as gone, and `-on-outage` applies. Or too much waits in the
//! queue before it, or this process itself is late: then the caller is rejected, and nothing is concluded about Redis.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Timed-out calls in a row, with no reply between them, after which Redis counts as gone. One slow command of
/// another client makes a few.
pub(super) const MAX_TIMEOUTS: u32 = 5;

/// A timer that fires this late says that the process does not get to its tasks. Shorter delays are the scheduler's.
const MIN_LATENESS: Duration = Duration::from_millis(10);

/// The calls over one connection. Many callers count at once.
#[derive(Debug)]
pub(super) struct Traffic {
    opened: Instant,
    /// How long nothing may come while a call waits, before that is silence.
    patience: Duration,
    sent: AtomicU64,
    /// The newest call that was answered. Redis answers in order, so all calls before it are answered too.
    answered: AtomicU64,
    /// When the last reply was seen, in microseconds from `opened`.
    last_reply_us: AtomicU64,
    timeouts: AtomicU32,
    /// When the first of them happened, in microseconds from `opened`.
    first_timeout_us: AtomicU64,
}

/// What follows from a call that was not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// The process got to this task too late to know.
    Late,
    /// Others are answered: the queue is longer than the deadline.
    Queued,
    /// Nothing came while the call waited.
    Silent,
    /// The same, for so many calls in a row and for so long that Redis counts as gone.
    Gone,
}

impl Traffic {
    /// That of a new connection, over which calls wait for `deadline`.
    pub(super) fn new(deadline: Duration, opened: Instant) -> Self {
        Self {
            opened,
            patience: deadline / 2,
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            last_reply_us: AtomicU64::new(0),
            timeouts: AtomicU32::new(0),
            first_timeout_us: AtomicU64::new(0),
        }
    }

    /// Counts a call that is about to be sent, and gives its number.
    pub(super) fn send(&self) -> u64 {
        self.sent.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many calls have no reply yet. Calls that timed out are among them until a later one is answered.
    pub(super) fn unanswered(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(answered)
    }

    /// How many calls were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How long a deadline is extended if the process was late to notice it.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Records the reply to the call of this number.
    pub(super) fn reply(&self, call: u64, now: Instant) {
        self.answered.fetch_max(call, Ordering::Relaxed);
        self.last_reply_us.store(self.us(now), Ordering::Relaxed);
        // No more than a read while all calls are answered.
        if self.timeouts.load(Ordering::Relaxed) != 0 {
            self.timeouts.store(0, Ordering::Relaxed);
        }
    }

    /// Judges a call that was sent at `sent`, and had no reply at `deadline`, which was noticed at `now`.
    pub(super) fn time_out(&self, sent: Instant, deadline: Instant, now: Instant) -> Timeout {
        let late = now.saturating_duration_since(deadline);
        if late >= self.patience.max(MIN_LATENESS) {
            return Timeout::Late;
        }
        let since_us = self
            .us(sent)
            .max(self.last_reply_us.load(Ordering::Relaxed));
        let quiet_us = self.us(now).saturating_sub(since_us);
        if Duration::from_micros(quiet_us) < self.patience {
            return Timeout::Queued;
        }
        let timeouts = self.timeouts.fetch_add(1, Ordering::Relaxed) + 1;
        if timeouts == 1 {
            self.first_timeout_us.store(self.us(now), Ordering::Relaxed);
        }
        match timeouts >= MAX_TIMEOUTS && self.has_been_silent(now) {
            true => Timeout::Gone,
            false => Timeout::Silent,
        }
    }

    /// Whether the first timeout is as long ago as two calls wait. In a flood many calls time out at the same moment, so that their
    /// number alone would turn a short stall of Redis into an outage.
    fn has_been_silent(&self, now: Instant) -> bool {
        let first_us = self.first_timeout_us.load(Ordering::Relaxed);
        let passed_us = self.us(now).saturating_sub(first_us);
        Duration::from_micros(passed_us) >= 4 * self.patience
    }

    fn us(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.opened);
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// That of a connection with a deadline of 50 ms, and when it was opened.
    fn traffic() -> (Traffic, Instant) {
        let opened = Instant::now();
        (Traffic::new(50 * MS, opened), opened)
    }

    #[test]
    fn five_silent_timeouts_in_a_row_mean_gone() {
        let (traffic, opened) = traffic();
        let time_out = |ms| {
            let deadline = opened + ms * MS;
            traffic.time_out(deadline - 50 * MS, deadline, deadline)
        };
        assert_eq!([50, 60, 70, 80].map(time_out), [Timeout::Silent; 4]);
        traffic.reply(1, opened);
        assert_eq!([90, 100, 110, 120].map(time_out), [Timeout::Silent; 4]);
        assert_eq!([190, 200].map(time_out), [Timeout::Gone; 2]);
    }

    #[test]
    fn many_timeouts_at_one_moment_do_not_mean_gone() {
        let (traffic, opened) = traffic();
        let time_out = |ms| traffic.time_out(opened, opened + 50 * MS, opened + ms * MS);
        assert_eq!([(); 99].map(|()| time_out(50)), [Timeout::Silent; 99]);
        let time_out = |ms| {
            let deadline = opened + ms * MS;
            traffic.time_out(deadline - 50 * MS, deadline, deadline)
        };
        assert_eq!([149, 150].map(time_out), [Timeout::Silent, Timeout::Gone]);
    }

    #[test]
    fn a_timeout_while_replies_come_is_no_silence() {
        let (traffic, opened) = traffic();
        for ms in 50..1000 {
            traffic.reply(1, opened + (ms - 24) * MS);
            let deadline = opened + ms * MS;
            let timeout = traffic.time_out(deadline - 50 * MS, deadline, deadline);
            assert_eq!(timeout, Timeout::Queued, "{ms}");
        }
    }

    #[test]
    fn a_connection_without_calls_is_not_silent() {
        let (traffic, opened) = traffic();
        let sent = opened + 3_600_000 * MS;
        let timeout = traffic.time_out(sent, sent + 20 * MS, sent + 20 * MS);
        assert_eq!(
            timeout,
            Timeout::Queued,
            "nobody waited for half the deadline"
        );
    }

    #[test]
    fn a_late_process_concludes_nothing() {
        let (traffic, opened) = traffic();
        let time_out =
            |late: u32| traffic.time_out(opened, opened + 50 * MS, opened + (50 + late) * MS);
        assert_eq!([(); 9].map(|()| time_out(25)), [Timeout::Late; 9]);
        assert_eq!(time_out(24), Timeout::Silent);
    }

    #[test]
    fn a_reply_answers_all_calls_before_it() {
        let (traffic, opened) = traffic();
        let calls = [(); 9].map(|()| traffic.send());
        assert_eq!((calls[8], traffic.unanswered()), (9, 9));
        traffic.reply(7, opened);
        traffic.reply(3, opened);
        assert_eq!(traffic.unanswered(), 2);
    }
}
