//! Counts the calls and replies of one connection, and finds out why a call timed out. Pure.
//!
//! A call times out for one of two reasons, which lead to opposite conclusions. Either Redis is silent: no reply
//! arrived while calls waited. It then counts as gone, and `-on-outage` applies. Or Redis replies, but its queue is
//! longer than the deadline, or this process itself is late. The request is then rejected as overload, and nothing
//! follows about Redis.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Redis counts as gone after this many silent time-outs without a reply between them. One slow command of another
/// client can cause a few.
pub(super) const MAX_TIMEOUTS: u32 = 5;

/// A timer that fires this late shows that the process is too busy to run its tasks. Shorter delays are normal
/// scheduling.
///
/// It matters for deadlines below 20 ms only: half of any other is longer.
const MIN_LATENESS: Duration = Duration::from_millis(10);

/// The counters of one connection. All threads update them.
///
/// The counts are not updated together, so a thread may see one of two related changes. That can turn one time-out into
/// another kind, which is tolerable: no single one closes the connection.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Time zero of the instants below, which are kept as microseconds so that they can be atomic.
    opened: Instant,
    /// Redis is silent if no reply arrives for this long while a call waits. Half the deadline.
    patience: Duration,
    /// The number of calls that were sent, those that timed out included.
    sent: AtomicU64,
    /// The number of the latest call with a reply. Redis replies in order, so all calls before it have one too.
    answered: AtomicU64,
    /// When the last reply arrived, in microseconds after `opened`.
    last_reply_us: AtomicU64,
    /// Silent time-outs since the last reply.
    silent_timeouts: AtomicU32,
    /// When the first of them happened, in microseconds after `opened`.
    first_timeout_us: AtomicU64,
}

/// Why a call had no reply by its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// This process noticed the deadline too late to tell. The caller waits a little longer and asks again.
    Late,
    /// Other calls had replies, so the queue of Redis is longer than the deadline. Overload.
    Queued,
    /// No reply to any call arrived for at least half the deadline while this one waited. Redis may be gone; this call
    /// alone does not show it.
    Silent,
    /// Silent, [`MAX_TIMEOUTS`] times in a row, and for two deadlines: Redis counts as gone.
    Gone,
}

impl Traffic {
    /// The counters of a new connection whose calls wait for `deadline`. `opened` must not be after the first call.
    pub(super) fn new(deadline: Duration, opened: Instant) -> Self {
        Self {
            opened,
            patience: deadline / 2,
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            last_reply_us: AtomicU64::new(0),
            silent_timeouts: AtomicU32::new(0),
            first_timeout_us: AtomicU64::new(0),
        }
    }

    /// Counts a call that is about to be sent, and returns its number, from 1.
    pub(super) fn send(&self) -> u64 {
        self.sent.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of calls without a reply. A call that timed out counts until a later call has a reply.
    pub(super) fn unanswered(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(answered)
    }

    /// The number of calls that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How long no reply may arrive while a call waits, half the deadline. A [`Timeout::Late`] call gets that much
    /// more time.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Records the reply to the call with this number. An error reply counts too: it shows that Redis is there.
    ///
    /// Returns how many calls this reply answers: this one and those before it, less those that are answered already.
    pub(super) fn reply(&self, call: u64, now: Instant) -> u64 {
        let before = self.answered.fetch_max(call, Ordering::Relaxed);
        self.last_reply_us.store(self.us(now), Ordering::Relaxed);
        // Reading first avoids a write to memory that all threads share.
        if self.silent_timeouts.load(Ordering::Relaxed) != 0 {
            self.silent_timeouts.store(0, Ordering::Relaxed);
        }
        call.saturating_sub(before)
    }

    /// Finds out why a call that was sent at `sent` had no reply at `deadline`. `now` is when this process noticed.
    ///
    /// Call it once for each time-out: a silent one is counted.
    ///
    /// | condition, checked in this order | result |
    /// |---|---|
    /// | `now` is later than `deadline` by at least half a deadline and 10 ms | [`Timeout::Late`] |
    /// | this call was sent, or any call had a reply, less than half a deadline ago | [`Timeout::Queued`] |
    /// | at least the fifth in a row, the first of them at least two deadlines ago | [`Timeout::Gone`] |
    /// | otherwise | [`Timeout::Silent`] |
    pub(super) fn time_out(&self, sent: Instant, deadline: Instant, now: Instant) -> Timeout {
        let late = now.saturating_duration_since(deadline);
        if late >= self.patience.max(MIN_LATENESS) {
            return Timeout::Late;
        }
        let quiet_since_us = self
            .us(sent)
            .max(self.last_reply_us.load(Ordering::Relaxed));
        let quiet_us = self.us(now).saturating_sub(quiet_since_us);
        if Duration::from_micros(quiet_us) < self.patience {
            return Timeout::Queued;
        }
        let timeouts = self.silent_timeouts.fetch_add(1, Ordering::Relaxed) + 1;
        if timeouts == 1 {
            self.first_timeout_us.store(self.us(now), Ordering::Relaxed);
        }
        match timeouts >= MAX_TIMEOUTS && self.has_been_silent(now) {
            true => Timeout::Gone,
            false => Timeout::Silent,
        }
    }

    /// Whether the first time-out is as long ago as two calls wait. In a flood many calls time out at the same moment,
    /// so that their number alone would turn a short stall of Redis into an outage.
    fn has_been_silent(&self, now: Instant) -> bool {
        let first_us = self.first_timeout_us.load(Ordering::Relaxed);
        let passed_us = self.us(now).saturating_sub(first_us);
        Duration::from_micros(passed_us) >= 4 * self.patience
    }

    /// Microseconds from `opened` to `instant`; 0 for an earlier one.
    fn us(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.opened);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The counters of a connection with a deadline of 50 ms, and when it was opened.
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
    fn a_timeout_while_others_have_replies_is_not_silence() {
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
            "no call waited for half the deadline"
        );
    }

    #[test]
    fn a_timeout_of_a_late_process_does_not_count() {
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
        assert_eq!(traffic.reply(7, opened), 7);
        assert_eq!(traffic.reply(3, opened), 0);
        assert_eq!(traffic.unanswered(), 2);
    }
}
