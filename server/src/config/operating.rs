//! Flags about operation.

use clap::ValueEnum;

/// Where the server is watched, and what it writes down.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatingFlags {
    /// Another address for /metrics, with /livez, /readyz and /healthz; without one, /metrics is at -addr
    #[arg(
        long,
        env = "RL_METRICS_ADDR",
        default_value = "",
        value_name = "[HOST]:PORT"
    )]
    pub metrics_addr: String,

    /// Form of the log, one line an event, on the standard error
    #[arg(long, env = "RL_LOG", default_value = "text", value_enum)]
    pub log: LogForm,

    /// The least that is logged; debug has a line for each decision
    #[arg(long, env = "RL_LOG_LEVEL", default_value = "info", value_enum)]
    pub log_level: LogLevel,
}

/// Forms of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What ends the server.
    Error,
    /// What an operator should look at.
    Warn,
    /// Starts, ends and turns.
    Info,
    /// Each decision and each connection that failed.
    Debug,
}
