use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use rl_tests::{HttpServer, RedisServer, Stored, callers, connect_from, eventually, get};

const BURST: usize = 1500;
const CONNECTIONS: usize = 4;

/// The requests of one caller by outcome.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sent: usize,
    allowed: usize,
    denied: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.allowed += other.allowed;
        self.denied += other.denied;
    }
}

fn key(caller: Ipv4Addr) -> String {
    format!("rl:token:{caller}")
}

/// Sends requests until the server is gone.
fn send_until_the_end(http: &HttpServer, caller: Ipv4Addr, answers: &AtomicUsize) -> Count {
    let mut stream = BufReader::new(connect_from(&caller.to_string(), http.port()));
    let mut count = Count::default();
    loop {
        count.sent += 1;
        let request = b"GET /token HTTP/1.1\r\nHost: test\r\n\r\n";
        if stream.get_mut().write_all(request).is_err() {
            return count;
        }
        match status(&mut stream) {
            Some(200) => count.allowed += 1,
            Some(429) => count.denied += 1,
            Some(status) => panic!("{status}"),
            None => return count,
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads an answer and returns its status; `None` if the connection ends before its first line is complete.
fn status(stream: &mut impl BufRead) -> Option<u16> {
    let mut first = String::new();
    stream
        .read_line(&mut first)
        .ok()
        .filter(|_| first.ends_with('\n'))?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(number) = line.strip_prefix("content-length: ") {
            length = number.trim().parse().expect("a length");
        }
    }
    let _ = stream.read_exact(&mut vec![0; length]);
    first.split(' ').nth(1)?.parse().ok()
}

/// Kills rl-server after `after` answers, while all callers send requests.
fn kill_under_load(
    http: &mut HttpServer,
    callers: &[Ipv4Addr],
    after: usize,
) -> BTreeMap<Ipv4Addr, Count> {
    let answers = AtomicUsize::new(0);
    let mut counts = BTreeMap::<Ipv4Addr, Count>::new();
    thread::scope(|scope| {
        let (answers, server) = (&answers, &*http);
        let all = callers
            .iter()
            .copied()
            .cycle()
            .take(callers.len() * CONNECTIONS);
        let clients: Vec<_> = all
            .map(|caller| {
                (
                    caller,
                    scope.spawn(move || send_until_the_end(server, caller, answers)),
                )
            })
            .collect();
        eventually("answers", || {
            (answers.load(Ordering::Relaxed) >= after).then_some(())
        });
        server.signal(Signal::SIGKILL);
        for (caller, client) in clients {
            let count = client.join().expect("a count");
            counts.entry(caller).or_default().add(count);
        }
    });
    http.exit_code();
    counts
}

/// The tokens that were requested for each key, from the slow log, which contains all calls that Redis has executed.
fn executed(redis: &RedisServer) -> BTreeMap<String, usize> {
    type Entry = (i64, i64, i64, Vec<String>, String, String);
    let log: Vec<Entry> = redis.connect().line("SLOWLOG GET 1000000");
    let mut executed = BTreeMap::new();
    for (.., words, _, _) in log {
        if words[0].eq_ignore_ascii_case("RL.TOKEN") {
            let cost = words.iter().position(|word| word == "COST");
            let cost = cost.map_or(1, |at| words[at + 1].parse().expect("a cost"));
            *executed.entry(words[1].clone()).or_default() += cost;
        }
    }
    executed
}

fn taken(redis: &RedisServer, caller: Ipv4Addr) -> usize {
    let (bytes, deadline_ms) = redis.connect().stored(&key(caller));
    let bytes = bytes.expect("a bucket");
    assert!(Stored::is_valid(&bytes));
    let stored = Stored::read(&bytes);
    assert!(
        stored.may_live_until(deadline_ms),
        "{stored:?} until {deadline_ms}"
    );
    let taken = stored.used.div_ceil(stored.period_us.into());
    usize::try_from(taken).expect("a small number")
}

/// No token is refilled while the test runs.
#[test]
fn a_server_killed_under_load_has_spent_no_token_twice() {
    let redis = RedisServer::start_with(&[
        "--slowlog-log-slower-than",
        "0",
        "--slowlog-max-len",
        "1000000",
    ]);
    let callers = callers(4);
    let address = redis.url();
    let burst = BURST.to_string();
    let mut all = BTreeMap::<Ipv4Addr, Count>::new();
    for round in 0..4 {
        let flags = ["-redis", &address, "-rate", "1/1000d", "-burst", &burst];
        let mut http = HttpServer::start(&flags);
        for caller in callers.iter().filter(|_| round > 0) {
            let before = taken(&redis, *caller);
            let answer = get(
                &mut connect_from(&caller.to_string(), http.port()),
                "/token",
            );
            let count = all.entry(*caller).or_default();
            count.sent += 1;
            let remaining = BURST - (before + 1).min(BURST);
            assert_eq!(
                answer.field("remaining"),
                Some(remaining.to_string().as_str())
            );
            match answer.status {
                200 => count.allowed += 1,
                status => assert_eq!((status, before), (429, BURST)),
            }
        }
        for (caller, count) in kill_under_load(&mut http, &callers, 2000) {
            all.entry(caller).or_default().add(count);
        }
        // Redis executes all calls that the server has sent before it closes the connection.
        eventually("its connection to be gone", || {
            let clients: String = redis.connect().line("CLIENT LIST");
            (clients.lines().count() == 1).then_some(())
        });
        let executed = executed(&redis);
        for (caller, count) in &all {
            let (executed, taken) = (executed[&key(*caller)], taken(&redis, *caller));
            let summary = format!("{caller}: {count:?}, {executed} executed, {taken} taken");
            println!("{summary}");
            assert!(executed <= count.sent, "{summary}");
            assert_eq!(taken, executed.min(BURST), "{summary}");
            assert!(
                count.allowed <= taken && count.allowed + count.denied <= executed,
                "{summary}"
            );
            // Requests whose answers were lost with the server.
            let lost = count.sent - count.allowed - count.denied;
            assert!(taken <= count.allowed + lost, "{summary}");
        }
        let keys: Vec<String> = redis.connect().line("KEYS *");
        let keys: BTreeSet<String> = keys.into_iter().collect();
        assert_eq!(keys, callers.iter().map(|caller| key(*caller)).collect());
    }
    // The callers sent more requests than there were tokens.
    assert!(all.values().any(|count| count.denied > 0), "{all:?}");
}
