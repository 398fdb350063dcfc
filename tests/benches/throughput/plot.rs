//! Draws the plot: a row for each call, a panel for each number of calls in flight.

use std::fmt::Write;

use rl_tests::Call;

use crate::{AT_ONCE, Figures};

const LABELS: f64 = 200.0;
const PANEL: f64 = 220.0;
/// The fraction of a panel's width for the longest bar. The rest is for its figure.
const LONGEST: f64 = 0.72;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;
const HEAD: f64 = 52.0;

/// Legible on a light and on a dark page.
const STYLE: &str = "<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.ours { fill: #0969da }
.other { fill: #8c959f }
.spread { stroke: #24292f }
@media (prefers-color-scheme: dark) {
  text { fill: #d1d7e0 }
  .ours { fill: #4493f8 }
  .other { fill: #768390 }
  .spread { stroke: #d1d7e0 }
}
</style>
";

/// Plots calls per second on one key as bars, with the minimum and the maximum of all rounds.
pub(crate) fn plot(calls: &[Call], figures: &Figures) -> String {
    let (width, height) = (
        LABELS + PANEL * AT_ONCE.len() as f64,
        HEAD + ROW * calls.len() as f64 + 8.0,
    );
    let title = "Thousand calls a second on one key, one server on one core: median of five rounds, and from least to most";
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n\
         {STYLE}<text class=\"title\" x=\"8\" y=\"18\">{title}</text>\n"
    );
    let maxima = calls
        .iter()
        .flat_map(|call| AT_ONCE.map(|at_once| rounds(figures, call, at_once)[2]));
    let scale = PANEL * LONGEST / maxima.fold(1.0, f64::max);
    for (panel, at_once) in AT_ONCE.into_iter().enumerate() {
        let x = LABELS + PANEL * panel as f64;
        _ = writeln!(
            svg,
            "<text class=\"title\" x=\"{x}\" y=\"42\">{at_once} at once</text>"
        );
        for (row, call) in calls.iter().enumerate() {
            let y = HEAD + ROW * row as f64;
            if panel == 0 {
                _ = writeln!(
                    svg,
                    "<text x=\"8\" y=\"{}\">{}</text>",
                    y + 12.0,
                    call.title
                );
            }
            svg += &bar(call, rounds(figures, call, at_once), [x, y], scale);
        }
    }
    svg + "</svg>\n"
}

fn rounds(figures: &Figures, call: &Call, at_once: usize) -> [f64; 3] {
    figures[&(call.name, 1, at_once)].spread()
}

fn bar(call: &Call, [min, median, max]: [f64; 3], [x, y]: [f64; 2], scale: f64) -> String {
    let class = if call.title.starts_with("RL.") {
        "ours"
    } else {
        "other"
    };
    let (from, to, middle) = (x + min * scale, x + max * scale, y + BAR / 2.0);
    format!(
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\n\
         <path class=\"spread\" d=\"M{from:.1} {middle}H{to:.1}\"/>\n\
         <text x=\"{:.1}\" y=\"{}\">{:.0}</text>\n",
        median * scale,
        to + 5.0,
        y + 12.0,
        median / 1000.0
    )
}
