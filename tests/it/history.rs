use rl_tests::{History, RedisServer, wait_for_calls};

const KEYS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

#[test]
fn a_history_of_many_callers_keeps_the_promises() {
    let server = RedisServer::start();
    let history = History::of(&server, &KEYS, || {
        wait_for_calls(&KEYS, 400, |_| Some(server.connect()));
    });
    history.check();
    assert!(history.calls() > 3000, "{}", history.calls());
}

#[test]
fn a_history_with_kills_and_restarts_keeps_the_promises() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let history = History::of(&server, &KEYS, || {
        for _ in 0..4 {
            wait_for_calls(&KEYS, 50, |_| Some(server.connect()));
            server.kill();
            server.restart();
        }
        wait_for_calls(&KEYS, 50, |_| Some(server.connect()));
    });
    history.check();
    assert!(history.calls() > 1500, "{}", history.calls());
}
