//! Flags and environment variables: words in, a [`Config`] out, or all errors at once.
//!
//! Each file of the folder declares one group of flags with clap. [`go_flags`] makes clap accept Go's spelling, [`help`]
//! prints it, [`errors`] collects what is wrong, [`secrets`] keeps passwords out of error messages. Besides the environment this reads only the
//! files of `-redis-ca` and `-redis-password-file`, once, and that of `-policies`.

mod answers;
mod caller;
mod errors;
mod go_flags;
mod help;
mod operating;
mod origins;
pub(crate) mod policies;
mod policy;
mod redis;
mod secrets;
mod serving;
mod shaping;
mod switch;
pub(crate) mod values;

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};

pub use self::answers::AnswerFlags;
pub use self::caller::CallerFlags;
pub use self::operating::{LogFormat, LogLevel, OperatingFlags};
pub use self::origins::Origins;
pub use self::policies::{KeyPart, NamedLimit, NamedPolicy};
pub use self::policy::PolicyFlags;
pub use self::redis::{OnOutage, RedisFlags};
pub use self::serving::ServingFlags;
pub use self::shaping::ShapingFlags;

/// Rate limits over HTTP, decided in Redis.
///
/// Write a flag as -flag or --flag, with = or a space before its value, or set it in the environment as RL_FLAG. Flags
/// take precedence over the environment. If a flag is repeated, the last value is used.
#[derive(Clone, Debug, Parser)]
#[command(name = "rl-server", version, args_override_self = true)]
pub struct Config {
    /// Connections.
    #[command(flatten)]
    pub serving: ServingFlags,

    /// Redis.
    #[command(flatten)]
    pub redis: RedisFlags,

    /// How callers are identified.
    #[command(flatten)]
    pub caller: CallerFlags,

    /// The limit of each caller.
    #[command(flatten)]
    pub policy: PolicyFlags,

    /// The form of answers.
    #[command(flatten)]
    pub answers: AnswerFlags,

    /// Answers that wait for their delay.
    #[command(flatten)]
    pub shaping: ShapingFlags,

    /// Metrics and log.
    #[command(flatten)]
    pub operating: OperatingFlags,
}

impl Config {
    /// Reads the flags and the environment of this process.
    ///
    /// Prints help or the version and exits with 0 if that is what the flags say. Prints every wrong flag and exits with 2
    /// if there is one.
    #[must_use]
    pub fn from_command_line() -> Self {
        Self::from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Like [`Config::from_command_line`], with these words, of which the first is the name of the program.
    ///
    /// # Errors
    ///
    /// Every wrong flag, and help or the version if the words ask for it.
    pub fn from_words(
        words: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Self, clap::Error> {
        let command = help::with_help(Self::command());
        let words = go_flags::to_clap(&command, words.into_iter().map(Into::into));
        // Alone and first: clap's errors for the other flags would repeat the password.
        secrets::check(&command, &words).map_err(|reason| errors::report(&command, &[reason]))?;
        let (matches, mut reasons) = errors::parse(&command, &words)?;
        let mut config = Self::from_arg_matches(&matches)?;
        let source = matches.value_source("address");
        config.redis.on_command_line = source == Some(ValueSource::CommandLine);
        reasons.extend(config.redis.address_with_files().err());
        match config.policy.read_named() {
            Ok(named) => config.policy.named = named,
            Err(errors) => reasons.extend(errors),
        }
        match reasons.is_empty() {
            true => Ok(config),
            false => Err(errors::report(&command, &reasons)),
        }
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
    fn flags_may_have_one_dash_or_two() {
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
    fn all_wrong_flags_are_reported_at_once() {
        let words = [
            "-rate=0",
            "-nope",
            "-burst=7",
            "-deadline",
            "50",
            "-redis=http://localhost",
            "stray",
            "-idle-timeout",
        ];
        let error = parse(&words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        for reason in [
            "invalid value '0' for '-rate RATE': expected <number>",
            "unexpected argument '-nope'",
            "a value is required for '-idle-timeout DURATION'",
            "invalid value '50' for '-deadline DURATION': expected a whole number",
            "invalid value for '-redis ADDRESS': expected host:port",
            "'stray'",
        ] {
            assert_eq!(text.matches(reason).count(), 1, "{reason} in {text}");
        }
        assert_eq!(text.matches("error: ").count(), 6, "{text}");
        assert_eq!(text.matches("try '-h'").count(), 1, "{text}");
        assert!(!text.contains("--"), "{text}");
    }

    #[test]
    fn an_error_says_what_to_write_instead() {
        for (word, instead) in [
            ("-rat=5", "'-rate'"),
            (
                "-trust-caller=perhaps",
                "for '-trust-caller'\n  [possible values: true, false]",
            ),
            (
                "-on-outage",
                "required for '-on-outage MODE' but none was supplied\n  [possible values: deny, allow, local]",
            ),
            ("false", "-page=false"),
            ("-ipv6-prefix=x", "expected a whole number from 1 to 128"),
            (
                "-deny-cache=-1",
                "expected a whole number from 0 to 4294967295",
            ),
            ("-trusted-proxies=proxy", "such as 10.0.0.0/8"),
        ] {
            let text = parse(&[word]).unwrap_err().to_string();
            assert!(text.contains(instead), "{instead} in {text}");
        }
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
            &["-deny-cache=+1"],
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
    fn the_defaults_are_those_of_the_readme() {
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
    fn a_switch_takes_a_value_only_in_the_same_word() {
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
