//! The grammar of a policy's `key`. Pure.

use axum::http::HeaderName;
use nonempty::NonEmpty;
use toml::Spanned;
use toml::de::DeValue;

use super::KeyPart;
use super::errors::Errors;

/// The largest number of parts of a key.
const MAX_KEY_PARTS: usize = 8;

/// Reads `key`, a list of parts.
pub(super) fn key_parts(
    path: &str,
    value: &Spanned<DeValue<'_>>,
    errors: &mut Errors,
) -> Option<NonEmpty<KeyPart>> {
    let at = value.span().start;
    let expected = "expected a list of \"address\", \"header:NAME\" or \"sha256:NAME\"";
    let list = value.get_ref().as_array().filter(|list| !list.is_empty());
    let list = list.ok_or(expected);
    let mut parts = Vec::new();
    for (index, value) in errors.check(at, path, list)?.iter().enumerate() {
        let (at, path) = (value.span().start, format!("{path}[{index}]"));
        let part = value.get_ref().as_str().and_then(key_part).ok_or(
            "expected \"address\", \"header:NAME\" or \"sha256:NAME\" with the name of a header",
        );
        match errors.check(at, &path, part) {
            Some(part) if parts.contains(&part) => {
                errors.add(at, &path, "duplicate part: remove it");
            }
            part => parts.extend(part),
        }
    }
    if parts.len() > MAX_KEY_PARTS {
        errors.add(at, path, "a key has at most 8 parts: remove some");
    }
    NonEmpty::from_vec(parts)
}

fn key_part(text: &str) -> Option<KeyPart> {
    let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    match text.split_once(':') {
        None => (text == "address").then_some(KeyPart::Address),
        Some(("header", name)) => header(name).map(KeyPart::Header),
        Some(("sha256", name)) => header(name).map(KeyPart::Sha256),
        Some(_) => None,
    }
}
