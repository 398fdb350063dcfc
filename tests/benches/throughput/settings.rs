//! Measures the cost of calls with an AOF and with a replica.

use std::collections::BTreeMap;

use rl_tests::{Call, Pipelines, RedisServer};

use crate::{ROUNDS, Rounds, TIME, start};

const SETTINGS: [&str; 3] = ["no AOF, no replica", "AOF", "a replica"];
const CALLS: [&str; 4] = ["incr", "set", "token", "leaky"];

/// Starts a server in a setting, with its replica, if any, on the core of the client. The replica must be kept while
/// the server is measured.
fn start_in(setting: &str) -> (RedisServer, Option<RedisServer>) {
    let args: &[&str] = match setting {
        "AOF" => &["--appendonly", "yes"],
        _ => &["--repl-diskless-sync-delay", "0"],
    };
    let server = start(args);
    let replica = (setting == "a replica").then(RedisServer::start);
    replica.iter().for_each(|replica| replica.follow(&server));
    (server, replica)
}

/// Calls per second on one key, with 64 calls in flight, in each setting.
pub(crate) fn table() -> String {
    let servers = SETTINGS.map(start_in);
    let mut loads = servers.each_ref().map(|(server, _)| Pipelines::on(server));
    let calls: Vec<Call> = Call::all()
        .into_iter()
        .filter(|call| CALLS.contains(&call.name))
        .collect();
    let mut figures: BTreeMap<(&str, usize), Rounds> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for call in &calls {
            for (setting, load) in loads.iter_mut().enumerate() {
                let figure = load.run_for(TIME, call, &[0], 64);
                figures
                    .entry((call.name, setting))
                    .or_default()
                    .0
                    .push(figure);
            }
        }
    }
    let row = |call: &Call| {
        let cells = (0..SETTINGS.len()).map(|setting| figures[&(call.name, setting)].shown());
        [call.title.to_owned()].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = calls.iter().map(row).collect();
    let head = [&["thousand calls a second"], &SETTINGS[..]].concat();
    rl_tests::table(&head, &rows)
}
