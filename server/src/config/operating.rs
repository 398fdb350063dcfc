//! Flags for operation: metrics and log.

use clap::ValueEnum;

/// Where the metrics are served, and what is logged.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatingFlags {
    /// Separate address for /metrics, /livez, /readyz and /healthz; without one, /metrics is at -addr
    #[arg(
        long,
        env = "RL_METRICS_ADDR",
        default_value = "",
        value_name = "[HOST]:PORT"
    )]
    pub metrics_addr: String,

    /// Format of the log, which has one line for each event, on the standard error
    #[arg(long, env = "RL_LOG", default_value = "text", value_enum)]
    pub log: LogFormat,

    /// Lowest level that is logged; debug has a line for each decision
    #[arg(long, env = "RL_LOG_LEVEL", default_value = "info", value_enum)]
    pub log_level: LogLevel,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Json,
}

/// Lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Errors that end the server
    Error,
    /// Also conditions that an operator should look at
    Warn,
    /// Also starts, ends and changes of state
    Info,
    /// Also each decision and each failed connection
    Debug,
}
