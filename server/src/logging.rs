//! The log: on the standard error, for people or for programs.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry};

use crate::config::{LogForm, LogLevel, OperatingFlags};

/// Begins to log.
///
/// Warnings of the libraries are logged at the level debug only. The one library that has any is h2, about what clients send:
/// a client can make it write thousands of lines a second. Faults of Redis, TLS and sockets are logged by this crate.
pub fn start_logging(flags: &OperatingFlags) {
    let level = LevelFilter::from(flags.log_level);
    let of_libraries = match flags.log_level {
        LogLevel::Debug => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Warn | LogLevel::Info => LevelFilter::OFF,
    };
    let targets = Targets::new()
        .with_default(of_libraries)
        .with_target("rl_server", level);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match flags.log {
        LogForm::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogForm::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(lines.with_filter(targets)).init();
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}
