//! All wrong flags at once. Clap alone stops at the first.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command};

use super::go_flags;

/// Parses words in clap's spelling. Returns what the correct ones set, and a line for each wrong one.
///
/// No flag of this program depends on another. So if parsing fails, each word and each variable is parsed alone, and the
/// wrong ones are left out.
///
/// # Errors
///
/// Help and version, which clap treats as errors, and an error that no single word causes.
pub(super) fn parse(
    command: &Command,
    words: &[OsString],
) -> Result<(ArgMatches, Vec<String>), clap::Error> {
    let error = match command.clone().try_get_matches_from(words) {
        Ok(matches) => return Ok((matches, Vec::new())),
        Err(error) if error.exit_code() == 0 => return Err(error),
        Err(error) => error,
    };
    let (correct_words, mut reasons) = check_words(command, words);
    let (correct_command, more) = check_environment(command, &correct_words);
    reasons.extend(more);
    match reasons.is_empty() {
        true => Err(error),
        false => Ok((
            correct_command.try_get_matches_from(correct_words)?,
            reasons,
        )),
    }
}

/// One error of clap's form for all reasons.
pub(super) fn report(command: &Command, reasons: &[String]) -> clap::Error {
    let text = reasons.join("\nerror: ");
    command.clone().error(ErrorKind::ValueValidation, text)
}

/// The words that can be parsed, without those after `--`, and the errors of the others.
fn check_words(command: &Command, words: &[OsString]) -> (Vec<OsString>, Vec<String>) {
    let command = without_environment(command.clone(), |_| true);
    let (program, words) = words.split_at(words.len().min(1));
    let end = words.iter().position(|word| word == "--");
    let (flags, strays) = words.split_at(end.unwrap_or(words.len()));
    let error_of = |words: &[OsString]| {
        let alone = [program, words].concat();
        command.clone().try_get_matches_from(alone).err()
    };
    let mut correct = program.to_vec();
    let mut reasons = Vec::new();
    for flag in flags {
        match error_of(std::slice::from_ref(flag)) {
            Some(error) => reasons.push(reason(error)),
            None => correct.push(flag.clone()),
        }
    }
    reasons.extend(error_of(strays).map(reason));
    (correct, reasons)
}

/// The command without the variables that are wrong, and their errors. A flag among the words has precedence over its
/// variable.
fn check_environment(command: &Command, words: &[OsString]) -> (Command, Vec<String>) {
    let mut correct = command.clone();
    let mut reasons = Vec::new();
    for flag in command.get_arguments() {
        let only = without_environment(command.clone(), |other| other != flag.get_id());
        if let Err(error) = only.try_get_matches_from(words) {
            let variable = flag.get_env().unwrap_or_default().display();
            reasons.push(format!("{variable}: {}", reason(error)));
            correct = without_environment(correct, |other| other == flag.get_id());
        }
    }
    (correct, reasons)
}

/// The command, with those flags chosen not read from the environment.
fn without_environment(command: Command, is_chosen: impl Fn(&clap::Id) -> bool) -> Command {
    command.mut_args(|flag| match is_chosen(flag.get_id()) {
        true => flag.env(None::<&'static str>),
        false => flag,
    })
}

/// What is wrong, with flags in Go's spelling, and without the usage and the hint that clap appends to each error.
fn reason(mut error: clap::Error) -> String {
    for kind in [ContextKind::InvalidArg, ContextKind::SuggestedArg] {
        let Some(ContextValue::String(flag)) = error.get(kind) else {
            continue;
        };
        if ["true", "false"].contains(&flag.as_str()) {
            return format!(
                "unexpected '{flag}': write it in one word with its flag, as in -page={flag}"
            );
        }
        let flag = go_flags::from_clap(flag);
        error.insert(kind, ContextValue::String(flag));
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let ends = ["\n\nUsage:", "\n\nFor more information"].map(|end| text.find(end));
    let end = ends.into_iter().flatten().min().unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}
