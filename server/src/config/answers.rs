//! Flags for the form of answers: status, headers, CORS, the page.

use axum::http::StatusCode;

use super::origins::Origins;
use super::switch::Switch;
use super::values;

/// The form of answers, and which pages may read them.
#[derive(Clone, Debug, clap::Args)]
pub struct AnswerFlags {
    /// HTTP status of a denial, 400 to 499; nginx's auth_request needs 403
    #[arg(long, env = "RL_DENY_STATUS", default_value = "429", value_name = "STATUS", value_parser = values::deny_status)]
    pub deny_status: StatusCode,

    /// Also send X-RateLimit-Limit, -Remaining and -Reset; Reset is in seconds from now
    #[arg(long, env = "RL_X_RATELIMIT", switch = "false")]
    pub x_ratelimit: bool,

    /// Origins whose scripts may read responses, separated by commas, or * for all
    #[arg(
        long,
        env = "RL_CORS_ORIGINS",
        default_value = "",
        value_name = "ORIGINS"
    )]
    pub cors_origins: Origins,

    /// Serve a page at / that sends requests and shows both kinds of bucket
    #[arg(long, env = "RL_PAGE", switch = "true")]
    pub page: bool,
}
