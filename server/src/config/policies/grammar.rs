//! The grammar of the policies file: TOML in, policies out, or all errors at once. Pure.
//!
//! Serde's derived readers stop at the first error. So this reads the parsed document field by field, and goes on after
//! an error.

use nonempty::NonEmpty;
use rl_bucket::{Capacity, Policy, Rate};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::errors::Errors;
use super::key_parts::key_parts;
use super::{DEFAULT, KeyPart, NamedLimit, NamedPolicy};
use crate::config::values;

/// The largest number of limits of a policy.
const MAX_LIMITS: usize = 16;

/// The longest name in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Names that no policy may have. The second is part of the keys that `-trust-caller` makes.
const RESERVED: [&str; 2] = [DEFAULT, "key"];

const NAME_FORM: &str =
    "expected a lower-case letter, then at most 63 lower-case letters, digits, _ or -";
const POLICY_FIELDS: &str = "use key, limits or dry_run";
const LIMIT_FIELDS: &str = "use name, rate or burst";

/// Reads the policies of a file.
///
/// # Errors
///
/// Each error with its line, from 1, in the order of the lines.
pub(super) fn parse(text: &str) -> Result<Vec<NamedPolicy>, Vec<(usize, String)>> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let mut errors = Errors::default();
    for error in &syntax_errors {
        let span = error.span().unwrap_or_default();
        let quoted = text.get(span.clone()).filter(|quoted| !quoted.is_empty());
        let reason = match quoted {
            Some(quoted) => format!("{}: {quoted:?}", error.message()),
            None => error.message().to_owned(),
        };
        errors.add(span.start, "", &reason);
    }
    // After a syntax error the rest of the document may not say what its author meant.
    if !syntax_errors.is_empty() {
        return Err(errors.with_lines(text));
    }
    let mut policies = Vec::new();
    for (name, value) in document.get_ref() {
        policies.extend(policy(name, value, &mut errors));
    }
    if document.get_ref().is_empty() {
        errors.add(0, "", "no policies: add one, or leave -policies away");
    }
    match errors.count() {
        0 => Ok(policies),
        _ => Err(errors.with_lines(text)),
    }
}

type Name<'i> = Spanned<DeString<'i>>;
type Value<'i> = Spanned<DeValue<'i>>;

/// Reads one policy. `None` if it has an error.
fn policy(name: &Name<'_>, value: &Value<'_>, errors: &mut Errors) -> Option<NamedPolicy> {
    let (at, policy_name) = (name.span().start, name.get_ref());
    let errors_before = errors.count();
    errors.check(at, policy_name, check_policy_name(policy_name));
    let Some(table) = value.get_ref().as_table() else {
        let reason = format!("expected a table, as in [{policy_name}]");
        errors.add(at, policy_name, &reason);
        return None;
    };
    let (key, limits, dry_run) = policy_fields(policy_name, table, errors);
    if limits.is_none() {
        let reason = "no limits: add limits = [{ rate = \"10/s\", burst = 20 }]";
        errors.add(at, policy_name, reason);
    }
    let limits = NonEmpty::from_vec(limits.unwrap_or_default())?;
    (errors.count() == errors_before).then(|| NamedPolicy {
        name: policy_name.to_string(),
        key: key.unwrap_or(NonEmpty::new(KeyPart::Address)),
        limits,
        dry_run: dry_run.unwrap_or(false),
    })
}

/// The values of `key`, `limits` and `dry_run`, if they are there.
type PolicyFields = (
    Option<NonEmpty<KeyPart>>,
    Option<Vec<NamedLimit>>,
    Option<bool>,
);

/// Reads the fields of a policy.
fn policy_fields(policy_name: &str, table: &DeTable<'_>, errors: &mut Errors) -> PolicyFields {
    let (mut key, mut limits, mut dry_run) = (None, None, None);
    for (field, value) in table {
        let at = value.span().start;
        let path = format!("{policy_name}.{}", field.get_ref());
        match field.get_ref().as_ref() {
            "key" => key = key_parts(&path, value, errors),
            "limits" => limits = Some(policy_limits(&path, value, errors)),
            "dry_run" => {
                let expected = value.get_ref().as_bool().ok_or("expected true or false");
                dry_run = errors.check(at, &path, expected);
            }
            _ => errors.add(field.span().start, &path, &unknown(POLICY_FIELDS)),
        }
    }
    (key, limits, dry_run)
}

fn unknown(fields: &str) -> String {
    format!("unknown field; {fields}")
}

fn check_policy_name(name: &str) -> Result<(), &'static str> {
    if RESERVED.contains(&name) {
        return Err("this name is reserved: choose another");
    }
    check_name(name)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let is_valid = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
        })
        && name.len() <= MAX_NAME_BYTES;
    is_valid.then_some(()).ok_or(NAME_FORM)
}

/// Reads `limits`. Limits with an error are left out.
fn policy_limits(path: &str, value: &Value<'_>, errors: &mut Errors) -> Vec<NamedLimit> {
    let at = value.span().start;
    let list = value.get_ref().as_array().filter(|list| !list.is_empty());
    let expected = "expected a list such as [{ rate = \"10/s\", burst = 20 }]";
    let Some(list) = errors.check(at, path, list.ok_or(expected)) else {
        return Vec::new();
    };
    if list.len() > MAX_LIMITS {
        errors.add(at, path, "a policy has at most 16 limits: remove some");
    }
    let mut limits: Vec<NamedLimit> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let (at, path) = (value.span().start, format!("{path}[{index}]"));
        let Some(limit) = limit(&path, value, errors) else {
            continue;
        };
        if list.len() > 1 && limit.name.is_none() {
            errors.add(at, &path, "add a name, since the policy has several limits");
        } else if limits.iter().any(|other| other.name == limit.name) {
            errors.add(
                at,
                &path,
                "another limit of the policy has the same name: choose another",
            );
        }
        limits.push(limit);
    }
    limits
}

/// Reads one limit. `None` if it has an error.
fn limit(path: &str, value: &Value<'_>, errors: &mut Errors) -> Option<NamedLimit> {
    let at = value.span().start;
    let table = value.get_ref().as_table();
    let table = table.ok_or("expected a table such as { rate = \"10/s\", burst = 20 }");
    let errors_before = errors.count();
    let (mut name, mut rate, mut burst) = (None, None, None);
    let table = errors.check(at, path, table)?;
    for (field, value) in table {
        let at = value.span().start;
        let path = format!("{path}.{}", field.get_ref());
        match field.get_ref().as_ref() {
            "name" => name = errors.check(at, &path, limit_name(value.get_ref())),
            "rate" => rate = errors.check(at, &path, limit_rate(value.get_ref())),
            "burst" => burst = errors.check(at, &path, limit_burst(value.get_ref())),
            _ => errors.add(field.span().start, &path, &unknown(LIMIT_FIELDS)),
        }
    }
    for (field, example) in [("rate", "rate = \"10/s\""), ("burst", "burst = 20")] {
        if !table.contains_key(field) {
            errors.add(at, path, &format!("no {field}: add {example}"));
        }
    }
    let policy = Policy::new(rate?, burst?);
    (errors.count() == errors_before).then_some(NamedLimit { name, policy })
}

fn limit_name(value: &DeValue<'_>) -> Result<String, &'static str> {
    let name = value.as_str().ok_or(NAME_FORM)?;
    check_name(name)?;
    Ok(name.to_owned())
}

fn limit_rate(value: &DeValue<'_>) -> Result<Rate, &'static str> {
    let text = value.as_str();
    text.map_or(Err("expected a string such as \"10/s\""), values::rate)
}

fn limit_burst(value: &DeValue<'_>) -> Result<Capacity, &'static str> {
    let integer = value.as_integer().filter(|integer| integer.radix() == 10);
    let integer = integer.ok_or("expected a decimal integer such as 20, without quotes");
    values::burst(integer?.as_str())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn errors(text: &str) -> Vec<(usize, String)> {
        parse(text).expect_err(text)
    }

    fn header(name: &str) -> HeaderName {
        HeaderName::from_bytes(name.as_bytes()).unwrap()
    }

    #[test]
    fn a_file_without_errors_gives_its_policies() {
        let text = r#"
            [login]
            limits = [{ rate = "5/m", burst = 5 }]
            [api_2-x]
            key = ["header:X-Api-Key", "sha256:Authorization", "address"]
            limits = [
              { name = "second", rate = "10/s", burst = 20 },
              { name = "hour", rate = "1000/h", burst = 1_000 },
            ]
            dry_run = true
        "#;
        let policies = parse(text).unwrap();
        let [api, login] = policies.as_slice() else {
            panic!("{policies:?}")
        };
        let policy = |rate: &[u8], burst| {
            Policy::new(Rate::parse(rate).unwrap(), Capacity::new(burst).unwrap())
        };
        assert_eq!(*login, NamedPolicy::by_address("login", policy(b"5/m", 5)));
        assert!(api.dry_run && api.name == "api_2-x");
        let parts = [
            KeyPart::Header(header("x-api-key")),
            KeyPart::Sha256(header("authorization")),
            KeyPart::Address,
        ];
        assert!(api.key.iter().eq(&parts));
        let limits = api
            .limits
            .iter()
            .map(|limit| (limit.name.as_deref(), limit.policy));
        let expected = [
            (Some("second"), policy(b"10/s", 20)),
            (Some("hour"), policy(b"1000/h", 1000)),
        ];
        assert!(limits.eq(expected));
        let reason = "no policies: add one, or leave -policies away".to_owned();
        assert_eq!(parse("# none"), Err(vec![(1, reason)]));
    }

    #[test]
    fn all_errors_are_reported_with_line_and_field() {
        let text = r#"[Login]
limits = [{ rate = "5/m", burst = 5 }]
[key]
limits = []
[api]
keys = ["address"]
key = ["address", "cookie:x", "header:", "address", 7]
limits = [
  { name = "Second", rate = "10/w", burst = 0 },
  { rate = 10, burst = "20", per = 1 },
  { name = "a", rate = "1", burst = 1 },
  { name = "a", rate = "1", burst = 1 },
  { name = "b" },
  7,
]
dry_run = "yes"
[none]
"#;
        let found = errors(text);
        let burst = "expected a whole number from 1 to 281474976710655";
        let part =
            "expected \"address\", \"header:NAME\" or \"sha256:NAME\" with the name of a header";
        let rate = "expected <number>[/[<n>]<unit>] above 0, such as 10, 0.5/s, 600/m or 5/30s; \
             units are ms, s, sec, m, min, h, hour, d and day";
        let example = "{ rate = \"10/s\", burst = 20 }";
        let expected = [
            (1, format!("Login: {NAME_FORM}")),
            (3, "key: this name is reserved: choose another".to_owned()),
            (
                4,
                format!("key.limits: expected a list such as [{example}]"),
            ),
            (6, format!("api.keys: unknown field; {POLICY_FIELDS}")),
            (7, format!("api.key[1]: {part}")),
            (7, format!("api.key[2]: {part}")),
            (7, "api.key[3]: duplicate part: remove it".to_owned()),
            (7, format!("api.key[4]: {part}")),
            (9, format!("api.limits[0].name: {NAME_FORM}")),
            (9, format!("api.limits[0].rate: {rate}")),
            (9, format!("api.limits[0].burst: {burst}")),
            (
                10,
                "api.limits[1].rate: expected a string such as \"10/s\"".to_owned(),
            ),
            (
                10,
                "api.limits[1].burst: expected a decimal integer such as 20, without quotes"
                    .to_owned(),
            ),
            (
                10,
                format!("api.limits[1].per: unknown field; {LIMIT_FIELDS}"),
            ),
            (
                12,
                "api.limits[3]: another limit of the policy has the same name: choose another"
                    .to_owned(),
            ),
            (13, "api.limits[4]: no rate: add rate = \"10/s\"".to_owned()),
            (13, "api.limits[4]: no burst: add burst = 20".to_owned()),
            (
                14,
                format!("api.limits[5]: expected a table such as {example}"),
            ),
            (16, "api.dry_run: expected true or false".to_owned()),
            (17, format!("none: no limits: add limits = [{example}]")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn all_syntax_errors_are_reported_with_their_lines() {
        let lines = |text| Vec::from_iter(errors(text).into_iter().map(|(line, _)| line));
        assert_eq!(lines("[a]\nlimits = \n[b\n"), [2, 3]);
        assert_eq!(lines("[a]\ndry_run = true\n[a]\n"), [3]);
        assert_eq!(lines("[a]\ndry_run = true\ndry_run = true\n"), [3]);
    }

    #[test]
    fn several_limits_need_names_and_at_most_16_are_allowed() {
        let file = |limits: &[String]| format!("[a]\nlimits = [{}]", limits.join(", "));
        let unnamed = r#"{ rate = "1", burst = 1 }"#.to_owned();
        let named = |n: usize| format!(r#"{{ name = "l{n}", rate = "1", burst = 1 }}"#);
        let add = "add a name, since the policy has several limits";
        assert_eq!(
            errors(&file(&[unnamed, named(1)])),
            [(2, format!("a.limits[0]: {add}"))]
        );
        let many = |n| Vec::from_iter((0..n).map(named));
        assert_eq!(parse(&file(&many(16))).unwrap()[0].limits.len(), 16);
        let reason = "a.limits: a policy has at most 16 limits: remove some";
        assert_eq!(errors(&file(&many(17))), [(2, reason.to_owned())]);
    }

    #[test]
    fn names_have_one_form_and_at_most_64_bytes() {
        let is_name = |name: &str| check_name(name).is_ok();
        for name in ["a", "a1", "a_b-c", &"a".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "1a",
            "-a",
            "A",
            "aB",
            "a.b",
            "a b",
            "\u{e9}",
            &"a".repeat(65),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
