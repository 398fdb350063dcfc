use rl_tests::{RedisServer, document, table, version};

mod load;
mod plan;
mod simulation;

use load::{CALLERS, END_US, Load, Random};
use plan::{Constants, hottest_share, shown};
use simulation::{BURST, Caller, Failover, TOKEN_US, run, run_with_deny_cache};

const PAGE: &str = "tests/capacity.md";

/// Checks that the page has this table.
fn assert_in_page(table: &str) {
    let is_there = document(PAGE).contains(table);
    assert!(is_there, "{PAGE} should have\n\n{table}");
}

#[test]
fn the_page_has_the_worked_examples_of_its_constants() {
    assert_in_page(&plan::worked(&Constants::of(&document(PAGE))));
}

#[test]
fn the_page_has_the_bytes_of_a_bucket_of_the_readme() {
    let (constants, readme) = (Constants::of(&document(PAGE)), document("tests/README.md"));
    for (server, name) in [
        ("Redis 7.0.15", "bucket_bytes"),
        ("Redis 8.2.3", "bucket_bytes_8"),
        ("Valkey 9.1.2", "bucket_bytes_valkey"),
    ] {
        let row = format!("| {server} | {} |", constants.get(name));
        assert!(readme.contains(&row), "missing: {row}");
    }
}

/// Redis 6.2 sends MULTI and EXEC, of 29 bytes, with each change.
#[test]
fn a_change_sends_a_replica_the_bytes_that_the_page_has() {
    let primary = RedisServer::start_on_tcp(&[
        "--repl-ping-replica-period",
        "3600",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let replica = RedisServer::start();
    replica.follow(&primary);
    let mut redis = primary.connect();
    let mut offset_after = |calls: u32| -> f64 {
        for _ in 0..calls {
            redis.limit("RL.TOKEN 0123456789abcdef 1000/d 1000");
        }
        let offset = redis.info("replication", "master_repl_offset");
        offset
            .and_then(|text| text.parse().ok())
            .expect("an offset")
    };
    // The first change comes with a SELECT.
    let before = offset_after(1);
    let sent = offset_after(100) - before;
    let multi = if version() < [7, 0] { 29.0 } else { 0.0 };
    let constants = Constants::of(&document(PAGE));
    assert_eq!(sent / 100.0, constants.get("change_bytes") + multi);
}

/// Failovers in milliseconds: how late changes reach the replica, how far its clock is ahead, and how long both servers
/// answer.
const FAILOVERS: [[i64; 3]; 9] = [
    [1, 0, 0],
    [100, 0, 0],
    [1000, 0, 0],
    [10_000, 0, 0],
    [1, 500, 0],
    [1, -500, 0],
    [1, 0, 500],
    [1000, 500, 500],
    [10_000, 500, 500],
];

fn failover([lag_ms, ahead_ms, both_ms]: [i64; 3]) -> Failover {
    let us = |ms| u64::try_from(1000 * ms).expect("not negative");
    Failover {
        at_us: END_US / 2,
        lag_us: us(lag_ms),
        ahead_us: 1000 * ahead_ms,
        both_us: us(both_ms),
    }
}

/// A row of the table: the failover, and in tokens what was lost, what was admitted on top, the most for one caller,
/// and the bound of this caller.
fn row(times_ms: [i64; 3], callers: &[Caller]) -> Vec<String> {
    let tokens = |us: u64| us.div_ceil(TOKEN_US);
    let worst = callers.iter().max_by_key(|caller| caller.over_us);
    let worst = worst.expect("a caller");
    let figures = [
        callers.iter().map(|caller| caller.lost).sum(),
        tokens(callers.iter().map(|caller| caller.over_us).sum()),
        tokens(worst.over_us),
        tokens(worst.bound_us(failover(times_ms))),
    ];
    let times = times_ms.iter().map(ToString::to_string);
    times.chain(figures.map(|n| n.to_string())).collect()
}

#[test]
fn a_failover_admits_at_most_the_bound_of_p8_on_top() {
    let mut rows = Vec::new();
    for times_ms in FAILOVERS {
        let callers = run(failover(times_ms));
        for (n, caller) in callers.iter().enumerate() {
            let bound_us = caller.bound_us(failover(times_ms));
            assert!(
                caller.over_us <= bound_us,
                "{times_ms:?}, caller {n}: {} us of {bound_us}, {} tokens lost",
                caller.over_us,
                caller.lost
            );
        }
        rows.push(row(times_ms, &callers));
    }
    assert_in_page(&table(
        &[
            "lag, ms",
            "clock ahead, ms",
            "both answer, ms",
            "lost",
            "on top",
            "of one caller",
            "its bound",
        ],
        &rows,
    ));
}

/// Otherwise the simulation would find an overshoot where there is none, or none where there is one. The hottest caller
/// calls without a pause: it misses the rate by less than one token.
#[test]
fn without_a_failover_burst_and_rate_are_admitted() {
    let callers = run(Failover {
        at_us: u64::MAX,
        ..failover([0, 0, 0])
    });
    assert!(callers.iter().all(|caller| caller.over_us == 0));
    assert_eq!(callers[0].admitted, BURST + END_US / TOKEN_US - 1);
}

/// The share of all calls that goes to the busiest of so many primaries, over which callers are spread at random.
fn busiest_share(calls: &[u64], primaries: u64) -> f64 {
    let mut loads = vec![0; usize::try_from(primaries).expect("an index")];
    for (caller, calls) in calls.iter().enumerate() {
        let primary = Random(caller as u64).below(primaries);
        loads[usize::try_from(primary).expect("an index")] += calls;
    }
    let (max, sum): (u64, u64) = (*loads.iter().max().expect("a load"), calls.iter().sum());
    max as f64 / sum as f64
}

#[test]
fn one_hot_key_limits_a_cluster_of_any_size() {
    let mut calls = vec![0; CALLERS];
    for call in Load::new() {
        calls[call.caller] += 1;
    }
    let per_core = 1e6 / Constants::of(&document(PAGE)).get("call_us");
    let share = hottest_share(CALLERS as f64);
    let rows = [1, 3, 10, 30, 100, 1000].map(|primaries| {
        let busiest = busiest_share(&calls, primaries);
        assert!(busiest > 0.99 * share, "{primaries}: {busiest} of {share}");
        let thousands = shown(per_core / busiest / 1000.0);
        vec![primaries.to_string(), format!("{busiest:.3}"), thousands]
    });
    assert!(calls[0] as f64 / (calls.iter().sum::<u64>() as f64) < 1.01 * share);
    let head = [
        "primaries",
        "share of the busiest",
        "thousand calls a second at most",
    ];
    assert_in_page(&table(&head, &rows));
}

#[test]
fn with_a_deny_cache_a_hot_key_costs_its_rate_per_server() {
    let rows = [1, 4, 16, 64].map(|servers| {
        let [calls, to_redis, admitted] = run_with_deny_cache(servers);
        assert!(
            to_redis <= admitted * (servers as u64 + 1),
            "{to_redis} of {calls}, {admitted} admitted"
        );
        [servers as u64, calls, to_redis, admitted]
            .map(|n| n.to_string())
            .to_vec()
    });
    let head = ["rl-servers", "calls", "calls of Redis", "admitted"];
    assert_in_page(&table(&head, &rows));
}
