//! The headers of a decision: RateLimit-Policy, RateLimit, Retry-After and X-RateLimit-*. Pure.
//!
//! The RateLimit fields are those of draft-ietf-httpapi-ratelimit-headers-11. Their times come from [`super::window`].

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use nonempty::NonEmpty;
use rl_bucket::{Decision, Policy};

use super::window::{effective_window_s, seconds_for};
use crate::limit::Decisions;

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The headers that a script of another origin may read only if CORS exposes them.
pub(crate) const EXPOSED: [HeaderName; 6] = [
    RATELIMIT_POLICY,
    RATELIMIT,
    RETRY_AFTER,
    X_RATELIMIT_LIMIT,
    X_RATELIMIT_REMAINING,
    X_RATELIMIT_RESET,
];

/// Bytes that a value of one limit usually fits into: a name and two such integers. Only the longest names need more.
const VALUE_BYTES: usize = 64;

/// Adds the headers of decisions. The RateLimit fields list all `limits`, by the name and policy of each, in the order of
/// the decisions. The others are about the deciding limit. `x_ratelimit` adds the older X-RateLimit headers.
pub(crate) fn add(
    headers: &mut HeaderMap,
    limits: &NonEmpty<(&str, Policy)>,
    decisions: &Decisions,
    x_ratelimit: bool,
) {
    let mut text = String::with_capacity(VALUE_BYTES * limits.len());
    let mut insert = |name, write: &mut dyn FnMut(&mut String)| {
        text.clear();
        write(&mut text);
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    let all = || limits.iter().zip(&decisions.0);
    let (deciding, mut deciding_t) = (decisions.deciding_index(), None);
    insert(RATELIMIT_POLICY, &mut |text| {
        all().for_each(|(limit, decision)| push_policy(text, limit, decision));
    });
    insert(RATELIMIT, &mut |text| {
        for (index, (limit, decision)) in all().enumerate() {
            let t = effective_window_s(limit.1.rate(), decision);
            if index == deciding {
                deciding_t = t;
            }
            push_remaining(text, limit.0, decision.remaining, t);
        }
    });
    let decision = decisions.deciding();
    let older = [
        (X_RATELIMIT_LIMIT, Some(decision.limit)),
        (X_RATELIMIT_REMAINING, Some(decision.remaining)),
        (X_RATELIMIT_RESET, deciding_t),
    ];
    let older = older.into_iter().filter(|_| x_ratelimit);
    let retry_after = (RETRY_AFTER, deciding_t.filter(|_| decision.allowed == 0));
    for (name, integer) in older.chain([retry_after]) {
        if let Some(integer) = integer {
            headers.insert(name, integer.into());
        }
    }
}

/// Appends a member of RateLimit-Policy. Names are lower-case letters, digits, `_` and `-`, so none needs an escape.
fn push_policy(text: &mut String, (name, policy): &(&str, Policy), decision: &Decision) {
    let window_s = seconds_for(policy.rate(), decision.limit);
    push_name(text, name);
    push_parameter(text, ";q=", decision.limit);
    push_parameter(text, ";w=", window_s);
}

/// Appends a member of RateLimit.
fn push_remaining(text: &mut String, name: &str, remaining: u64, t: Option<u64>) {
    push_name(text, name);
    push_parameter(text, ";r=", remaining);
    if let Some(t) = t {
        push_parameter(text, ";t=", t);
    }
}

// These two write each response. They do without `format!`, which takes nearly twice as many instructions.
fn push_name(text: &mut String, name: &str) {
    text.push_str(separator(text));
    text.push('"');
    text.push_str(name);
    text.push('"');
}

fn push_parameter(text: &mut String, parameter: &str, value: u64) {
    text.push_str(parameter);
    text.push_str(itoa::Buffer::new().format(value));
}

/// What stands before the next member of a list.
fn separator(list: &str) -> &'static str {
    if list.is_empty() { "" } else { ", " }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rl_bucket::{Capacity, Rate, Tokens};

    use super::*;

    fn policy(rate: &str, burst: u64) -> Policy {
        let rate = Rate::parse(rate.as_bytes()).unwrap();
        Policy::new(rate, Capacity::new(burst).unwrap())
    }

    fn headers_of(name: &str, policy: Policy, decision: &Decision, x_ratelimit: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let limits = NonEmpty::new((name, policy));
        let decisions = Decisions::from(*decision);
        add(&mut headers, &limits, &decisions, x_ratelimit);
        headers
    }

    /// RateLimit-Policy, RateLimit and Retry-After.
    fn fields(rate: &str, burst: u64, decision: Decision) -> (String, String, Option<String>) {
        let decision = Decision {
            limit: burst,
            ..decision
        };
        let headers = headers_of("token", policy(rate, burst), &decision, false);
        let text = |name: &HeaderName| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        (
            text(&RATELIMIT_POLICY).unwrap(),
            text(&RATELIMIT).unwrap(),
            text(&RETRY_AFTER),
        )
    }

    fn allowed(remaining: u64, reset_after_ms: u64) -> Decision {
        Decision {
            allowed: 1,
            limit: 0,
            remaining,
            retry_after_ms: Some(0),
            reset_after_ms,
            delay_ms: 0,
        }
    }

    fn denied(remaining: u64, retry_after_ms: Option<u64>) -> Decision {
        Decision {
            allowed: 0,
            retry_after_ms,
            ..allowed(remaining, 0)
        }
    }

    #[test]
    fn a_policy_s_window_is_the_refill_time_of_its_burst() {
        assert_eq!(fields("10", 20, allowed(19, 100)).0, "\"token\";q=20;w=2");
        assert_eq!(fields("5/30s", 5, allowed(4, 6000)).0, "\"token\";q=5;w=30");
        assert_eq!(fields("1000", 1, allowed(0, 1)).0, "\"token\";q=1;w=1");
        assert_eq!(
            fields("1/3257d", Tokens::MAX.get(), allowed(0, 0)).0,
            "\"token\";q=281474976710655;w=999999999999999"
        );
    }

    #[test]
    fn an_allowed_caller_gets_the_refill_time_of_the_remaining() {
        assert_eq!(fields("10", 20, allowed(19, 100)).1, "\"token\";r=19;t=2");
        assert_eq!(fields("10", 20, allowed(1, 1900)).1, "\"token\";r=1;t=1");
    }

    #[test]
    fn with_none_remaining_t_is_the_next_whole_token() {
        assert_eq!(fields("0.1", 1, allowed(0, 10_000)).1, "\"token\";r=0;t=10");
        assert_eq!(fields("0.1", 3, allowed(0, 27_500)).1, "\"token\";r=0;t=8");
        assert_eq!(fields("10", 20, allowed(0, 2000)).1, "\"token\";r=0;t=1");
        assert_eq!(fields("10", 20, allowed(0, 0)).1, "\"token\";r=0;t=1");
    }

    #[test]
    fn a_denial_s_t_is_its_retry_after() {
        let (_, field, retry_after) = fields("0.1", 1, denied(0, Some(9001)));
        assert_eq!(
            (field.as_str(), retry_after.as_deref()),
            ("\"token\";r=0;t=10", Some("10"))
        );
        let (_, field, retry_after) = fields("10", 20, denied(0, Some(1)));
        assert_eq!(
            (field.as_str(), retry_after.as_deref()),
            ("\"token\";r=0;t=1", Some("1"))
        );
    }

    #[test]
    fn a_request_that_can_never_pass_has_no_t() {
        let (_, field, retry_after) = fields("10", 20, denied(20, None));
        assert_eq!((field.as_str(), retry_after), ("\"token\";r=20", None));
    }

    #[test]
    fn the_older_headers_have_the_same_numbers() {
        let shown = |decision| {
            let headers = headers_of("token", policy("10", 20), &decision, true);
            let text = |name| Some(headers.get(name)?.to_str().unwrap().to_owned());
            [
                X_RATELIMIT_LIMIT,
                X_RATELIMIT_REMAINING,
                X_RATELIMIT_RESET,
                RETRY_AFTER,
            ]
            .map(text)
        };
        let limit = |decision| Decision {
            limit: 20,
            ..decision
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            shown(limit(allowed(19, 100))),
            [some("20"), some("19"), some("2"), None]
        );
        assert_eq!(
            shown(limit(denied(0, Some(2001)))),
            [some("20"), some("0"), some("3"), some("3")]
        );
        assert_eq!(
            shown(limit(denied(20, None))),
            [some("20"), some("20"), None, None]
        );
    }

    /// What a parser of structured fields reads: the name and the parameters of the one item of a list.
    fn parsed(headers: &HeaderMap, name: &HeaderName) -> (String, Vec<(String, i64)>) {
        let mut members = parsed_list(headers, name);
        assert_eq!(members.len(), 1);
        members.remove(0)
    }

    /// The name and the parameters of each item of a list.
    fn parsed_list(headers: &HeaderMap, name: &HeaderName) -> Vec<(String, Vec<(String, i64)>)> {
        let field: sfv::List = sfv::Parser::new(headers[name].as_bytes()).parse().unwrap();
        let members = field.iter().map(|member| {
            let sfv::ListEntry::Item(item) = member else {
                panic!("{field:?}")
            };
            let parameters = item.params.iter().map(|(key, value)| {
                let integer = value.as_integer().expect("an integer");
                (key.to_string(), integer.into())
            });
            let name = item.bare_item.as_string().expect("a string");
            (name.to_string(), parameters.collect())
        });
        members.collect()
    }

    #[test]
    fn several_limits_are_lists_and_the_deciding_one_counts() {
        let limits = NonEmpty::from((
            ("second", policy("10", 20)),
            vec![("hour", policy("1000/h", 1000))],
        ));
        let shown = |first: Decision, second: Decision| {
            let limit = |limit, decision| Decision { limit, ..decision };
            let decisions = Decisions(NonEmpty::from((
                limit(20, first),
                vec![limit(1000, second)],
            )));
            let mut headers = HeaderMap::new();
            add(&mut headers, &limits, &decisions, true);
            [
                RATELIMIT_POLICY,
                RATELIMIT,
                X_RATELIMIT_REMAINING,
                RETRY_AFTER,
            ]
            .map(|name| Some(headers.get(name)?.to_str().unwrap().to_owned()))
        };
        let some = |text: &str| Some(text.to_owned());
        let policies = some(r#""second";q=20;w=2, "hour";q=1000;w=3600"#);
        assert_eq!(
            shown(allowed(19, 100), allowed(900, 360_000)),
            [
                policies.clone(),
                some(r#""second";r=19;t=2, "hour";r=900;t=3240"#),
                some("900"),
                None
            ]
        );
        assert_eq!(
            shown(denied(0, Some(90)), denied(0, Some(3600))),
            [
                policies.clone(),
                some(r#""second";r=0;t=1, "hour";r=0;t=4"#),
                some("0"),
                some("4")
            ]
        );
        assert_eq!(
            shown(allowed(7, 100), denied(12, None)),
            [
                policies,
                some(r#""second";r=7;t=1, "hour";r=12"#),
                some("12"),
                None
            ]
        );
    }

    proptest! {
        #[test]
        fn a_parser_of_structured_fields_reads_every_list(
            limits in prop::collection::vec(
                ("[a-z][a-z0-9_-]{0,63}", 1..1_u64 << 48, any::<u64>(), prop::option::of(any::<u64>())),
                1..17,
            ),
        ) {
            let named = limits.iter().map(|(name, burst, _, _)| (name.as_str(), policy("10", *burst)));
            let named = NonEmpty::from_vec(named.collect()).unwrap();
            let decisions = limits.iter().map(|(_, limit, remaining, wait_ms)| Decision {
                limit: *limit,
                ..match wait_ms {
                    Some(wait_ms) => denied(remaining % (limit + 1), wait_ms.checked_sub(1)),
                    None => allowed(remaining % (limit + 1), 7),
                }
            });
            let decisions = Decisions(NonEmpty::from_vec(decisions.collect()).unwrap());
            let mut headers = HeaderMap::new();
            add(&mut headers, &named, &decisions, false);
            let (policies, fields) = (parsed_list(&headers, &RATELIMIT_POLICY), parsed_list(&headers, &RATELIMIT));
            prop_assert_eq!((policies.len(), fields.len()), (limits.len(), limits.len()));
            for (((policy, field), limit), decision) in policies.iter().zip(&fields).zip(&limits).zip(&decisions.0) {
                prop_assert!(policy.0 == limit.0 && field.0 == limit.0);
                prop_assert_eq!(policy.1[0].1, i64::try_from(decision.limit).unwrap());
                prop_assert_eq!(field.1[0].1, i64::try_from(decision.remaining).unwrap());
            }
            let retry_after = headers.get(RETRY_AFTER).map(|value| value.to_str().unwrap().parse::<i64>().unwrap());
            let deciding = fields[decisions.deciding_index()].1.get(1).map(|(_, t)| *t);
            prop_assert_eq!(retry_after, deciding.filter(|_| !decisions.are_allowed()));
        }

        #[test]
        fn a_parser_of_structured_fields_reads_every_decision(
            (count, period_us, burst) in (1..1_u64 << 48, 1..1_u64 << 48, 1..1_u64 << 48),
            remaining in prop_oneof![Just(0), any::<u64>()],
            wait_ms in prop::option::of(1..=Decision::LONGEST_MS),
            reset_after_ms in 0..=Decision::LONGEST_MS,
            is_allowed in any::<bool>(),
        ) {
            let rate = Rate::new(count.into(), period_us.into()).unwrap();
            let policy = Policy::new(rate, Capacity::new(burst).unwrap());
            let remaining = remaining % (burst + 1);
            let decision = if is_allowed { allowed(remaining, reset_after_ms) } else { denied(remaining, wait_ms) };
            let headers = headers_of("leaky", policy, &Decision { limit: burst, ..decision }, true);
            let number = |name: HeaderName| Some(headers.get(name)?.to_str().unwrap().parse::<i64>().unwrap());

            let (name, policy) = parsed(&headers, &RATELIMIT_POLICY);
            let (limit, remaining) = (i64::try_from(burst).unwrap(), i64::try_from(remaining).unwrap());
            prop_assert!(name == "leaky" && policy[0] == ("q".to_owned(), limit) && policy[1].0 == "w" && policy[1].1 >= 1);
            prop_assert_eq!(number(X_RATELIMIT_LIMIT), Some(limit));

            let (name, field) = parsed(&headers, &RATELIMIT);
            prop_assert!(name == "leaky" && field[0] == ("r".to_owned(), remaining));
            prop_assert_eq!(number(X_RATELIMIT_REMAINING), Some(remaining));
            let t = field.get(1).map(|(_, t)| *t);
            prop_assert!(t.is_none_or(|t| t >= 1));
            prop_assert_eq!(number(X_RATELIMIT_RESET), t);
            prop_assert_eq!(number(RETRY_AFTER), t.filter(|_| !is_allowed));
            // A caller that spreads what remains over t keeps to the rate.
            let is_within = |t: i64| {
                let units = i128::from(remaining) * i128::from(rate.period_us());
                units <= i128::from(t) * 1_000_000 * i128::from(rate.count())
            };
            prop_assert!(!is_allowed || t.is_some_and(|t| is_within(t) || t == 999_999_999_999_999));
        }
    }
}
