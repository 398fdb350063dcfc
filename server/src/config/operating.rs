//! Flags for operation: metrics and log.

use clap::ValueEnum;

/// Where the metrics are served, and what is logged.
#[derive(Clone, Debug, clap::Args)]
pub struct OperatingFlags {
    /// Separate address for /metrics, /livez, /readyz and /healthz; without one, they are served at -addr
    #[arg(
        long,
        env = "RL_METRICS_ADDR",
        default_value = "",
        value_name = "host:port|unix:/path"
    )]
    pub metrics_addr: String,

    /// Format of the log on standard error, one line per event
    #[arg(
        long,
        env = "RL_LOG",
        default_value = "text",
        value_name = "FORMAT",
        value_enum
    )]
    pub log: LogFormat,

    /// Lowest level to log; debug logs each decision
    #[arg(
        long,
        env = "RL_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL",
        value_enum
    )]
    pub log_level: LogLevel,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable text
    Text,
    /// One JSON object per line
    Json,
}

/// Lowest level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Errors that end the server
    Error,
    /// Also conditions that need attention
    Warn,
    /// Also startup, shutdown and state changes
    Info,
    /// Also each decision and each failed connection
    Debug,
}
