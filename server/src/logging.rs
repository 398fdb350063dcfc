//! The log: its destination (standard error), its format and its level. What is logged is up to each file.
//!
//! Lines that clients can cause at will are at level debug, or go through [`crate::log_throttle`].

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, registry};

use crate::config::{LogFormat, LogLevel, OperatingFlags};

/// Starts logging, for the whole process. What is logged before is lost. Call it once: a second call panics.
///
/// Warnings of libraries are logged only at level debug. The only library that logs any is h2, about invalid frames,
/// and a client can cause thousands of those a second. This crate itself logs errors of Redis, TLS and sockets.
///
/// Text is coloured if standard error is a terminal. JSON has one object a line, with the fields of an event beside its
/// message.
pub fn start_logging(flags: &OperatingFlags) {
    let level = LevelFilter::from(flags.log_level);
    let library_level = match flags.log_level {
        LogLevel::Debug => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Warn | LogLevel::Info => LevelFilter::OFF,
    };
    let targets = Targets::new()
        .with_default(library_level)
        .with_target("rl_server", level);
    let layer = fmt::layer().with_writer(io::stderr);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match flags.log {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    registry().with(layer.with_filter(targets)).init();
}

/// The level of the flag as `tracing` names it. Each includes those above it.
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
