//! The blocks of README.md: commands after `$ ` with what they print, and files.

/// One command and the output that README shows for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The command, without its `$ `.
    pub command: String,
    /// The lines under it; `...` stands for any run of characters.
    pub output: Vec<String>,
}

/// All examples in order.
#[must_use]
pub fn examples(readme: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut in_block = false;
    for line in readme.lines() {
        match line.strip_prefix("```") {
            Some(language) => in_block = language == "console",
            None if !in_block => {}
            None => match (line.strip_prefix("$ "), examples.last_mut()) {
                (Some(command), _) => examples.push(Example {
                    command: command.to_owned(),
                    output: Vec::new(),
                }),
                (None, Some(example)) => example.output.push(line.to_owned()),
                (None, None) => {}
            },
        }
    }
    examples
}

/// The blocks in this language, in order.
#[must_use]
pub fn blocks(readme: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = readme.split(&fence).skip(1);
    blocks
        .filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()))
        .collect()
}

impl Example {
    /// Whether `printed` is what README shows.
    #[must_use]
    pub fn is_shown_by(&self, printed: &str) -> bool {
        let printed: Vec<&str> = printed.lines().collect();
        printed.len() == self.output.len()
            && printed
                .iter()
                .zip(&self.output)
                .all(|(line, shown)| matches(line, shown))
    }
}

/// Whether `line` is `shown`, in which each `...` stands for any run of characters.
fn matches(line: &str, shown: &str) -> bool {
    let Some((head, rest)) = shown.split_once("...") else {
        return line == shown;
    };
    let Some(line) = line.strip_prefix(head) else {
        return false;
    };
    line.char_indices()
        .any(|(at, _)| matches(&line[at..], rest))
        || matches("", rest)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn dots_stand_for_any_run_of_characters() {
        assert!(matches("4) (integer) 97", "4) (integer) ..."));
        assert!(matches("a 1 b 2 c", "a ... b ... c"));
        assert!(matches("same", "same"));
        assert!(!matches("same ", "same"));
        assert!(!matches("a 1 c 2 c", "a ... b ... c"));
        assert!(!matches("5) (integer) 97", "4) (integer) ..."));
    }
}
