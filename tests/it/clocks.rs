//! Limits while clocks step. The tests compare recorded instants, so that a pause of the machine does not fail them
//! unless it is as long as an hour.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use rl_tests::{FakedClock, History, Redis, RedisServer, Stored, eventually, wait_for_calls};

const KEYS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3600 * SECOND_US;
const DAY_US: i64 = 24 * HOUR_US;
const STEPS_US: [i64; 3] = [1000, SECOND_US, HOUR_US];

#[test]
fn a_history_with_a_clock_that_steps_keeps_the_promises() {
    let Some(mut clock) = FakedClock::new(0) else {
        return;
    };
    let server = clock.start(&[]);
    let history = History::of(&server, &KEYS, || {
        let mut redis = server.connect();
        for step_us in STEPS_US {
            for by_us in [step_us, -step_us, -step_us, step_us] {
                wait_for_calls(&KEYS, 30, |_| Some(server.connect()));
                clock.step(by_us, &mut redis);
            }
        }
        wait_for_calls(&KEYS, 30, |_| Some(server.connect()));
    });
    history.check();
    assert!(history.calls() > 3000, "{}", history.calls());
}

/// From an AOF and from an RDB. A bucket that refills completely during the downtime is gone.
#[test]
fn an_hour_of_downtime_refills_exactly_an_hour() {
    for aof in ["yes", "no"] {
        let Some(mut clock) = FakedClock::new(0) else {
            return;
        };
        let server = clock.start(&["--appendonly", aof, "--appendfsync", "always"]);
        let mut redis = server.connect();
        redis.limit("RL.TOKEN short 100/h 50 COST 50");
        let all = Seen::call(&mut redis, "RL.TOKEN k 7/h 50 COST 50");
        if aof == "no" {
            redis.value("SAVE");
        }
        server.kill();
        clock.set(HOUR_US);
        clock.restart(&server);
        let mut redis = server.connect();
        assert_eq!(redis.line::<i64>("EXISTS short"), 0);
        let partial = Seen::call(&mut redis, "RL.TOKEN k 7/h 50 COST 50 PARTIAL");
        partial.assert_took(partial.reply[0].into(), &all);
        assert!(partial.reply[0] >= 7, "{partial:?}");
        // The hour and the time that the restart took.
        let down_us = partial.updated_us() - all.updated_us();
        assert_eq!(partial.reply[0], 7 * down_us / HOUR_US);
    }
}

#[test]
fn a_history_with_an_hour_of_downtime_keeps_the_promises() {
    let Some(mut clock) = FakedClock::new(0) else {
        return;
    };
    let server = clock.start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let wait = || wait_for_calls(&KEYS, 30, |_| Some(server.connect()));
    let history = History::of(&server, &KEYS, || {
        for hours in 1..4 {
            wait();
            server.kill();
            clock.set(hours * HOUR_US);
            clock.restart(&server);
        }
        wait();
    });
    history.check();
    assert!(history.calls() > 900, "{}", history.calls());
}

/// A call on key `k` with its reply, the bucket after it, and the server's clock before and after it, which is the same
/// from Redis 7.2 on.
#[derive(Debug)]
struct Seen {
    reply: Vec<i64>,
    stored: Stored,
    deadline_ms: i64,
    clock_us: RangeInclusive<i64>,
}

impl Seen {
    fn call(redis: &mut Redis, line: &str) -> Self {
        let (before, reply, bytes, deadline_ms, after): ((i64, i64), _, Vec<u8>, _, (i64, i64)) =
            redis
                .try_transaction(&["TIME", line, "GET k", "PEXPIRETIME k", "TIME"])
                .expect("a reply and a key");
        let us = |(seconds, micros)| seconds * SECOND_US + micros;
        Self {
            reply,
            stored: Stored::read(&bytes),
            deadline_ms,
            clock_us: us(before)..=us(after),
        }
    }

    fn updated_us(&self) -> i64 {
        self.stored.updated_us.cast_signed()
    }

    /// Checks that the call took `tokens`, after a refill since `before` up to the instant of the call: that of
    /// `before`, or the clock if it is later.
    fn assert_took(&self, tokens: i128, before: &Self) {
        let (old, new) = (before.stored, self.stored);
        let now_us = self.updated_us();
        if now_us != before.updated_us() {
            assert!(self.clock_us.contains(&now_us), "{self:?} after {before:?}");
        }
        assert!(now_us >= before.updated_us(), "{self:?} after {before:?}");
        assert!(
            now_us >= *self.clock_us.start(),
            "{self:?} after {before:?}"
        );
        let refilled = u128::from(old.count) * u128::from(new.updated_us - old.updated_us);
        let used =
            old.used.saturating_sub(refilled).cast_signed() + tokens * i128::from(new.period_us);
        assert_eq!(new.used.cast_signed(), used, "{self:?} after {before:?}");
        assert!(new.may_live_until(self.deadline_ms), "{self:?}");
    }

    /// Checks that a denied call changed nothing, and that its wait ends exactly at `until_us`.
    fn assert_denied_until(&self, until_us: i64, before: &Self) {
        assert_eq!(
            (self.stored, self.deadline_ms),
            (before.stored, before.deadline_ms)
        );
        let wait_ms = |now_us| (until_us - now_us + 999) / 1000;
        let waits_ms = wait_ms(self.clock_us.end())..=wait_ms(self.clock_us.start());
        assert!(
            self.reply[0] == 0 && waits_ms.contains(&self.reply[3]),
            "{self:?} until {until_us}"
        );
    }
}

#[test]
fn after_a_step_back_calls_take_and_refund_at_the_later_instant() {
    for step_us in STEPS_US {
        let Some(mut clock) = FakedClock::new(0) else {
            return;
        };
        let server = clock.start(&[]);
        let mut redis = server.connect();
        let first = Seen::call(&mut redis, "RL.TOKEN k 1/d 20 COST 9");
        clock.step(-step_us, &mut redis);
        let took = Seen::call(&mut redis, "RL.TOKEN k 1/d 20 COST 10");
        took.assert_took(10, &first);
        assert_eq!(took.reply[..4], [1, 20, 1, 0]);
        let refunded = Seen::call(&mut redis, "RL.TOKEN k 1/d 20 REFUND 4");
        refunded.assert_took(-4, &took);
        assert_eq!(refunded.reply[..4], [1, 20, 5, 0]);
        let denied = Seen::call(&mut redis, "RL.TOKEN k 1/d 20 COST 12");
        let missing_us = i64::try_from(refunded.stored.used).expect("an i64") - 8 * DAY_US;
        denied.assert_denied_until(refunded.updated_us() + missing_us, &refunded);
        // The wait counts from the clock after the step.
        clock.step(1000 * denied.reply[3] - HOUR_US, &mut redis);
        let denied = Seen::call(&mut redis, "RL.TOKEN k 1/d 20 COST 12");
        denied.assert_denied_until(refunded.updated_us() + missing_us, &refunded);
        clock.step(1000 * denied.reply[3], &mut redis);
        Seen::call(&mut redis, "RL.TOKEN k 1/d 20 COST 12").assert_took(12, &refunded);
    }
}

#[test]
fn only_a_step_back_longer_than_a_full_refill_moves_the_bucket() {
    let Some(mut clock) = FakedClock::new(0) else {
        return;
    };
    let server = clock.start(&[]);
    let mut redis = server.connect();
    let full = Seen::call(&mut redis, "RL.TOKEN k 1/h 4 COST 4");
    clock.step(-3 * HOUR_US, &mut redis);
    let kept = Seen::call(&mut redis, "RL.TOKEN k 1/h 4 COST 4");
    kept.assert_denied_until(full.updated_us() + 4 * HOUR_US, &full);
    clock.step(-2 * HOUR_US, &mut redis);
    let taken = Seen::call(&mut redis, "RL.TOKEN k 1/h 4 COST 4");
    assert!(taken.clock_us.contains(&taken.updated_us()), "{taken:?}");
    assert_eq!(taken.stored.used, full.stored.used);
    assert_eq!(taken.reply[..4], [0, 4, 0, 4 * 3_600_000]);
    clock.step(2 * HOUR_US, &mut redis);
    let passed = Seen::call(&mut redis, "RL.TOKEN k 1/h 4 COST 2");
    passed.assert_took(2, &taken);
    assert_eq!(passed.reply[0], 1);
}

#[test]
fn a_step_forward_refills_at_the_rate_and_at_most_to_full() {
    const TAKE_ALL: &str = "RL.TOKEN k 100000/s 1000000000 COST 2000000000 PARTIAL";
    for step_us in STEPS_US {
        let Some(mut clock) = FakedClock::new(0) else {
            return;
        };
        let server = clock.start(&[]);
        let mut redis = server.connect();
        let all = Seen::call(&mut redis, TAKE_ALL);
        assert_eq!(all.reply[..3], [1_000_000_000, 1_000_000_000, 0]);
        clock.step(step_us, &mut redis);
        let refilled = Seen::call(&mut redis, TAKE_ALL);
        refilled.assert_took(refilled.reply[0].into(), &all);
        assert!(refilled.reply[0] >= (step_us - 500) / 10, "{refilled:?}");
        assert_eq!(refilled.reply[2], 0);
        clock.step(100 * HOUR_US, &mut redis);
        assert_eq!(Seen::call(&mut redis, TAKE_ALL).reply[..3], all.reply[..3]);
    }
}

/// A primary with the machine's clock, and a replica with `clock`.
fn pair(clock: &FakedClock) -> (RedisServer, RedisServer) {
    let primary = RedisServer::start_on_tcp(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let replica = clock.start(&["--replicaof", &format!("127.0.0.1 {port}")]);
    eventually("the link to the primary", || {
        (replica
            .connect()
            .info("replication", "master_link_status")?
            == "up")
            .then_some(())
    });
    (primary, replica)
}

/// Promotes the replica, once it has the same key as the primary.
fn promote(primary: &mut Redis, replica: &mut Redis) {
    eventually("the key to arrive", || replica.stored("k").0);
    assert_eq!(replica.stored("k"), primary.stored("k"));
    replica.value("REPLICAOF NO ONE");
}

/// The extra tokens are what the rate refills in the difference of the clocks.
#[test]
fn a_promoted_replica_5_s_ahead_admits_5_s_of_the_rate_more() {
    let Some(clock) = FakedClock::new(5 * SECOND_US) else {
        return;
    };
    let (primary, replica) = pair(&clock);
    let (mut old, mut new) = (primary.connect(), replica.connect());
    let line = "RL.TOKEN k 1000/s 1000000 COST 1000000";
    let all = Seen::call(&mut old, line);
    assert_eq!(all.reply[..3], [1, 1_000_000, 0]);
    promote(&mut old, &mut new);
    let more = Seen::call(&mut new, &format!("{line} PARTIAL"));
    let passed_us = old.time_us() - all.updated_us();
    more.assert_took(more.reply[0].into(), &all);
    let bounds = 4999..=(passed_us + 5 * SECOND_US) / 1000;
    assert!(bounds.contains(&more.reply[0]), "{bounds:?} {more:?}");
}

#[test]
fn a_promoted_replica_5_s_behind_refills_nothing_in_those_5_s() {
    let Some(mut clock) = FakedClock::new(-5 * SECOND_US) else {
        return;
    };
    let (primary, replica) = pair(&clock);
    let (mut old, mut new) = (primary.connect(), replica.connect());
    let all = Seen::call(&mut old, "RL.TOKEN k 1/d 20 COST 20");
    promote(&mut old, &mut new);
    for line in ["RL.TOKEN k 1/d 20", "RL.TOKEN k 1/d 20 COST 5 PARTIAL"] {
        Seen::call(&mut new, line).assert_denied_until(all.updated_us() + DAY_US, &all);
    }
    clock.step(5 * SECOND_US, &mut new);
    let denied = Seen::call(&mut new, "RL.TOKEN k 1/d 20");
    denied.assert_denied_until(all.updated_us() + DAY_US, &all);
    clock.step(1000 * denied.reply[3], &mut new);
    Seen::call(&mut new, "RL.TOKEN k 1/d 20").assert_took(1, &all);
}

#[test]
fn a_promotion_with_clocks_5_s_apart_admits_at_most_the_bound() {
    const KEYS: [u64; 6] = [0, 2, 4, 6, 14, 1];
    for ahead_us in [5 * SECOND_US, -5 * SECOND_US] {
        let Some(clock) = FakedClock::new(ahead_us) else {
            return;
        };
        let (primary, replica) = pair(&clock);
        let is_promoted = AtomicBool::new(false);
        let connect = |_| {
            let is_promoted = is_promoted.load(Ordering::Relaxed);
            if is_promoted { &replica } else { &primary }.try_connect()
        };
        let history = History::record(&KEYS, connect, || {
            wait_for_calls(&KEYS, 100, connect);
            primary.kill();
            replica.connect().value("REPLICAOF NO ONE");
            is_promoted.store(true, Ordering::Relaxed);
            wait_for_calls(&KEYS, 100, connect);
        });
        history.check();
        let history = history.with_clock_ahead(replica.port(), ahead_us);
        history.check_overshoots(&format!("clock {ahead_us} us ahead"), false);
    }
}
