//! Flags and environment, pure: words in, a [`Config`] or every fault out.

mod answers;
mod caller;
mod go_flags;
mod operating;
mod origins;
mod policy;
mod redis;
mod secrets;
mod serving;
mod shaping;
pub(crate) mod values;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};

pub use self::answers::AnswerFlags;
pub use self::caller::CallerFlags;
pub use self::operating::{LogForm, LogLevel, OperatingFlags};
pub use self::origins::Origins;
pub use self::policy::PolicyFlags;
pub use self::redis::{OnOutage, RedisFlags};
pub use self::serving::ServingFlags;
pub use self::shaping::ShapingFlags;

/// Rate limits over HTTP, decided in Redis.
///
/// Each flag may be written -flag or --flag, with = or a space before its value, and each is RL_FLAG in the environment.
/// The last of a repeated flag counts, and a flag counts before the environment.
#[derive(Clone, Debug, Parser)]
#[command(name = "rl-server", version, args_override_self = true)]
pub struct Config {
    /// Where it listens.
    #[command(flatten)]
    pub serving: ServingFlags,

    /// Whom it asks.
    #[command(flatten)]
    pub redis: RedisFlags,

    /// Who is calling.
    #[command(flatten)]
    pub caller: CallerFlags,

    /// What each caller may do.
    #[command(flatten)]
    pub policy: PolicyFlags,

    /// How callers are answered.
    #[command(flatten)]
    pub answers: AnswerFlags,

    /// When they are.
    #[command(flatten)]
    pub shaping: ShapingFlags,

    /// How it is watched.
    #[command(flatten)]
    pub operating: OperatingFlags,
}

impl Config {
    /// Reads the process's own flags and environment. Ends the process where they ask for help (0) or are wrong (2).
    #[must_use]
    pub fn from_command_line() -> Self {
        Self::from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn from_words(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let words = go_flags::to_clap(&command, words);
        // Not by clap, whose errors would repeat the password.
        let fault =
            |reason| Self::command().error(ErrorKind::ValueValidation, format!("{reason}\n"));
        secrets::check(&command, &words).map_err(fault)?;
        let matches = command.try_get_matches_from_mut(words)?;
        let mut config =
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let source = matches.value_source("address");
        config.redis.on_command_line = source == Some(ValueSource::CommandLine);
        config.redis.read().map_err(fault)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
                (
                    config.policy.rate.to_string().as_str(),
                    config.policy.burst.get()
                ),
                ("10/m", 7),
                "{words:?}"
            );
        }
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        assert_eq!(
            parse(&["-burst=5", "--burst", "6", "-burst", "7"])
                .unwrap()
                .policy
                .burst
                .get(),
            7
        );
    }

    #[test]
    fn a_value_may_look_like_a_flag() {
        assert_eq!(parse(&["-addr", "-redis"]).unwrap().serving.addr, "-redis");
        assert_eq!(parse(&["--addr=-redis"]).unwrap().serving.addr, "-redis");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let error = parse(&["-redis", "redis://:s3cret@localhost:bad"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn wrong_flags_and_values_exit_with_2_and_help_with_0() {
        let wrong: &[&[&str]] = &[
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
            &["-trusted-proxies=10.0.0.0/33"],
            &["-trusted-proxies=10.0.0.1,,10.0.0.2"],
            &["-client-ip-header=X-Client"],
            &["-ipv6-prefix=0"],
            &["-ipv6-prefix=129"],
            &["-trust-caller=perhaps"],
            &["-deny-status=399"],
            &["-deny-status=500"],
            &["-deny-status=teapot"],
            &["-cors-origins=app.example"],
            &["-max-connections=0"],
            &["-max-connections=+1"],
            &["-header-timeout=0s"],
            &["-drain-delay=0"],
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
            (config.serving.addr.as_str(), config.redis.address.as_str()),
            (":8080", "localhost:6379")
        );
        assert_eq!(
            (
                config.policy.rate.to_string().as_str(),
                config.policy.burst.get()
            ),
            ("10/s", 20)
        );
        assert_eq!(config.redis.deadline, Duration::from_millis(50));
        assert_eq!(config.serving.max_connections, 10_000);
        assert_eq!(config.serving.drain_delay, Duration::ZERO);
    }

    #[test]
    fn a_switch_is_on_where_it_is_named_and_takes_its_value_in_the_same_word() {
        let is_on = |words: &[&str]| parse(words).unwrap().caller.trust_caller;
        assert!(!is_on(&[]));
        assert!(is_on(&["-trust-caller"]) && is_on(&["--trust-caller=true"]));
        assert!(!is_on(&["-trust-caller", "-trust-caller=false"]));
        assert!(is_on(&["-trust-caller", "-burst", "7"]));
        assert_eq!(exit_code(&["-trust-caller", "false"]), 2);
    }

    #[test]
    fn a_duration_has_a_unit() {
        for (text, duration) in [
            ("1ms", Duration::from_millis(1)),
            ("2000ms", Duration::from_secs(2)),
            ("60s", Duration::from_secs(60)),
        ] {
            assert_eq!(
                parse(&["-deadline", text]).unwrap().redis.deadline,
                duration
            );
        }
    }
}
