//! What the values of flags may be.

use std::time::Duration;

use axum::http::StatusCode;
use rl_bucket::{Rate, Tokens};

pub(crate) fn rate(text: &str) -> Result<Rate, &'static str> {
    Rate::parse(text.as_bytes())
        .ok_or("expected <number>[/[<n>]<unit>], such as 10, 0.5/s, 600/m or 5/30s")
}

pub(crate) fn burst(text: &str) -> Result<Tokens, &'static str> {
    Tokens::parse(text.as_bytes())
        .filter(|burst| *burst > Tokens::ZERO)
        .ok_or("expected a whole number from 1 to 281474976710655")
}

pub(super) fn deny_status(text: &str) -> Result<StatusCode, &'static str> {
    let status = text.parse().ok().filter(StatusCode::is_client_error);
    status.ok_or("expected a status from 400 to 499")
}

pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let number: Option<u32> = number.parse().ok();
    match (number, unit) {
        (Some(ms @ 1..), "ms") => Ok(Duration::from_millis(ms.into())),
        (Some(s @ 1..), "s") => Ok(Duration::from_secs(s.into())),
        _ => Err("expected a whole number from 1 on with its unit, such as 50ms or 2s"),
    }
}
