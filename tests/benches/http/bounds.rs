//! Checks ratios of two cases against `../http.txt`.

use rl_tests::table;

use crate::rounds::{Figure, Rounds, Spread, cpu, requests};

const BOUNDS: &str = include_str!("../http.txt");

/// The tolerance of a bound.
const MARGIN: f64 = 1.05;

const HEAD: [&str; 6] = ["", "of", "per round", "bound", "goal", "met"];

/// A line of `http.txt`.
struct Bound<'a> {
    figure: &'a str,
    case: &'a str,
    of: &'a str,
    bound: Option<f64>,
    goal: Option<f64>,
}

impl<'a> Bound<'a> {
    fn read(line: &'a str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[figure, case, of, bound, goal] = words.as_slice() else {
            panic!("not figure, case, of, bound and goal: {line}");
        };
        let number = |word: &str| (word != "-").then(|| word.parse().expect("a number"));
        let (bound, goal) = (number(bound), number(goal));
        Self {
            figure,
            case,
            of,
            bound,
            goal,
        }
    }

    fn ratio(&self, rounds: &Rounds) -> Option<Spread> {
        let figure: Figure = match self.figure {
            "cpu" => cpu,
            "requests" => requests,
            _ => panic!("neither cpu nor requests: {}", self.figure),
        };
        rounds.ratio(self.case, self.of, figure)
    }

    /// Whether the median is at most this much, or at least for requests a second.
    fn keeps(&self, ratio: Spread, limit: f64) -> bool {
        match self.figure {
            "cpu" => ratio.median <= limit,
            _ => ratio.median >= limit,
        }
    }

    fn is_broken(&self, ratio: Spread) -> bool {
        let margin = match self.figure {
            "cpu" => MARGIN,
            _ => MARGIN.recip(),
        };
        self.bound
            .is_some_and(|bound| !self.keeps(ratio, bound * margin))
    }

    fn row(&self, ratio: Spread) -> Vec<String> {
        let number = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.2}"));
        let met = match self.goal {
            None => "-",
            Some(goal) if self.keeps(ratio, goal) => "yes",
            Some(_) => "no",
        };
        vec![
            format!("{} {}", self.figure, self.case),
            self.of.to_owned(),
            ratio.to_string(),
            number(self.bound),
            number(self.goal),
            met.to_owned(),
        ]
    }
}

/// A table of the ratios that were measured, and those that are not within their bounds.
pub(crate) fn check(rounds: &Rounds) -> (String, Vec<String>) {
    let lines = BOUNDS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let measured = lines.map(Bound::read).filter_map(|bound| {
        let ratio = bound.ratio(rounds)?;
        Some((bound, ratio))
    });
    let measured: Vec<_> = measured.collect();
    let rows: Vec<_> = measured
        .iter()
        .map(|(bound, ratio)| bound.row(*ratio))
        .collect();
    let broken = measured
        .iter()
        .filter(|(bound, ratio)| bound.is_broken(*ratio));
    let broken =
        broken.map(|(bound, _)| format!("{} {} of {}", bound.figure, bound.case, bound.of));
    (table(&HEAD, &rows), broken.collect())
}
