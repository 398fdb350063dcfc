//! Passwords in wrong places: flags and variables whose errors would repeat them. Pure but for the environment.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// The flag whose value may hold a password.
const REDIS: &str = "redis";

/// Checks that only `-redis` and `RL_REDIS` hold a password. The error message of another flag, or the log, would repeat
/// it.
///
/// # Errors
///
/// Which word or variable holds one, without its value, and what to do instead.
pub(super) fn check(command: &Command, words: &[OsString]) -> Result<(), String> {
    if words.iter().skip(1).any(|word| is_misplaced(word)) {
        return Err(
            "an argument other than the value of -redis contains a password: use -redis URL, or better, \
             set RL_REDIS=URL in the environment or use -redis-password-file"
                .to_owned(),
        );
    }
    let others = command
        .get_arguments()
        .filter(|flag| flag.get_long() != Some(REDIS));
    for variable in others.filter_map(Arg::get_env) {
        let value = std::env::var_os(variable).unwrap_or_default();
        if holds_password(&value.to_string_lossy()) {
            let variable = variable.display();
            return Err(format!(
                "{variable} contains a password: set RL_REDIS to the address of Redis"
            ));
        }
    }
    Ok(())
}

/// Whether this word holds a password and is not the value of `-redis`. The word is in clap's spelling, in which a flag
/// and its value are one word.
fn is_misplaced(word: &OsStr) -> bool {
    let word = word.to_string_lossy();
    let (flag, value) = match word.split_once('=') {
        Some((flag, value)) if flag.starts_with('-') => (flag, value),
        _ => ("", word.as_ref()),
    };
    flag.strip_prefix("--") != Some(REDIS) && holds_password(value)
}

/// Whether `text` looks like an address of Redis that contains a password: user and password before an at sign, or the
/// parameter `pass` of a socket.
fn holds_password(text: &str) -> bool {
    let path = text.starts_with(['/', '.']);
    let login = text.rsplit_once('@').map(|(login, _)| login);
    let login = login.map(|login| match login.split_once("://") {
        Some((scheme, login)) if !scheme.contains(':') => login,
        _ => login,
    });
    let in_login = !path && login.is_some_and(|login| login.contains(':'));
    in_login || text.starts_with("unix:") && text.contains("pass=")
}

#[cfg(test)]
mod tests {
    use super::holds_password;

    #[test]
    fn an_address_with_a_password_is_detected_in_every_form() {
        for text in [
            "redis://:p@h",
            "redis://u:p@h:1/2",
            "rediss://u:p/@h",
            "redis-cluster://u:p@a,b",
            "valkey-sentinel://:p@a,b/name",
            "u:p@h:1",
            "u:://@h",
            "unix:/s?user=u&pass=p",
            "unix:///s?pass=p",
            "http://u:p@h",
        ] {
            assert!(holds_password(text), "{text}");
        }
        for text in [
            "localhost:6379",
            "redis://h:1/2",
            "redis://u@h",
            "unix:/s",
            "https://app.example:8443",
            "/run/credentials/rl-server@1.service/redis-password",
            "./a:b@c",
            "10/s",
            "",
        ] {
            assert!(!holds_password(text), "{text}");
        }
    }
}
