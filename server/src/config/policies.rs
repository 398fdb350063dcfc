//! `-policies`: the file of named policies, and what it holds.
//!
//! [`grammar`] says what it may hold. Which policies are in force, and when the file is read again, is up to `http/policies.rs`.

mod errors;
mod grammar;
mod key_parts;

use std::fs;
use std::io;
use std::path::Path;

use axum::http::HeaderName;
use nonempty::NonEmpty;
use rl_bucket::Policy;

/// The name of the policy of `-rate` and `-burst`. No policy of the file may have it.
pub(crate) const DEFAULT: &str = "default";

/// A policy of the file: whose buckets a request charges, and by which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPolicy {
    /// The part of the path behind `/token/` and `/leaky/`.
    pub name: String,
    /// What distinguishes callers, usually the address alone.
    pub key: NonEmpty<KeyPart>,
    /// The limits of each caller. A request is allowed if all of them allow it.
    pub limits: NonEmpty<NamedLimit>,
    /// Whether requests over a limit are allowed, and only counted.
    pub dry_run: bool,
}

/// One limit of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLimit {
    /// `None` is possible for the only limit of a policy.
    pub name: Option<String>,
    /// Its rate and capacity.
    pub policy: Policy,
}

/// One thing that distinguishes callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The caller's IPv4 address or IPv6 network.
    Address,
    /// The value of a header that a trusted proxy sends.
    Header(HeaderName),
    /// The SHA-256 hash of such a value, for secrets.
    Sha256(HeaderName),
}

impl NamedPolicy {
    /// A policy of one limit without a name, for each address.
    pub(crate) fn by_address(name: &str, policy: Policy) -> Self {
        Self {
            name: name.to_owned(),
            key: NonEmpty::new(KeyPart::Address),
            limits: NonEmpty::new(NamedLimit { name: None, policy }),
            dry_run: false,
        }
    }

    /// Whether this is the policy of `-rate` and `-burst`, for `/token` and `/leaky`. Its keys, its path and its name in the
    /// RateLimit fields are those of before there were named policies.
    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// The names of the headers that distinguish callers.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.key.iter().filter_map(|part| match part {
            KeyPart::Address => None,
            KeyPart::Header(name) | KeyPart::Sha256(name) => Some(name),
        })
    }
}

/// Reads the policies of a file.
///
/// # Errors
///
/// Every error of the file, in the order of its lines: `policies.toml:3: api.limits[0].rate: expected ...`. A file that
/// cannot be read has no line.
pub(crate) fn read(path: &Path) -> Result<Vec<NamedPolicy>, Vec<String>> {
    let file = path.display();
    let text = read_text(path).map_err(|reason| vec![format!("{file}:{reason}")])?;
    grammar::parse(&text).map_err(|errors| {
        let errors = errors.into_iter();
        let errors = errors.map(|(line, reason)| format!("{file}:{line}: {reason}"));
        errors.collect()
    })
}

/// Reads a regular file: a pipe could block for ever. An error begins with a space, or with the line if there is one.
fn read_text(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!(" {error}: name a file that can be read");
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(" not a regular file: name a TOML file".to_owned());
    }
    String::from_utf8(fs::read(path).map_err(failed)?).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        format!("{line}: not UTF-8: save the file as UTF-8")
    })
}
