use rl_tests::{History, Sentinels, wait_for_calls};

#[derive(Clone, Copy, Debug)]
enum Failover {
    Command,
    Kill,
    /// The link to the replicas is cut before the keys are used, and then the primary is killed.
    CutAndKill,
    /// The link is cut while the keys are in use, and then the primary is killed.
    CutUnderLoad,
}

/// Fails over under load, and checks the recorded history. No key from `first` on was used before.
fn fail_over(sentinels: &Sentinels, first: u64, how: Failover) {
    let keys = [0, 2, 4, 6, 14, 1].map(|kind| first + kind);
    let connect = |_| sentinels.connect();
    let _ = sentinels.at_rest();
    if let Failover::CutAndKill = how {
        sentinels.cut();
    }
    let history = History::record(&keys, connect, || {
        wait_for_calls(&keys, 40, connect);
        if let Failover::CutUnderLoad = how {
            sentinels.cut();
            wait_for_calls(&keys, 40, connect);
        }
        match how {
            Failover::Command => sentinels.fail_over(),
            _ => sentinels.kill(),
        }
        wait_for_calls(&keys, 40, connect);
    });
    history.check();
    let is_cut = matches!(how, Failover::CutAndKill | Failover::CutUnderLoad);
    history.check_overshoots(&format!("Sentinel, {how:?}"), is_cut);
}

#[test]
fn a_sentinel_failover_admits_at_most_what_was_lost() {
    fail_over(&Sentinels::start(), 0, Failover::CutUnderLoad);
}

#[test]
#[ignore = "make test-full"]
fn twelve_sentinel_failovers_admit_at_most_what_was_lost() {
    let sentinels = Sentinels::start();
    for round in 0..3 {
        for how in [
            Failover::Command,
            Failover::Kill,
            Failover::CutAndKill,
            Failover::CutUnderLoad,
        ] {
            fail_over(&sentinels, 16 * (4 * round + how as u64), how);
        }
    }
}
