//! The files with the bounds of the benches.

/// A line of such a file: `N` names, the bound and the goal.
#[derive(Clone, Debug)]
pub struct Bound<'a, const N: usize> {
    /// What is compared. The last name is that of what it is compared with.
    pub names: [&'a str; N],
    /// The bound as it is written, for the documents that state it. `-` for none.
    pub text: &'a str,
    /// The measured ratio.
    pub bound: Option<f64>,
    /// The intended ratio.
    pub goal: Option<f64>,
}

impl<'a, const N: usize> Bound<'a, N> {
    /// The lines of a file that are no comments.
    ///
    /// # Panics
    ///
    /// If a line has another number of words, or a bound is not a number.
    pub fn read_all(file: &'a str) -> impl Iterator<Item = Self> {
        let lines = file.lines();
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| {
            Self::read(line).unwrap_or_else(|| panic!("{N} names, bound and goal: {line}"))
        })
    }

    fn read(line: &'a str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (names, rest) = words.split_first_chunk::<N>()?;
        let &[bound, goal] = rest else {
            return None;
        };
        let number = |word: &str| (word != "-").then(|| word.parse().expect("a number"));
        Some(Self {
            names: *names,
            text: bound,
            bound: number(bound),
            goal: number(goal),
        })
    }

    /// The last three cells of a table: bound, goal, and whether the goal `is_met`.
    #[must_use]
    pub fn cells(&self, digits: usize, is_met: impl FnOnce(f64) -> bool) -> [String; 3] {
        let number = |number: Option<f64>| {
            number.map_or("-".to_owned(), |number| format!("{number:.digits$}"))
        };
        let met = match self.goal.map(is_met) {
            None => "-",
            Some(true) => "yes",
            Some(false) => "no",
        };
        [number(self.bound), number(self.goal), met.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::Bound;

    #[test]
    fn lines_that_are_no_comments_are_bounds() {
        let file = "# call of bound goal\n\na  b  0.90  -\nc  d  -  0.5\n";
        let [first, second] = &Vec::from_iter(Bound::<2>::read_all(file))[..] else {
            panic!("two bounds");
        };
        assert_eq!(
            (first.names, first.text, first.goal),
            (["a", "b"], "0.90", None)
        );
        assert_eq!(first.cells(1, |_| true), ["0.9", "-", "-"]);
        assert_eq!(second.cells(1, |goal| goal < 1.0), ["-", "0.5", "yes"]);
    }
}
