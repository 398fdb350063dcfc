//! Parsers for the values of flags. Each error says what is expected. [`crate::http`] uses those of rates and bursts too.

use std::time::Duration;

use axum::http::StatusCode;
use rl_bucket::{Capacity, Rate};

pub(crate) fn rate(text: &str) -> Result<Rate, &'static str> {
    Rate::parse(text.as_bytes()).ok_or(
        "expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
             units are ms, s, sec, m, min, h, hour, d and day",
    )
}

pub(crate) fn burst(text: &str) -> Result<Capacity, &'static str> {
    Capacity::parse(text.as_bytes()).ok_or("expected a whole number from 1 to 281474976710655")
}

pub(super) fn deny_status(text: &str) -> Result<StatusCode, &'static str> {
    let status = text.parse().ok().filter(StatusCode::is_client_error);
    status.ok_or("expected a status from 400 to 499")
}

pub(super) fn ipv6_prefix(text: &str) -> Result<u8, &'static str> {
    let bits = count(text).ok().and_then(|bits| u8::try_from(bits).ok());
    bits.filter(|bits| *bits <= 128)
        .ok_or("expected a whole number from 1 to 128")
}

pub(super) fn count(text: &str) -> Result<usize, &'static str> {
    count_or_zero(text)
        .ok()
        .filter(|count| *count > 0)
        .ok_or("expected a whole number from 1 to 4294967295")
}

pub(super) fn count_or_zero(text: &str) -> Result<usize, &'static str> {
    Some(text)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u32>().ok()?.try_into().ok())
        .ok_or("expected a whole number from 0 to 4294967295")
}

pub(super) fn threads(text: &str) -> Result<usize, &'static str> {
    let number = count(text).ok().filter(|number| *number <= 1024);
    number.ok_or("expected a whole number from 1 to 1024")
}

pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    with_unit(text)
        .filter(|duration| !duration.is_zero())
        .ok_or("expected a whole number, at least 1, with its unit, such as 50ms or 2s")
}

pub(super) fn duration_or_zero(text: &str) -> Result<Duration, &'static str> {
    with_unit(text).ok_or("expected a whole number with its unit, such as 0s or 50ms")
}

fn with_unit(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u32 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        _ => None,
    }
}
