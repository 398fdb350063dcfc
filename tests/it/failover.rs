use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use rl_tests::{By, Cluster, Figures, HttpServer, Load, RedisServer, Sentinels, Told, callers};

/// No failover happens by itself.
const NEVER_MS: u32 = 60_000;

/// A primary that is silent for so long is failed over.
const SOON_MS: u32 = 1500;

/// Of which no token comes back while a test runs. So many callers have used theirs up when it ends.
const BURST: usize = 500;
const POLICY: [&str; 4] = ["-rate", "1/1000d", "-burst", "500"];

/// P9's deadline, and for how long an answer may take on a machine that is busy with other things.
const DEADLINE: &str = "50ms";
const AT_LAST: Duration = Duration::from_secs(5);

/// The caller's bucket.
fn key(caller: Ipv4Addr) -> String {
    format!("rl:token:{caller}")
}

fn start(address: &str) -> HttpServer {
    HttpServer::start(&[&["-redis", address, "-deadline", DEADLINE], &POLICY[..]].concat())
}

/// Tokens that Redis has given each caller.
fn admitted(told: &[Told]) -> BTreeMap<Ipv4Addr, usize> {
    let mut admitted = BTreeMap::new();
    for told in told
        .iter()
        .filter(|told| told.by == By::Redis && told.status == 200)
    {
        *admitted.entry(told.caller).or_default() += 1;
    }
    admitted
}

/// Checks what was told while a primary was killed: P9, and P8's bound for what a failover forgets, which is what was taken.
fn check(what: &str, told: &[Told]) {
    let slow: Vec<_> = told.iter().filter(|told| told.took > AT_LAST).collect();
    assert!(slow.is_empty(), "{slow:?}");
    let above = |admitted: usize| admitted.saturating_sub(BURST);
    let most = admitted(told)
        .into_values()
        .map(above)
        .max()
        .unwrap_or_default();
    println!(
        "{what}: {}; at most {most} of {BURST} tokens on top",
        Figures::of(told)
    );
    assert!(most <= BURST, "{most} tokens on top of {BURST}");
    assert!(told.iter().all(|told| told.by != By::Itself));
}

/// Kills a primary of a cluster; with `cut` its replica has heard nothing of it since some call.
fn kill_in_cluster(cut: bool) {
    let cluster = Cluster::start(SOON_MS);
    let node = cluster.nodes()[4].port();
    let http = start(&format!("redis-cluster://127.0.0.1:{node}"));
    let callers = callers(20);
    let told = Load::on(&http, "/token", &callers, |load| {
        load.wait_for(By::Redis, 500);
        if cut {
            cluster.cut(0);
            load.wait_for(By::Redis, 500);
        }
        cluster.kill(0);
        load.wait_for(By::Redis, 500);
        load.wait_for_denied(callers.len());
    });
    check(&format!("cluster, cut: {cut}"), &told);
    let killed: HashSet<Ipv4Addr> = callers
        .iter()
        .copied()
        .filter(|caller| cluster.shard_of_key(&key(*caller)) == 0)
        .collect();
    let (killed, others): (Vec<Told>, Vec<Told>) = told
        .into_iter()
        .partition(|told| killed.contains(&told.caller));
    println!(
        "cluster, callers of the killed primary: {}",
        Figures::of(&killed)
    );
    println!("cluster, callers of the others: {}", Figures::of(&others));
    assert!(!killed.is_empty() && !others.is_empty());
}

/// Kills the primary that Sentinels watch; with `cut` its replicas have heard nothing of it since some call.
fn kill_under_sentinels(cut: bool) {
    let sentinels = Sentinels::start();
    let hosts = sentinels
        .ports()
        .map(|port| format!("127.0.0.1:{port}"))
        .join(",");
    let http = start(&format!("redis-sentinel://{hosts}/rl"));
    let callers = callers(8);
    let told = Load::on(&http, "/token", &callers, |load| {
        load.wait_for(By::Redis, 500);
        if cut {
            sentinels.cut();
            load.wait_for(By::Redis, 500);
        }
        sentinels.kill();
        load.wait_for(By::Redis, 500);
        load.wait_for_denied(callers.len());
    });
    check(&format!("Sentinel, cut: {cut}"), &told);
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

/// While a slot moves, its node sends some calls on by ASK, and after that by MOVED: each is made, and once.
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
    let told = Load::on(&http, "/token", &caller, |load| {
        for _ in 0..3 {
            let from = cluster.who_serves(slot);
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
        told.iter().all(|told| told.by == By::Redis),
        "{}",
        Figures::of(&told)
    );
    assert_eq!(admitted(&told).into_values().sum::<usize>(), BURST);
    let asked = |node: &RedisServer| node.connect().info("commandstats", "cmdstat_asking");
    let asked = cluster.nodes().iter().filter_map(asked);
    assert!(asked.count() > 0, "no call was sent on by ASK");
}
