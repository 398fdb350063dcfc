//! Flags about how callers are answered.

use axum::http::StatusCode;
use clap::ArgAction;

use super::origins::Origins;
use super::values;

/// What a caller is told, and who may read it.
#[derive(Clone, Debug, clap::Args)]
pub struct AnswerFlags {
    /// Status of a denial, 400 to 499: 403 for nginx, whose auth_request takes no other for one but 401
    #[arg(long, env = "RL_DENY_STATUS", default_value = "429", value_name = "STATUS", value_parser = values::deny_status)]
    pub deny_status: StatusCode,

    /// Send X-RateLimit-Limit, -Remaining and -Reset too, the last in seconds from now
    #[arg(
        long,
        env = "RL_X_RATELIMIT",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub x_ratelimit: bool,

    /// Origins whose scripts may read answers and their headers, with commas between them, or *
    #[arg(
        long,
        env = "RL_CORS_ORIGINS",
        default_value = "",
        value_name = "ORIGINS"
    )]
    pub cors_origins: Origins,

    /// Serve a page at / that shows both buckets at work
    #[arg(
        long,
        env = "RL_PAGE",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set
    )]
    pub page: bool,
}
