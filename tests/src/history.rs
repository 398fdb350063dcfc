//! Calls of many callers on few keys, recorded as the callers saw them. [`crate::promises`] checks them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use redis::Value;

use crate::connection::time_us;
use crate::lines::{SEEN, lines};
use crate::overshoot::Overshoot;
use crate::plan::{Kind, Plan, Policy, limit_reply};
use crate::{Redis, RedisServer, Stop, Stored, eventually, promises, version};

/// More callers than the server has I/O threads.
const CALLERS: u64 = 6;

/// One call as its caller saw it, between two readings of the server's clock.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Unique among all calls.
    pub(crate) id: u64,
    /// The ids of the calls before it on this key that its server knows, the latest first. Some of them got no reply.
    pub(crate) past: Vec<u64>,
    /// The port of the server that replied; 0 if it listens on its socket only.
    pub(crate) server: String,
    /// How far the clock of this server is ahead of the others'.
    pub(crate) ahead_us: i128,
    pub(crate) kind: Kind,
    /// Shown with a broken promise.
    #[expect(dead_code, reason = "Debug shows it")]
    pub(crate) policy: Policy,
    pub(crate) cost: i128,
    pub(crate) before_us: i128,
    pub(crate) after_us: i128,
    /// The reply; empty if there was no bucket to peek at.
    pub(crate) reply: Vec<i64>,
    pub(crate) bytes: Option<Vec<u8>>,
    /// `None` if the server did not report it exactly.
    pub(crate) deadline_ms: Option<i64>,
}

impl Event {
    fn stored(&self) -> Option<Stored> {
        self.bytes.as_deref().map(Stored::read)
    }

    /// The bucket's instant after the call.
    pub(crate) fn updated_us(&self) -> Option<i128> {
        Some(self.stored()?.updated_us.into())
    }

    /// That instant, if this call may have read it from the clock.
    pub(crate) fn read_us(&self) -> Option<i128> {
        self.updated_us()
            .filter(|at_us| (self.before_us..=self.after_us).contains(at_us))
    }

    /// When the bucket last changed, by the clock of the servers that are not ahead; `None` if it keeps the instant of
    /// an earlier call.
    pub(crate) fn changed_us(&self) -> Option<i128> {
        let shown_us = match self.updated_us() {
            Some(_) => self.read_us()?,
            None => self.after_us,
        };
        Some(shown_us - self.ahead_us)
    }

    /// Whether only these tokens are used in the bucket: it was full (token) or empty (leaky) before the call.
    pub(crate) fn used_alone(&self, tokens: i128) -> bool {
        self.stored().is_none_or(|stored| {
            i128::try_from(stored.used) == Ok(tokens * i128::from(stored.period_us))
        })
    }

    /// The tokens that the call took; below 0 for a refund, which may return fewer.
    pub(crate) fn tokens(&self) -> i128 {
        match self.kind {
            Kind::Force => self.cost,
            Kind::Refund => -self.cost,
            _ => self.admitted(),
        }
    }

    /// The tokens that the call admitted.
    pub(crate) fn admitted(&self) -> i128 {
        match self.kind {
            Kind::Cost | Kind::Multi => self.cost * i128::from(self.reply[0]),
            Kind::Partial => self.reply[0].into(),
            Kind::Force | Kind::Refund | Kind::Peek => 0,
        }
    }
}

/// Makes the call, in one transaction with the ids of the calls before it and the stored bucket after it.
///
/// The first TIME runs outside of the transaction, because all commands of a transaction see the time of its start.
/// Both are sent together, so that a test that steps the clock steps it at most once in between.
fn call(plan: &Plan, (redis, server): &mut (Redis, String)) -> Result<Event, String> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let (id, key) = (CALLS.fetch_add(1, Ordering::Relaxed), plan.key);
    let lines = [
        &format!("LRANGE {{k{key}}}:calls 0 {}", SEEN - 1),
        &format!("LPUSH {{k{key}}}:calls {id}"),
        &plan.line(),
        &format!("GET {{k{key}}}"),
        "TIME",
        &format!("{} {{k{key}}}", version::deadline_command()),
        "TIME",
    ];
    let (before, of_key) = redis.try_transaction_after("TIME", &lines)?;
    let (past, _, reply, bytes, deadline_before, deadline, after): (_, i64, Value, _, _, _, _) =
        of_key;
    let (before_us, deadline_us, after_us) =
        (time_us(before), time_us(deadline_before), time_us(after));
    Ok(Event {
        id,
        past,
        server: server.clone(),
        ahead_us: 0,
        kind: plan.kind,
        policy: plan.policy,
        cost: plan.cost,
        // The clock may have stepped back in between.
        before_us: before_us.min(after_us),
        after_us: before_us.max(after_us),
        reply: limit_reply(plan.kind, reply),
        bytes,
        deadline_ms: version::deadline_ms(deadline, deadline_us, after_us),
    })
}

/// All calls, by key.
#[derive(Debug)]
pub struct History(HashMap<u64, Vec<Event>>);

impl History {
    /// Records calls while `trouble` runs. `connect` returns a connection to the primary of a key; `None` while there
    /// is none. After a failed call a caller connects again.
    pub fn record(
        keys: &[u64],
        connect: impl Fn(u64) -> Option<Redis> + Sync,
        trouble: impl FnOnce(),
    ) -> Self {
        let (stop, connect) = (Stop::default(), &connect);
        let mut all = HashMap::<u64, Vec<Event>>::new();
        thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|seed| {
                    let stop = &stop;
                    scope.spawn(move || record(seed, keys, connect, stop))
                })
                .collect();
            stop.after(trouble);
            for (key, event) in callers
                .into_iter()
                .flat_map(|caller| caller.join().expect("a caller"))
            {
                all.entry(key).or_default().push(event);
            }
        });
        Self(all)
    }

    /// As [`History::record`], on one server. Callers wait while it is down.
    pub fn of(server: &RedisServer, keys: &[u64], trouble: impl FnOnce()) -> Self {
        Self::record(keys, |_| Some(server.connect()), trouble)
    }

    /// Notes that the clock of the server with this port was ahead of the others' by `ahead_us`.
    #[must_use]
    pub fn with_clock_ahead(mut self, port: u16, ahead_us: i64) -> Self {
        let port = port.to_string();
        let events = self.0.values_mut().flatten();
        for event in events.filter(|event| event.server == port) {
            event.ahead_us = ahead_us.into();
        }
        self
    }

    /// The number of calls that got a reply.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Checks P1 to P4 on every line of history, which is what one primary knew.
    ///
    /// # Panics
    ///
    /// At the first call that breaks a promise. The message shows that call and the one before it.
    pub fn check(&self) {
        self.check_lines(false);
    }

    /// As [`History::check`], for keys that MIGRATE may have moved to other servers: MIGRATE does not keep a deadline
    /// to the millisecond.
    pub fn check_by_migrate(&self) {
        self.check_lines(true);
    }

    fn check_lines(&self, by_migrate: bool) {
        for (key, events) in &self.0 {
            for line in lines(events) {
                promises::check(*key, &line, by_migrate);
            }
        }
    }

    /// Checks that failovers admitted no more than P8 allows on any key, and prints what they admitted. `is_cut` says
    /// that something must have been lost.
    ///
    /// # Panics
    ///
    /// If more was admitted, or if nothing was lost and `is_cut` is set.
    pub fn check_overshoots(&self, failover: &str, is_cut: bool) {
        let all = self.overshoots();
        for overshoot in &all {
            println!("{failover:22} | {overshoot}");
        }
        for overshoot in &all {
            assert!(overshoot.tokens <= overshoot.bound(), "{overshoot:?}");
        }
        let lost: i128 = all.iter().map(|overshoot| overshoot.lost).sum();
        assert!(!is_cut || lost > 0, "nothing was lost: {all:?}");
    }

    /// What failovers admitted beyond the limit, for each key with one policy, sorted by policy.
    #[must_use]
    pub fn overshoots(&self) -> Vec<Overshoot> {
        let of_key = |(key, events): (&u64, &Vec<Event>)| Overshoot::of(*key, events);
        let mut all: Vec<_> = self.0.iter().filter_map(of_key).collect();
        all.sort_by_key(|overshoot| overshoot.key % 16);
        all
    }
}

fn record(
    seed: u64,
    keys: &[u64],
    connect: impl Fn(u64) -> Option<Redis>,
    stop: &Stop,
) -> Vec<(u64, Event)> {
    let (mut random, mut events, mut connections) = (seed, Vec::new(), HashMap::new());
    while !stop.is_set() {
        let plan = Plan::next(&mut random, keys);
        let key = plan.key;
        let connection = connections.remove(&key);
        let recorded = connection
            .or_else(|| connect(key).and_then(with_port))
            .and_then(|mut connection| Some((call(&plan, &mut connection).ok()?, connection)));
        // Drops a connection whose call failed.
        if let Some((event, connection)) = recorded {
            events.push((key, event));
            connections.insert(key, connection);
        } else {
            thread::sleep(Duration::from_millis(2));
        }
    }
    events
}

fn with_port(mut redis: Redis) -> Option<(Redis, String)> {
    let port = redis.info("server", "tcp_port")?;
    Some((redis, port))
}

/// Waits for `more` further calls on each of `keys`. `connect` is that of [`History::record`].
pub fn wait_for_calls(keys: &[u64], more: i64, connect: impl Fn(u64) -> Option<Redis>) {
    for &key in keys {
        let mut redis = None;
        let mut calls = || {
            let connection: &mut Redis = match &mut redis {
                Some(connection) => connection,
                None => redis.insert(connect(key)?),
            };
            let calls = connection.try_line(&format!("LLEN {{k{key}}}:calls"));
            calls.inspect_err(|_| redis = None).ok()
        };
        let before: i64 = calls().unwrap_or(0);
        eventually("more calls", || (calls()? >= before + more).then_some(()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Event, History};
    use crate::lines::lines;
    use crate::plan::{Kind, policies};

    /// Forty tokens admitted on a key with a capacity of forty and a refill time of 1000 s. `past` lists the latest
    /// call first.
    fn forty(id: u64, past: &[u64]) -> Event {
        Event {
            id,
            past: past.to_vec(),
            server: "0".to_owned(),
            ahead_us: 0,
            kind: Kind::Cost,
            policy: policies(6)[0],
            cost: 40,
            before_us: id.into(),
            after_us: id.into(),
            reply: vec![1, 40, 0, 0, 0],
            bytes: None,
            deadline_ms: Some(-2),
        }
    }

    fn ids(events: &[Event]) -> Vec<Vec<u64>> {
        let ids = |line: Vec<&Event>| line.iter().map(|event| event.id).collect();
        lines(events).into_iter().map(ids).collect()
    }

    #[test]
    fn an_old_primary_beside_the_new_one_is_a_line_of_its_own() {
        let events = [
            forty(1, &[]),
            forty(2, &[1]),
            forty(3, &[1]),
            forty(4, &[2, 1]),
            forty(5, &[3, 1]),
        ];
        assert_eq!(ids(&events), [[1, 2, 4], [1, 3, 5]]);
    }

    #[test]
    fn a_call_without_a_reply_stays_in_its_line() {
        let events = [forty(1, &[]), forty(3, &[2, 1])];
        assert_eq!(ids(&events), [[1, 3]]);
    }

    #[test]
    fn what_a_lost_call_took_is_the_overshoot_and_its_bound() {
        let of = |events: Vec<Event>| {
            let all = History(HashMap::from([(6, events)])).overshoots();
            let [only] = &all[..] else { panic!("{all:?}") };
            (only.lost, only.unseen, only.tokens)
        };
        assert_eq!(of(vec![forty(1, &[])]), (0, 0, 0));
        assert_eq!(of(vec![forty(1, &[]), forty(2, &[])]), (40, 0, 40));
        assert_eq!(of(vec![forty(1, &[]), forty(3, &[2, 1])]), (0, 10, 40));
    }
}
