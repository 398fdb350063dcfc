//! The imports between the files of a crate, read from `use` items and `crate::` paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The imports of one crate: for each file, by its path below `src` without `.rs`, such as `limiter/link`, the files
/// that it names. Unit tests and the crate's root are left out, because the root names every file.
#[derive(Debug, Default)]
pub struct Imports(BTreeMap<String, BTreeSet<String>>);

impl Imports {
    /// Reads the crate whose sources are in `src`.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    #[must_use]
    pub fn of(src: &Path) -> Self {
        let names: BTreeSet<String> = sources(src)
            .iter()
            .filter_map(|path| name(src, path))
            .collect();
        let imports = names.iter().map(|name| {
            let text = fs::read_to_string(src.join(format!("{name}.rs"))).expect("a source");
            let paths = paths(without_tests(&text));
            let files = paths.iter().filter_map(|path| resolve(name, path, &names));
            (name.clone(), files.filter(|file| file != name).collect())
        });
        Self(imports.collect())
    }

    /// Each import, as a pair of the importing and the imported file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter();
        all.flat_map(|(from, to)| to.iter().map(|to| (from.as_str(), to.as_str())))
    }

    /// A cycle of imports, such as `a -> b -> a`, if there is one.
    #[must_use]
    pub fn cycle(&self) -> Option<String> {
        let mut done = BTreeSet::new();
        self.0
            .keys()
            .find_map(|file| self.cycle_from(file, &mut Vec::new(), &mut done))
    }

    fn cycle_from<'a>(
        &'a self,
        file: &'a str,
        stack: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<String> {
        if let Some(first) = stack.iter().position(|before| *before == file) {
            return Some([&stack[first..], &[file]].concat().join(" -> "));
        }
        if !done.insert(file) {
            return None;
        }
        stack.push(file);
        let imported = self.0.get(file).into_iter().flatten();
        let cycle = imported
            .map(|next| self.cycle_from(next, stack, done))
            .find_map(|cycle| cycle);
        stack.pop();
        cycle
    }
}

/// All `.rs` files below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .collect()
}

/// The name of a file, if it is not a root of the crate.
fn name(src: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(src).ok()?.to_str()?.strip_suffix(".rs")?;
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The paths of all `use` items, and those that begin with `crate::` elsewhere, each as its segments.
fn paths(text: &str) -> Vec<Vec<String>> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let starts = ["crate::", "super::", "self::"];
    let mut paths = Vec::new();
    for start in starts {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before
                .is_none_or(|before| !before.is_alphanumeric() && before != ':' && before != '_')
            {
                expand(&mut Vec::new(), &code[at..], &mut paths);
            }
        }
    }
    paths
}

/// Reads a path and the paths in its braces. Returns the text after it.
fn expand<'a>(
    prefix: &mut Vec<String>,
    mut text: &'a str,
    paths: &mut Vec<Vec<String>>,
) -> &'a str {
    let depth = prefix.len();
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix('{') {
            text = rest;
            while !text.is_empty() && !text.starts_with('}') {
                text = expand(prefix, text, paths).trim_start();
                text = text.strip_prefix(',').unwrap_or(text).trim_start();
            }
            text = text.strip_prefix('}').unwrap_or(text);
            break;
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        let (segment, rest) = text.split_at(end.unwrap_or(text.len()));
        prefix.push(segment.to_owned());
        match rest.strip_prefix("::") {
            Some(after) if !segment.is_empty() => text = after,
            _ => {
                paths.push(prefix.clone());
                // Skips the rest of an item such as `Name as Other` or `*`.
                text = rest.trim_start_matches(|c: char| !['{', '}', ',', ';', '\n'].contains(&c));
                break;
            }
        }
    }
    prefix.truncate(depth);
    text
}

/// The file that a path in the file `from` refers to: the longest prefix that names a file.
fn resolve(from: &str, path: &[String], names: &BTreeSet<String>) -> Option<String> {
    let mut at: Vec<&str> = from.split('/').collect();
    let mut rest = path;
    while let [first, after @ ..] = rest {
        match first.as_str() {
            "crate" => at.clear(),
            "super" => _ = at.pop(),
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    let mut resolved = Some(at.join("/")).filter(|file| names.contains(file));
    for segment in rest {
        at.push(segment);
        let file = at.join("/");
        if !names.contains(&file) {
            break;
        }
        resolved = Some(file);
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Vec<String> {
        let names = ["a", "a/b", "a/c", "d"].map(str::to_owned).into();
        let paths = paths(text);
        let mut files: Vec<_> = paths
            .iter()
            .filter_map(|path| resolve("a/b", path, &names))
            .collect();
        files.sort();
        files.dedup();
        files
    }

    #[test]
    fn a_path_leads_to_the_file_that_it_names() {
        assert_eq!(files("use crate::a::c::Name;"), ["a/c"]);
        assert_eq!(files("use super::c;"), ["a/c"]);
        assert_eq!(files("use super::Name;"), ["a"]);
        assert_eq!(files("use crate::{a::{self, c}, d};"), ["a", "a/c", "d"]);
        assert_eq!(files("let x = crate::d::f();"), ["d"]);
        assert_eq!(files("use std::fmt; // crate::d"), ["d"]);
        assert_eq!(files("// crate::d"), [""; 0]);
    }

    #[test]
    fn a_cycle_is_reported_in_full() {
        let import = |from: &str, to: &[&str]| {
            let to = to.iter().map(|file| (*file).to_owned()).collect();
            (from.to_owned(), to)
        };
        let all = [
            import("a", &["b", "d"]),
            import("b", &["c"]),
            import("c", &["d", "b"]),
            import("d", &[]),
        ];
        let cycle = Imports(BTreeMap::from(all)).cycle();
        assert_eq!(cycle.as_deref(), Some("b -> c -> b"));
    }
}
