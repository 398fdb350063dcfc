//! Readers of the documents: commands after `$ ` with their output, code blocks of other languages, headings and
//! links.

use std::path::Path;

use crate::project;

/// The documents whose examples, links and contents are checked, as paths from the root.
pub const DOCUMENTS: [&str; 7] = [
    "README.md",
    "module/README.md",
    "server/README.md",
    "tests/README.md",
    "tests/capacity.md",
    "tests/clients/README.md",
    "module/recipes.md",
];

/// The text of a document.
///
/// # Panics
///
/// If the file does not exist.
#[must_use]
pub fn document(path: &str) -> String {
    std::fs::read_to_string(project().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One command and the output that a document shows for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The command, without its `$ `.
    pub command: String,
    /// The lines below it; `...` stands for any run of characters.
    pub output: Vec<String>,
}

/// All examples in order, without those of blocks that are marked `not run`.
#[must_use]
pub fn examples(document: &str) -> Vec<Example> {
    let mut blocks = fenced(document);
    blocks.retain(|block| block.language == "console" && !block.mark.starts_with("not run: "));
    let mut examples: Vec<Example> = Vec::new();
    for line in blocks.iter().flat_map(|block| block.text.lines()) {
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => examples.push(Example {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            (None, Some(example)) => example.output.push(line.to_owned()),
            (None, None) => {}
        }
    }
    examples
}

/// The blocks in this language, in order.
#[must_use]
pub fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = document.split(&fence).skip(1);
    blocks
        .filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()))
        .collect()
}

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The number of its first line, from 1.
    pub line: usize,
    /// What follows the backticks, such as `sh`.
    pub language: String,
    /// The comment on the line above it, such as `not run: it needs Kubernetes`; empty if there is none.
    pub mark: String,
    /// Its lines, without the indent of the list that it is in.
    pub text: String,
}

/// All fenced blocks in order, those in lists too.
#[must_use]
pub fn fenced(document: &str) -> Vec<Fenced> {
    let (mut blocks, mut above): (Vec<Fenced>, &str) = (Vec::new(), "");
    let mut open: Option<&str> = None;
    for (number, line) in document.lines().enumerate() {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        match (open, text.strip_prefix("```"), blocks.last_mut()) {
            (Some(_), Some(_), _) => open = None,
            (Some(indent), None, Some(block)) => {
                block.text += line.strip_prefix(indent).unwrap_or(line);
                block.text += "\n";
            }
            (None, Some(language), _) => {
                open = Some(indent);
                let comment = above.trim().strip_prefix("<!--");
                let mark = comment.and_then(|comment| comment.strip_suffix("-->"));
                blocks.push(Fenced {
                    line: number + 1,
                    language: language.to_owned(),
                    mark: mark.unwrap_or_default().trim().to_owned(),
                    text: String::new(),
                });
            }
            _ => {}
        }
        above = line;
    }
    blocks
}

/// The lines outside of fenced blocks.
fn prose(document: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    document.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    })
}

/// The headings of this level, 1 to 6, in order.
#[must_use]
pub fn headings(document: &str, level: usize) -> Vec<String> {
    let mark = format!("{} ", "#".repeat(level));
    prose(document)
        .filter_map(|line| line.strip_prefix(&mark).map(str::to_owned))
        .collect()
}

/// The text under a heading, such as `### Envoy`, up to the next heading of its level or a higher one.
///
/// # Panics
///
/// If there is no such heading.
#[must_use]
pub fn section(document: &str, heading: &str) -> String {
    let level = |line: &str| line.find(|char| char != '#').filter(|level| *level > 0);
    let own = level(heading).expect("a heading");
    let mut in_block = false;
    let mut lines = document.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "no heading {heading}");
    let lines = lines.take_while(|line| {
        in_block ^= line.starts_with("```");
        in_block || level(line).is_none_or(|level| level > own)
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The anchor of a heading: lower case, without punctuation, hyphens for spaces.
#[must_use]
pub fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

/// The targets of all links and pictures, in order.
#[must_use]
pub fn links(document: &str) -> Vec<String> {
    prose(document)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// Why `link`, in the document at `path`, is broken; `None` if it is not. Links to other sites are not checked.
#[must_use]
pub fn broken(path: &str, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let folder = project().join(path).parent()?.to_owned();
    let target = match file {
        "" => project().join(path),
        file => folder.join(file),
    };
    if !target.exists() {
        return Some(format!("{path}: no file {link}"));
    }
    let exists = fragment.is_empty() || has_anchor(&target, fragment);
    (!exists).then(|| format!("{path}: no heading {link}"))
}

fn has_anchor(file: &Path, fragment: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    (1..=6)
        .flat_map(|level| headings(&text, level))
        .any(|heading| anchor(&heading) == fragment)
}

impl Example {
    /// Whether `printed` is the output that the document shows.
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
    use super::{anchor, broken, examples, fenced, headings, links, matches, section};

    #[test]
    fn dots_stand_for_any_run_of_characters() {
        assert!(matches("4) (integer) 97", "4) (integer) ..."));
        assert!(matches("a 1 b 2 c", "a ... b ... c"));
        assert!(matches("same", "same"));
        assert!(!matches("same ", "same"));
        assert!(!matches("a 1 c 2 c", "a ... b ... c"));
        assert!(!matches("5) (integer) 97", "4) (integer) ..."));
    }

    #[test]
    fn anchors_are_those_of_github() {
        assert_eq!(anchor("If you come from ..."), "if-you-come-from-");
        assert_eq!(
            anchor("The query (-trust-caller)"),
            "the-query--trust-caller"
        );
        assert_eq!(anchor("RL.TOKEN"), "rltoken");
    }

    #[test]
    fn blocks_have_no_headings_and_no_links() {
        let text = "# One\n```sh\n# no heading [a](b)\n```\n## Two [c](d)\n";
        assert_eq!(headings(text, 1), ["One"]);
        assert_eq!(links(text), ["d"]);
    }

    #[test]
    fn a_block_that_is_not_run_has_no_examples() {
        let text = "```console\n$ a\nb\n```\n<!-- not run: why -->\n```console\n$ c\n```\n";
        let examples = examples(text);
        let commands: Vec<&str> = examples.iter().map(|one| one.command.as_str()).collect();
        assert_eq!(commands, ["a"]);
    }

    #[test]
    fn a_block_has_the_comment_above_it_and_no_indent() {
        let text = "<!-- not run: why -->\n```sh\na\n```\n- b\n\n  ```\n  c\n    d\n  ```\n";
        let [marked, plain] = &fenced(text)[..] else {
            panic!("two blocks");
        };
        assert_eq!((marked.line, marked.mark.as_str()), (2, "not run: why"));
        assert_eq!(
            (marked.language.as_str(), marked.text.as_str()),
            ("sh", "a\n")
        );
        assert_eq!((plain.mark.as_str(), plain.text.as_str()), ("", "c\n  d\n"));
    }

    #[test]
    fn a_section_ends_at_the_next_heading_of_its_level() {
        let text = "## A\none\n### B\ntwo\n```sh\n## no heading\n```\n### C\nthree\n## D\nfour\n";
        assert_eq!(section(text, "### B"), "two\n```sh\n## no heading\n```\n");
        assert!(section(text, "## A").ends_with("### C\nthree\n"));
        assert_eq!(section(text, "## D"), "four\n");
    }

    #[test]
    fn a_link_leads_to_a_file_or_a_heading() {
        for link in [
            "#servers",
            "it",
            "../README.md#commands",
            "https://a.example/",
        ] {
            assert_eq!(broken("tests/README.md", link), None);
        }
        for link in ["#no-such-heading", "no-such-file", "../README.md#no-such"] {
            assert!(broken("tests/README.md", link).is_some(), "{link}");
        }
    }
}
