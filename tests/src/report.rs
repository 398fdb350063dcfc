//! Reports of the benches: tables of figures, printed and saved.

use crate::artifacts;

/// Prints a text and saves it under this name in `target/bench`. An SVG is only saved.
///
/// # Panics
///
/// If the file cannot be written.
pub fn report(name: &str, text: &str) {
    let release = artifacts().module.parent().expect("a directory");
    let dir = release.with_file_name("bench");
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join(name), text).expect("a file");
    if !name.ends_with(".svg") {
        println!("{text}");
    }
}

/// A Markdown table with aligned columns. The first column is left-aligned, the others right-aligned.
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
