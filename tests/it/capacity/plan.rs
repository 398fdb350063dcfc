//! The formulas of `capacity.md`, worked out with the constants in its table.

use std::collections::HashMap;

use rl_tests::table;

/// Requests a second, and the callers that make them.
struct Load {
    requests: f64,
    callers: f64,
}

/// The head of the table, and what its columns are computed for.
const HEAD: [&str; 5] = [
    "",
    "10,000/s, 1 million callers",
    "1 million/s, 100 million",
    "10 million/s, 1 billion",
    "10,000/s, 1 billion",
];
const LOADS: [(f64, f64); 4] = [(1e4, 1e6), (1e6, 1e8), (1e7, 1e9), (1e4, 1e9)];

/// The constants by name, from rows of the page such as ``| `http_us` | 16.4 | ... |``.
pub(super) struct Constants(HashMap<String, f64>);

impl Constants {
    pub(super) fn of(page: &str) -> Self {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let constants = rows.filter_map(|row| {
            let (name, rest) = row.split_once("` | ")?;
            Some((name.to_owned(), rest.split_once(" |")?.0.parse().ok()?))
        });
        Self(constants.collect())
    }

    pub(super) fn get(&self, name: &str) -> f64 {
        let value = self.0.get(name);
        *value.unwrap_or_else(|| panic!("the page has no constant {name}"))
    }

    /// Cores for `load` calls a second that take so many microseconds each.
    fn cores(&self, load: &Load, us: f64) -> f64 {
        (load.requests * us / 1e6 / self.get("core_use")).ceil()
    }

    fn server_cores(&self, load: &Load) -> f64 {
        self.cores(load, self.get("http_us"))
    }

    /// Cores of Redis, if every call is allowed and there is a replica. `us` is the name of the time of a call.
    fn redis_cores(&self, load: &Load, us: &str) -> f64 {
        self.cores(load, self.get(us) + self.get("replica_us"))
    }

    /// Memory in GB, if a used up bucket is full again after `full_s` seconds. `bytes` is the name of the bytes of one.
    fn memory_gb(&self, load: &Load, full_s: f64, bytes: &str) -> f64 {
        let buckets = load.callers.min(load.requests * full_s * 9.0 / 8.0);
        buckets * self.get(bytes) / 1e9
    }

    fn primaries(&self, load: &Load) -> f64 {
        let memory_gb = self.memory_gb(load, DAY_S, "bucket_bytes");
        let for_memory = (memory_gb / self.get("primary_gb")).ceil();
        self.redis_cores(load, "single_us").max(for_memory)
    }
}

const DAY_S: f64 = 86_400.0;

/// The share of the hottest of so many callers by Zipf's law with exponent 1: one over the harmonic number, which is
/// ln n + 0.5772 (Euler's constant) + 1 / 2n.
pub(super) fn hottest_share(callers: f64) -> f64 {
    1.0 / (callers.ln() + 0.577_215_665 + 0.5 / callers)
}

type Formula = fn(&Constants, &Load) -> f64;

const ROWS: [(&str, Formula); 15] = [
    ("cores of rl-server", Constants::server_cores),
    ("HTTP, Gbit/s", |of, load| {
        load.requests * of.get("http_bytes") * 8.0 / 1e9
    }),
    ("cores of Redis, at least", |of, load| {
        of.redis_cores(load, "call_us")
    }),
    ("cores of Redis, at most", |of, load| {
        of.redis_cores(load, "single_us")
    }),
    ("calls of Redis, Gbit/s", |of, load| {
        load.requests * of.get("call_bytes") * 8.0 / 1e9
    }),
    ("replication, Gbit/s", |of, load| {
        load.requests * of.get("change_bytes") * 8.0 / 1e9
    }),
    ("memory, 10/s and 20, GB", |of, load| {
        of.memory_gb(load, 2.0, "bucket_bytes")
    }),
    ("memory, 1000/d and 1000, GB", |of, load| {
        of.memory_gb(load, DAY_S, "bucket_bytes")
    }),
    ("the same, Redis 8.2.3", |of, load| {
        of.memory_gb(load, DAY_S, "bucket_bytes_8")
    }),
    ("the same, Valkey 9.1.2", |of, load| {
        of.memory_gb(load, DAY_S, "bucket_bytes_valkey")
    }),
    ("primaries", Constants::primaries),
    ("calls/s on one connection", |of, load| {
        load.requests / of.server_cores(load) / of.primaries(load)
    }),
    ("lost by a failover, tokens", |of, load| {
        load.requests / of.primaries(load) * of.get("lag_ms") / 1e3
    }),
    ("calls/s of the hottest caller", |_, load| {
        load.requests * hottest_share(load.callers)
    }),
    ("cores that decide them", |of, load| {
        load.requests * hottest_share(load.callers) * of.get("call_us") / 1e6
    }),
];

/// The worked examples.
pub(super) fn worked(constants: &Constants) -> String {
    let loads = LOADS.map(|(requests, callers)| Load { requests, callers });
    let rows = ROWS.map(|(title, formula)| {
        let figures = loads.each_ref().map(|load| shown(formula(constants, load)));
        [vec![title.to_owned()], figures.to_vec()].concat()
    });
    table(&HEAD, &rows)
}

/// Two significant digits below 10; then a whole number, with commas, of which three digits count.
pub(super) fn shown(figure: f64) -> String {
    let magnitude = figure.log10().floor();
    if figure < 9.95 && figure.fract() != 0.0 {
        let decimals = (1.0 - magnitude).clamp(1.0, 6.0) as usize;
        return format!("{figure:.decimals$}");
    }
    let unit = 10_f64.powf(magnitude - 2.0).max(1.0);
    let digits = format!("{:.0}", (figure / unit).round() * unit);
    let starts_group = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    let each = digits.char_indices();
    each.flat_map(|(at, digit)| starts_group(at).then_some(',').into_iter().chain([digit]))
        .collect()
}
