use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use rl_tests::{
    By, Cluster, Figures, HttpServer, Load, RedisServer, Sentinels, TimedAnswer, callers,
};

/// No failover happens by itself in this time.
const NEVER_MS: u32 = 60_000;

/// A primary that does not answer for this time is failed over.
const SOON_MS: u32 = 1500;

/// No token is refilled while a test runs, and every caller uses up its burst.
const BURST: usize = 500;
const POLICY: [&str; 4] = ["-rate", "1/1000d", "-burst", "500"];

/// P9's deadline, and the maximum time of an answer on a busy machine.
const DEADLINE: &str = "50ms";
const MAX_TIME: Duration = Duration::from_secs(5);

/// The key of a caller's bucket.
fn key(caller: Ipv4Addr) -> String {
    format!("rl:token:{caller}")
}

fn start(address: &str) -> HttpServer {
    HttpServer::start(&[&["-redis", address, "-deadline", DEADLINE], &POLICY[..]].concat())
}

/// The tokens that Redis has admitted for each caller.
fn admitted(answers: &[TimedAnswer]) -> BTreeMap<Ipv4Addr, usize> {
    let mut admitted = BTreeMap::new();
    for answer in answers
        .iter()
        .filter(|answer| answer.by == By::Redis && answer.status == 200)
    {
        *admitted.entry(answer.caller).or_default() += 1;
    }
    admitted
}

/// Checks the answers while a primary was killed: P9, and P8's bound. A failover can lose at most a full burst of each
/// caller.
fn check(what: &str, answers: &[TimedAnswer]) {
    let slow: Vec<_> = answers
        .iter()
        .filter(|answer| answer.took > MAX_TIME)
        .collect();
    assert!(slow.is_empty(), "{slow:?}");
    let above = |admitted: usize| admitted.saturating_sub(BURST);
    let max = admitted(answers)
        .into_values()
        .map(above)
        .max()
        .unwrap_or_default();
    println!(
        "{what}: {}; at most {max} tokens above the burst of {BURST}",
        Figures::of(answers)
    );
    assert!(max <= BURST, "{max} tokens above {BURST}");
    assert!(answers.iter().all(|answer| answer.by != By::Itself));
}

/// Kills a primary of a cluster; with `cut` its replica is missing the latest calls.
fn kill_in_cluster(cut: bool) {
    let cluster = Cluster::start(SOON_MS);
    let node = cluster.nodes()[4].port();
    let http = start(&format!("redis-cluster://127.0.0.1:{node}"));
    let callers = callers(20);
    let answers = Load::on(&http, "/token", &callers, |load| {
        load.wait_for(By::Redis, 500);
        if cut {
            cluster.cut(0);
            load.wait_for(By::Redis, 500);
        }
        cluster.kill(0);
        load.wait_for(By::Redis, 500);
        load.wait_for_denied(callers.len());
    });
    check(&format!("cluster, cut: {cut}"), &answers);
    let killed: HashSet<Ipv4Addr> = callers
        .iter()
        .copied()
        .filter(|caller| cluster.shard_of_key(&key(*caller)) == 0)
        .collect();
    let (killed, others): (Vec<TimedAnswer>, Vec<TimedAnswer>) = answers
        .into_iter()
        .partition(|answer| killed.contains(&answer.caller));
    println!(
        "cluster, callers of the killed primary: {}",
        Figures::of(&killed)
    );
    println!("cluster, callers of the others: {}", Figures::of(&others));
    assert!(!killed.is_empty() && !others.is_empty());
}

/// Kills the primary that Sentinels monitor; with `cut` its replicas are missing the latest calls.
fn kill_under_sentinels(cut: bool) {
    let sentinels = Sentinels::start();
    let hosts = sentinels
        .ports()
        .map(|port| format!("127.0.0.1:{port}"))
        .join(",");
    let http = start(&format!("redis-sentinel://{hosts}/rl"));
    let callers = callers(8);
    let answers = Load::on(&http, "/token", &callers, |load| {
        load.wait_for(By::Redis, 500);
        if cut {
            sentinels.cut();
            load.wait_for(By::Redis, 500);
        }
        sentinels.kill();
        load.wait_for(By::Redis, 500);
        load.wait_for_denied(callers.len());
    });
    check(&format!("Sentinel, cut: {cut}"), &answers);
}

#[test]
fn a_primary_of_a_cluster_is_killed_under_load() {
    kill_in_cluster(false);
}

#[test]
fn a_primary_under_sentinels_is_killed_under_load() {
    kill_under_sentinels(false);
}

#[test]
#[ignore = "make test-full"]
fn primaries_are_killed_with_calls_not_yet_replicated() {
    kill_in_cluster(true);
    kill_under_sentinels(true);
}

/// While a slot moves, its node redirects some calls by ASK, and later by MOVED. Each call must be made exactly once.
#[test]
fn requests_are_decided_once_while_their_slot_moves() {
    let cluster = Cluster::start(NEVER_MS);
    let node = cluster.nodes()[0].port();
    let http = HttpServer::start(
        &[
            &["-redis", &format!("redis-cluster://127.0.0.1:{node}")],
            &POLICY[..],
        ]
        .concat(),
    );
    let caller = callers(1);
    let slot = cluster.slot_of_key(&key(caller[0]));
    let answers = Load::on(&http, "/token", &caller, |load| {
        for _ in 0..3 {
            let from = cluster.primary_of_slot(slot);
            let to = (0..3).map(|shard| cluster.at_rest(shard)[0]);
            let to = to
                .into_iter()
                .find(|to| to.port() != from.port())
                .expect("another");
            load.wait_for(By::Redis, 20);
            cluster.move_slot(slot, from, to, || load.wait_for(By::Redis, 20));
            load.wait_for(By::Redis, 20);
        }
        load.wait_for_denied(1);
    });
    assert!(
        answers.iter().all(|answer| answer.by == By::Redis),
        "{}",
        Figures::of(&answers)
    );
    assert_eq!(admitted(&answers).into_values().sum::<usize>(), BURST);
    let asking = |node: &RedisServer| node.connect().info("commandstats", "cmdstat_asking");
    let asking = cluster.nodes().iter().filter_map(asking);
    assert!(asking.count() > 0, "no call was redirected by ASK");
}
