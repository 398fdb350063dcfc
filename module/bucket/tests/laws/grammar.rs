//! Rates, capacities and numbers of tokens as text: exact, or refused.

use num_bigint::BigUint;
use proptest::prelude::*;
use rl_bucket::{Capacity, Rate, Tokens};

fn rate(text: &str) -> Option<(u64, u64)> {
    Rate::parse(text.as_bytes()).map(|rate| (rate.count(), rate.period_us()))
}

#[test]
fn rates_are_kept_in_lowest_terms() {
    assert_eq!(rate("10"), Some((1, 100_000)));
    assert_eq!(rate("10/s"), rate("10"));
    assert_eq!(rate("600/m"), rate("10"));
    assert_eq!(rate("0.5/s"), Some((1, 2_000_000)));
    assert_eq!(rate("5/30s"), Some((1, 6_000_000)));
    assert_eq!(rate("1000/1d"), Some((1, 86_400_000)));
    assert_eq!(rate("1/ms"), Some((1, 1000)));
    assert_eq!(rate("1000000000"), Some((1000, 1)));
    assert_eq!(rate("2.50"), rate("2.5"));
}

#[test]
fn an_inexact_rate_is_refused() {
    assert_eq!(
        rate("281474976710655/ms"),
        Some((281_474_976_710_655 / 5, 200))
    );
    assert_eq!(rate("281474976710657/ms"), None);
    assert_eq!(
        rate("281474976710656/ms"),
        Some((281_474_976_710_656 / 8, 125))
    );
    assert_eq!(rate("1/3257d"), Some((1, 281_404_800_000_000)));
    assert_eq!(rate("1/3258d"), None);
    assert_eq!(rate("0.000001/h"), None);
    assert_eq!(
        rate("36893488147419103232/1048576s"),
        Some((1 << 39, 15_625))
    );
    assert_eq!(rate("340282366920938463463374607431768211455"), None);
    assert_eq!(rate("1/340282366920938463463374607431768211455d"), None);
}

#[test]
fn ambiguous_text_is_not_a_rate() {
    let refused = [
        "",
        " ",
        "0",
        "0.0",
        "-1",
        "+1",
        "01",
        "00.5",
        ".5",
        "5.",
        "1e3",
        "0x10",
        "1,5",
        "NaN",
        "inf",
        "1_000",
        "0.0000001",
        "1/",
        "/s",
        "/",
        "1/0s",
        "1/-1s",
        "1//s",
        "1/ss",
        "1 /s",
        "1/ s",
        "1/s ",
        "1/s/s",
        "10/30",
        "1/01s",
        "1/1.5s",
        "1/S",
        "1/us",
        "1/w",
        "1/y",
        "1/M",
        "1/mss",
        "1/sms",
        "1/secs",
        "1/second",
        "1/mins",
        "1/minute",
        "1/hours",
        "1/hr",
        "1/days",
        "1/msec",
        "1/Min",
        "1/se",
        "1/mi",
        "1/ho",
        "1/da",
        "1/mon",
        "1/min/s",
        "1/30 min",
        "\u{661}",
        "1.2.3",
        "1/s\0",
        "1\r\n",
        "5%",
    ];
    for text in refused {
        assert_eq!(rate(text), None, "{text:?}");
    }
    assert_eq!(Rate::parse(b"\xff\xfe"), None);
    assert_eq!(Rate::parse(&[b'9'; 400]), None);
    assert_eq!(Rate::parse(&[b'0'; 1_000_000]), None);
}

#[test]
fn a_unit_spelled_out_is_the_unit_of_one_letter() {
    for (spelled_out, letter) in [
        ("10/sec", "10/s"),
        ("600/min", "600/m"),
        ("5/30min", "5/30m"),
        ("0.5/hour", "0.5/h"),
        ("1000/1day", "1000/1d"),
        ("1/3257day", "1/3257d"),
    ] {
        assert!(rate(letter).is_some(), "{letter}");
        assert_eq!(rate(spelled_out), rate(letter), "{spelled_out}");
    }
    assert_eq!(rate("1/3258day"), None);
}

#[test]
fn rates_display_as_they_are_usually_written() {
    for (written, shown) in [
        ("10", "10/s"),
        ("10/sec", "10/s"),
        ("600/m", "10/s"),
        ("7/min", "7/m"),
        ("5/30s", "10/m"),
        ("1000/1d", "1000/d"),
        ("7/90s", "280/h"),
        ("24/d", "1/h"),
        ("1/d", "1/d"),
        ("1/10d", "1/10d"),
        ("1000000000", "1000000000/s"),
        ("3/7ms", "3/7ms"),
        ("7/11s", "7/11s"),
    ] {
        let rate = Rate::parse(written.as_bytes()).expect("a rate");
        assert_eq!(rate.to_string(), shown, "{written}");
    }
    assert_eq!(Rate::new(3, 7).expect("a rate").to_string(), "3000/7ms");
}

#[test]
fn tokens_parse_like_redis_integers() {
    assert_eq!(Tokens::parse(b"0"), Tokens::new(0));
    assert_eq!(Tokens::parse(b"281474976710655"), Some(Tokens::MAX));
    for text in [
        "",
        "-1",
        "+1",
        "01",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x1",
        "281474976710656",
        "18446744073709551617",
    ] {
        assert_eq!(Tokens::parse(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_capacity_is_at_least_1_and_at_most_tokens_max() {
    assert_eq!(Capacity::new(0), None);
    assert_eq!(Capacity::new(1).map(Capacity::get), Some(1));
    let max = Tokens::MAX.get();
    assert_eq!(Capacity::new(max).map(Tokens::from), Some(Tokens::MAX));
    assert_eq!(Capacity::new(max + 1), None);
    for text in ["0", "", "-1", "+1", "01", "1.0", "281474976710656"] {
        assert_eq!(Capacity::parse(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(Capacity::parse(b"281474976710655"), Capacity::new(max));
}

/// Each name of a unit of time, and its microseconds.
const UNITS: [(&str, u64); 9] = [
    ("ms", 1000),
    ("s", 1_000_000),
    ("sec", 1_000_000),
    ("m", 60_000_000),
    ("min", 60_000_000),
    ("h", 3_600_000_000),
    ("hour", 3_600_000_000),
    ("d", 86_400_000_000),
    ("day", 86_400_000_000),
];

proptest! {
    #[test]
    fn a_parsed_rate_equals_the_written_ratio(
        whole in 0..1_000_000_000_u64, decimals in "[0-9]{1,6}", n in 1..5000_u64,
        (name, unit_us) in prop::sample::select(&UNITS[..]),
    ) {
        let scale = 10_u64.pow(decimals.len() as u32);
        let count = BigUint::from(whole) * scale + decimals.parse::<u64>().unwrap();
        let period_us = BigUint::from(n) * unit_us * scale;
        match rate(&format!("{whole}.{decimals}/{n}{name}")) {
            Some((c, p)) => prop_assert_eq!(count * p, period_us * c),
            None => {
                let lowest = num_rational::Ratio::new(count.clone(), period_us);
                let largest = BigUint::from(Tokens::MAX.get());
                prop_assert!(count == BigUint::ZERO || *lowest.numer() > largest || *lowest.denom() > largest);
            }
        }
    }

    #[test]
    fn a_displayed_rate_parses_to_itself(policy in crate::any_policy()) {
        let shown = policy.rate().to_string();
        prop_assert_eq!(Rate::parse(shown.as_bytes()), Some(policy.rate()), "{}", shown);
    }

    #[test]
    fn parsing_never_panics(text in prop::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), b'0'..=b'9', any::<u8>()], 0..40)) {
        let _ = Rate::parse(&text);
        let _ = Tokens::parse(&text);
    }
}
