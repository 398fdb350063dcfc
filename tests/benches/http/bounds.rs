//! Checks ratios of two cases against `../http.txt`.

use rl_tests::{Bound, table};

use crate::rounds::{Figure, Rounds, Spread, cpu, requests};

const BOUNDS: &str = include_str!("../http.txt");

/// The tolerance of a bound.
const MARGIN: f64 = 1.05;

const HEAD: [&str; 6] = ["", "of", "per round", "bound", "goal", "met"];

/// A line of `http.txt`: a figure, a case, the other case, bound and goal.
struct Ratio<'a>(Bound<'a, 3>);

impl Ratio<'_> {
    fn measured(&self, rounds: &Rounds) -> Option<Spread> {
        let [figure, case, of] = self.0.names;
        let figure: Figure = match figure {
            "cpu" => cpu,
            "requests" => requests,
            _ => panic!("neither cpu nor requests: {figure}"),
        };
        rounds.ratio(case, of, figure)
    }

    /// Whether the median is at most this much, or at least for requests a second.
    fn keeps(&self, ratio: Spread, limit: f64) -> bool {
        match self.0.names[0] {
            "cpu" => ratio.median <= limit,
            _ => ratio.median >= limit,
        }
    }

    fn is_broken(&self, ratio: Spread) -> bool {
        let margin = match self.0.names[0] {
            "cpu" => MARGIN,
            _ => MARGIN.recip(),
        };
        self.0
            .bound
            .is_some_and(|bound| !self.keeps(ratio, bound * margin))
    }

    fn row(&self, ratio: Spread) -> Vec<String> {
        let [figure, case, of] = self.0.names;
        let mut row = vec![format!("{figure} {case}"), of.to_owned(), ratio.to_string()];
        row.extend(self.0.cells(2, |goal| self.keeps(ratio, goal)));
        row
    }
}

/// A table of the ratios that were measured, and those that are not within their bounds.
pub(crate) fn check(rounds: &Rounds) -> (String, Vec<String>) {
    let ratios = Bound::read_all(BOUNDS).map(Ratio);
    let measured = ratios.filter_map(|ratio| {
        let spread = ratio.measured(rounds)?;
        Some((ratio, spread))
    });
    let measured: Vec<_> = measured.collect();
    let rows: Vec<_> = measured
        .iter()
        .map(|(ratio, spread)| ratio.row(*spread))
        .collect();
    let broken = measured
        .iter()
        .filter(|(ratio, spread)| ratio.is_broken(*spread));
    let broken = broken.map(|(ratio, _)| {
        let [figure, case, of] = ratio.0.names;
        format!("{figure} {case} of {of}")
    });
    (table(&HEAD, &rows), broken.collect())
}
