//! Go's spelling of flags: `-addr X`, `-addr=X`. Pure.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// Translates Go's spelling of flags to clap's: `-addr X` becomes `--addr=X`, so that X may start with a dash. The first
/// word, the program, and the words after `--` stay as they are. Afterwards each flag and its value are one word.
pub(super) fn to_clap(
    command: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let takes_next_word = |name: &str| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_long() == Some(name) && needs_value(flag))
    };
    let mut words = words.into_iter();
    let mut translated: Vec<OsString> = words.by_ref().take(1).collect();
    while let Some(word) = words.next() {
        let long = match flag(&word) {
            Some(("", _)) => {
                translated.push(word);
                break;
            }
            Some((name, None)) if takes_next_word(name) => {
                Some(long_flag(name, words.next().as_deref()))
            }
            // A flag that does not exist becomes long too: clap's error then names it in full.
            Some((name, value)) if name.len() > 1 => Some(long_flag(name, value.map(OsStr::new))),
            _ => None,
        };
        translated.push(long.unwrap_or(word));
    }
    translated.extend(words);
    translated
}

/// False for a switch, which takes a value in the same word only.
pub(super) fn needs_value(flag: &Arg) -> bool {
    flag.get_num_args()
        .is_none_or(|values| values.min_values() > 0)
}

/// The name of a flag, without its one or two dashes, and its value if that is in the same word.
fn flag(word: &OsStr) -> Option<(&str, Option<&str>)> {
    let word = word.to_str()?;
    let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(
        flag.split_once('=')
            .map_or((flag, None), |(name, value)| (name, Some(value))),
    )
}

/// A flag as clap's errors name it, in Go's spelling: `--rate <RATE>` becomes `-rate RATE`, and `--page[=<PAGE>]`, a
/// switch, becomes `-page`.
pub(super) fn from_clap(flag: &str) -> String {
    match flag.strip_prefix("--") {
        Some(long) => {
            format!("-{}", long.split('[').next().unwrap_or(long)).replace(['<', '>'], "")
        }
        None => flag.to_owned(),
    }
}

fn long_flag(name: &str, value: Option<&OsStr>) -> OsString {
    let mut flag = OsString::from(format!("--{name}"));
    if let Some(value) = value {
        flag.push("=");
        flag.push(value);
    }
    flag
}
