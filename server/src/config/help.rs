//! The text of `-h`: each flag with one dash, as the documentation writes it. Pure.

use clap::{Arg, ArgAction, Command};

use super::go_flags;

const USAGE: &str = "rl-server [FLAGS]";

const HELP_AND_VERSION: &str =
    "  -h, -help\n      Print this help\n  -V, -version\n      Print the version\n";

/// The command with this help in place of clap's, which writes flags with two dashes.
pub(super) fn with_help(command: Command) -> Command {
    let text = text(&command);
    // Without a long name, clap's errors refer to `-h`.
    let help = Arg::new("help").short('h').alias("help");
    command
        .disable_help_flag(true)
        .arg(help.action(ArgAction::Help))
        .override_usage(USAGE)
        .override_help(text)
}

fn text(command: &Command) -> String {
    let about = command.get_long_about().map(ToString::to_string);
    let flags: String = command.get_arguments().map(entry).collect();
    let about = about.unwrap_or_default();
    format!("{about}\n\nUsage: {USAGE}\n\n{flags}{HELP_AND_VERSION}")
}

/// A flag with its value, and below it what it means, its variable and its default.
fn entry(flag: &Arg) -> String {
    let help = flag.get_help().map(ToString::to_string);
    let variable = flag
        .get_env()
        .map(|variable| format!(" [env: {}]", variable.display()));
    let default = flag
        .get_default_values()
        .first()
        .map(|default| match default.to_str() {
            Some("") => " [default: none]".to_owned(),
            _ => format!(" [default: {}]", default.display()),
        });
    let notes = [help, variable, default].into_iter().flatten();
    let (name, value) = (flag.get_long().unwrap_or_default(), value(flag));
    format!("  -{name}{value}\n      {}\n", notes.collect::<String>())
}

/// The value that follows the name: `deny|allow|local` if there are few, and otherwise a word that stands for it.
fn value(flag: &Arg) -> String {
    let values = flag.get_possible_values();
    let names: Vec<&str> = match values.as_slice() {
        [] => flag
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(AsRef::as_ref)
            .collect(),
        values => values.iter().map(|value| value.get_name()).collect(),
    };
    let value = names.join("|");
    match go_flags::needs_value(flag) {
        true => format!(" {value}"),
        false => format!("[={value}]"),
    }
}
