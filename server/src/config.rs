//! Flags and environment, pure: words in, a [`Config`] or every fault out.

use std::ffi::{OsStr, OsString};
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use rl_bucket::{Rate, Tokens};

use crate::limiter::RedisAddress;

/// Rate limits over HTTP, decided in Redis.
///
/// Each flag may be written -flag or --flag, with = or a space before its value, and each is RL_FLAG in the environment.
/// The last of a repeated flag counts, and a flag counts before the environment.
#[derive(Clone, Debug, Parser)]
#[command(name = "rl-server", version, args_override_self = true)]
pub struct Config {
    /// Address to listen on; without a host, all addresses of both families
    #[arg(
        long,
        env = "RL_ADDR",
        default_value = ":8080",
        value_name = "[HOST]:PORT"
    )]
    pub addr: String,

    /// Redis with the module loaded: host:port, or a redis:// or unix: URL
    #[arg(
        long,
        env = "RL_REDIS",
        default_value = "localhost:6379",
        hide_env_values = true,
        value_name = "ADDRESS"
    )]
    pub redis: String,

    /// Rate of each caller.
    #[arg(
        long,
        env = "RL_RATE",
        default_value = "10",
        help = "Rate of each caller: <number>[/[<n>]<unit>], such as 10, 0.5/s, 600/m or 5/30s"
    )]
    pub rate: RateText,

    /// Most requests of a caller that pass at once; the capacity of /leaky
    #[arg(long, env = "RL_BURST", default_value = "20", value_parser = burst)]
    pub burst: Tokens,

    /// How long a request waits for Redis, such as 50ms or 2s
    #[arg(long, env = "RL_DEADLINE", default_value = "100ms", value_parser = duration)]
    pub deadline: Duration,
}

/// A rate, and the text it was read from, which Redis is given as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateText {
    /// What was written.
    pub text: String,
    /// What it means.
    pub rate: Rate,
}

impl FromStr for RateText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rate = Rate::parse(text.as_bytes())
            .ok_or("expected <number>[/[<n>]<unit>], such as 10, 0.5/s, 600/m or 5/30s")?;
        Ok(Self {
            text: text.to_owned(),
            rate,
        })
    }
}

fn burst(text: &str) -> Result<Tokens, &'static str> {
    Tokens::parse(text.as_bytes())
        .filter(|burst| *burst > Tokens::ZERO)
        .ok_or("expected a whole number from 1 to 281474976710655")
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let number: Option<u32> = number.parse().ok();
    match (number, unit) {
        (Some(ms @ 1..), "ms") => Ok(Duration::from_millis(ms.into())),
        (Some(s @ 1..), "s") => Ok(Duration::from_secs(s.into())),
        _ => Err("expected a whole number from 1 on with its unit, such as 50ms or 2s"),
    }
}

impl Config {
    /// Reads the process's own flags and environment. Ends the process where they ask for help (0) or are wrong (2).
    #[must_use]
    pub fn from_command_line() -> Self {
        Self::from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn from_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let config = Self::try_parse_from(in_claps_spelling(words))?;
        // Not by clap, whose error would repeat the address with the password in it.
        if let Err(reason) = config.redis.parse::<RedisAddress>() {
            let error = format!("invalid value for '--redis <ADDRESS>': {reason}\n");
            return Err(Self::command().error(ErrorKind::ValueValidation, error));
        }
        Ok(config)
    }
}

/// Go's spelling of flags in clap's: `-addr X` becomes `--addr=X`, so that X may begin with a dash. What follows `--`
/// stays as it is.
fn in_claps_spelling(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let command = Config::command();
    let takes_value = |name: &str| {
        command
            .get_arguments()
            .any(|flag| flag.get_long() == Some(name))
    };
    let mut words = words.into_iter();
    let mut spelled: Vec<OsString> = words.by_ref().take(1).collect();
    while let Some(word) = words.next() {
        let long = match flag(&word) {
            Some(("", _)) => {
                spelled.push(word);
                break;
            }
            Some((name, Some(value))) if takes_value(name) => Some(long_flag(name, value.as_ref())),
            Some((name, None)) if takes_value(name) => {
                words.next().map(|value| long_flag(name, &value))
            }
            Some((name @ ("help" | "version"), None)) => Some(format!("--{name}").into()),
            _ => None,
        };
        spelled.push(long.unwrap_or(word));
    }
    spelled.extend(words);
    spelled
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Config, clap::Error> {
        let words = [&["rl-server"], words].concat();
        Config::from_words(words.iter().map(OsString::from))
    }

    fn exit_code(words: &[&str]) -> i32 {
        parse(words).map_or_else(|error| error.exit_code(), |_| -1)
    }

    #[test]
    fn flags_are_read_in_gos_spelling_and_in_clap_s() {
        for words in [
            ["-rate=5/30s", "-burst=7"].as_slice(),
            &["-rate", "5/30s", "-burst", "7"],
            &["--rate", "5/30s", "--burst=7"],
        ] {
            let config = parse(words).unwrap();
            assert_eq!(
                (config.rate.text.as_str(), config.burst.get()),
                ("5/30s", 7),
                "{words:?}"
            );
        }
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        assert_eq!(
            parse(&["-rate=5", "--rate", "6", "-rate", "7"])
                .unwrap()
                .rate
                .text,
            "7"
        );
    }

    #[test]
    fn a_value_may_look_like_a_flag() {
        assert_eq!(parse(&["-addr", "-redis"]).unwrap().addr, "-redis");
        assert_eq!(parse(&["--addr=-redis"]).unwrap().addr, "-redis");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let error = parse(&["-redis", "redis://:s3cret@localhost:bad"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn wrong_flags_and_values_exit_with_2_and_help_with_0() {
        let wrong: [&[&str]; 17] = [
            &["-nope"],
            &["-rate"],
            &["-rate=0"],
            &["-rate=-1"],
            &["-rate", "-1"],
            &["-rate=1/0s"],
            &["-burst=0"],
            &["-burst=1e3"],
            &["-burst=281474976710656"],
            &["-deadline=100"],
            &["-deadline=0ms"],
            &["-deadline=1.5s"],
            &["-deadline=ms"],
            &["-deadline=4294967296ms"],
            &["-redis=http://localhost"],
            &["stray"],
            &["--", "-rate=5"],
        ];
        for words in wrong {
            assert_eq!(exit_code(words), 2, "{words:?}");
        }
        for words in [["-h"], ["-help"], ["--help"], ["-version"], ["-V"]] {
            assert_eq!(exit_code(&words), 0, "{words:?}");
        }
    }

    #[test]
    fn the_defaults_are_those_that_readme_names() {
        let config = parse(&[]).unwrap();
        assert_eq!(
            (config.addr.as_str(), config.redis.as_str()),
            (":8080", "localhost:6379")
        );
        assert_eq!((config.rate.text.as_str(), config.burst.get()), ("10", 20));
        assert_eq!(config.deadline, Duration::from_millis(100));
    }

    #[test]
    fn a_duration_has_a_unit() {
        for (text, duration) in [
            ("1ms", Duration::from_millis(1)),
            ("2000ms", Duration::from_secs(2)),
            ("60s", Duration::from_secs(60)),
        ] {
            assert_eq!(parse(&["-deadline", text]).unwrap().deadline, duration);
        }
    }
}
