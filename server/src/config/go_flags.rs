//! Flags in Go's go_flags.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// Go's go_flags of flags in clap's: `-addr X` becomes `--addr=X`, so that X may begin with a dash. What follows `--`
/// stays as it is.
pub(super) fn to_clap(
    command: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let is = |name: &str, takes: fn(&Arg) -> bool| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_long() == Some(name) && takes(flag))
    };
    let mut words = words.into_iter();
    let mut spelled: Vec<OsString> = words.by_ref().take(1).collect();
    while let Some(word) = words.next() {
        let long = match flag(&word) {
            Some(("", _)) => {
                spelled.push(word);
                break;
            }
            Some((name, Some(value))) if is(name, |_| true) => {
                Some(long_flag(name, value.as_ref()))
            }
            Some((name, None)) if is(name, needs_value) => {
                words.next().map(|value| long_flag(name, &value))
            }
            Some((name, None)) if is(name, |_| true) || ["help", "version"].contains(&name) => {
                Some(format!("--{name}").into())
            }
            _ => None,
        };
        spelled.push(long.unwrap_or(word));
    }
    spelled.extend(words);
    spelled
}

/// A switch needs none: it is on where it is named, and takes a value only in the same word.
fn needs_value(flag: &Arg) -> bool {
    flag.get_num_args()
        .is_none_or(|values| values.min_values() > 0)
}

/// The name of a flag, without its one or two dashes, and its value if that stands in the same word.
fn flag(word: &OsStr) -> Option<(&str, Option<&str>)> {
    let word = word.to_str()?;
    let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(
        flag.split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value))),
    )
}

fn long_flag(name: &str, value: &OsStr) -> OsString {
    let mut flag = OsString::from(format!("--{name}="));
    flag.push(value);
    flag
}
