//! The runs of all rounds, their medians, and the ratios of two cases round by round.

use std::collections::BTreeMap;
use std::fmt;

use crate::target::Run;

/// A figure of one run.
pub(crate) type Figure = fn(&Run) -> Option<f64>;

/// The minimum, the median and the maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    min: f64,
    pub(crate) median: f64,
    max: f64,
}

impl Spread {
    /// `None` if there is no figure.
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        Some(Self {
            min: *figures.first()?,
            median: figures[figures.len() / 2],
            max: *figures.last()?,
        })
    }
}

/// The median, and the range of the rounds.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        let digits = f.precision().unwrap_or(2);
        write!(f, "{median:.digits$} ({min:.digits$} to {max:.digits$})")
    }
}

/// The runs of each case, by its name.
#[derive(Debug, Default)]
pub(crate) struct Rounds(BTreeMap<&'static str, Vec<Run>>);

impl Rounds {
    pub(crate) fn push(&mut self, name: &'static str, run: Run) {
        self.0.entry(name).or_default().push(run);
    }

    fn spread(&self, name: &str, figure: Figure) -> Option<Spread> {
        Spread::of(self.0.get(name)?.iter().filter_map(figure))
    }

    /// The ratio of a figure of two cases in the same round; `None` if one of them was not measured.
    pub(crate) fn ratio(&self, name: &str, of: &str, figure: Figure) -> Option<Spread> {
        let pairs = self.0.get(name)?.iter().zip(self.0.get(of)?);
        Spread::of(pairs.filter_map(|(run, of)| Some(figure(run)? / figure(of)?)))
    }

    /// A row of the table.
    pub(crate) fn row(&self, name: &str, title: &str) -> Vec<String> {
        let shown = |spread: Option<Spread>, digits: usize| {
            spread.map_or("-".to_owned(), |spread| format!("{spread:.digits$}"))
        };
        let median = |figure| {
            let spread = self.spread(name, figure);
            spread.map_or("-".to_owned(), |spread| format!("{:.2}", spread.median))
        };
        vec![
            title.to_owned(),
            shown(self.spread(name, cpu), 1),
            shown(self.ratio(name, "bare-per-core", cpu), 2),
            median(|run| run.redis_cpu_us),
            shown(self.spread(name, requests), 0),
            shown(self.ratio(name, "bare", requests), 2),
            median(|run| Some(run.latencies_ms[0])),
            median(|run| Some(run.latencies_ms[1])),
            median(|run| Some(run.latencies_ms[2])),
        ]
    }
}

/// Processor time for a request.
pub(crate) fn cpu(run: &Run) -> Option<f64> {
    run.cpu_us
}

/// Requests a second.
pub(crate) fn requests(run: &Run) -> Option<f64> {
    Some(run.requests_per_second)
}
