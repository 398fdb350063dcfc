use rl_tests::{History, Sentinels, wait_for_calls};

#[derive(Clone, Copy, Debug)]
enum Failover {
    Command,
    Kill,
    /// The primary tells its replicas nothing of the keys before it is killed.
    CutAndKill,
    /// Nor from some call on.
    CutUnderLoad,
}

/// Makes a failover under load, and checks all that was recorded. No key from `first` on was called before.
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
fn a_failover_by_sentinel_under_load_admits_no_more_than_was_lost() {
    fail_over(&Sentinels::start(), 0, Failover::CutUnderLoad);
}

#[test]
#[ignore = "make test-full"]
fn twelve_failovers_by_sentinel_under_load_admit_no_more_than_was_lost() {
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
