//! What benches tell: tables of figures, printed and kept.

use crate::artifacts;

/// Prints a text and keeps it under this name in `target/bench`.
///
/// # Panics
///
/// If it cannot be written there.
pub fn report(name: &str, text: &str) {
    let release = artifacts().module.parent().expect("a directory");
    let dir = release.with_file_name("bench");
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join(name), text).expect("a file");
    if !name.ends_with(".svg") {
        println!("{text}");
    }
}

/// A table in Markdown, its columns as wide as what is in them; all but the first are aligned to the right.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&head])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 => format!(" {cell:<width$} |"),
            _ => format!(" {cell:>width$} |"),
        });
        format!("|{}\n", cells.collect::<String>())
    };
    let rules = widths
        .iter()
        .enumerate()
        .map(|(column, width)| match column {
            0 => format!("{}|", "-".repeat(width + 2)),
            _ => format!("{}:|", "-".repeat(width + 1)),
        });
    let rule = format!("|{}\n", rules.collect::<String>());
    [line(&head), rule]
        .into_iter()
        .chain(rows.iter().map(line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_is_as_wide_as_its_widest_cells() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = [row(["RL.TOKEN", "7"]), row(["PING", "2339"])];
        let expected = "\
            | call     |    n |\n\
            |----------|-----:|\n\
            | RL.TOKEN |    7 |\n\
            | PING     | 2339 |\n";
        assert_eq!(table(&["call", "n"], &rows), expected);
    }
}
