//! What RL.TOP replies: the keys that were denied most. Pure.

use serde::Serialize;

use super::call_error::CallError;
use super::error_reply::{error_code, refused};
use super::resp::{Reply, Word, write_call};
use crate::limit::Unavailable;

/// The most keys that are listed. A server counts no more.
pub(super) const MAX_KEYS: usize = 256;

/// A key and its denials, which the module counts with a half-life of one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeniedKey {
    /// The key. Bytes that are not UTF-8 are replaced.
    pub key: String,
    /// An upper bound of the denials.
    pub denied: u64,
    /// How much too large the bound may be.
    pub overestimate: u64,
}

/// The keys that were denied most, the most denied first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MostDenied {
    /// At most 256 keys.
    pub keys: Vec<DeniedKey>,
    /// The primaries of a cluster whose keys are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<UnavailablePrimary>,
}

/// A primary that did not reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnavailablePrimary {
    /// Its host and port.
    pub primary: String,
    /// Why there is no reply, and what to do.
    pub error: String,
}

/// The replies of primaries, each with its host and port.
pub(super) type DeniedByPrimary = Vec<(String, Result<Vec<DeniedKey>, CallError>)>;

/// Appends the call.
pub(super) fn write_top(buffer: &mut Vec<u8>) {
    let words = [
        Word::Text("RL.TOP"),
        Word::Text("COUNT"),
        Word::Number(MAX_KEYS as u64),
    ];
    write_call(buffer, &words);
}

/// Decodes the reply.
pub(super) fn denied_keys(reply: &Reply) -> Result<Vec<DeniedKey>, CallError> {
    let keys: Option<Vec<DeniedKey>> = match reply {
        Reply::Error(error) if error.starts_with("ERR unknown command") => {
            return Err(CallError::Undecided(Unavailable::NoModule));
        }
        Reply::Error(error) if error_code(error) == "NOPERM" => {
            let reason = "NOPERM: the user of -redis needs the ACL rule +rl.top".to_owned();
            return Err(CallError::Undecided(Unavailable::Refused(reason)));
        }
        Reply::Error(error) => return Err(refused(error)),
        // An empty array.
        Reply::Integers(none) if none.as_slice().is_empty() => Some(Vec::new()),
        Reply::Array(keys) => keys.iter().map(denied_key).collect(),
        _ => None,
    };
    keys.ok_or(CallError::Mismatched)
}

fn denied_key(reply: &Reply) -> Option<DeniedKey> {
    let Reply::Array(parts) = reply else {
        return None;
    };
    let [
        Reply::Text(key),
        Reply::Integer(denied),
        Reply::Integer(over),
    ] = parts.as_slice()
    else {
        return None;
    };
    Some(DeniedKey {
        key: String::from_utf8_lossy(key).into_owned(),
        denied: u64::try_from(*denied).ok()?,
        overestimate: u64::try_from(*over).ok()?,
    })
}

impl MostDenied {
    /// Merges the replies of primaries. A key is on one of them.
    ///
    /// # Errors
    ///
    /// The first error if no primary replied.
    pub(super) fn merged(replies: DeniedByPrimary) -> Result<Self, Unavailable> {
        let (mut merged, mut first_error, mut replied) = (Self::default(), None, false);
        for (primary, reply) in replies {
            match reply {
                Ok(keys) => {
                    replied = true;
                    merged.keys.extend(keys);
                }
                Err(error) => {
                    let reason = Unavailable::from(error);
                    let error = reason.to_string();
                    merged
                        .unavailable
                        .push(UnavailablePrimary { primary, error });
                    first_error.get_or_insert(reason);
                }
            }
        }
        merged.keys.sort_by_key(|key| u64::MAX - key.denied);
        merged.keys.truncate(MAX_KEYS);
        match first_error {
            Some(reason) if !replied => Err(reason),
            _ => Ok(merged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, denied: u64) -> DeniedKey {
        DeniedKey {
            key: key.to_owned(),
            denied,
            overestimate: 0,
        }
    }

    #[test]
    fn a_reply_of_another_call_is_a_mismatch() {
        let status = Reply::Status("OK".to_owned());
        let pair = Reply::Array(vec![Reply::Text(b"k".to_vec()), Reply::Integer(1)]);
        for reply in [status, Reply::Array(vec![pair]), Reply::Null] {
            assert_eq!(denied_keys(&reply), Err(CallError::Mismatched), "{reply:?}");
        }
    }

    #[test]
    fn merged_lists_keep_what_other_primaries_reply() {
        let lost = || (String::from("b:1"), Err(CallError::Closed));
        let merged = MostDenied::merged(vec![
            ("a:1".to_owned(), Ok(vec![key("x", 5), key("y", 1)])),
            lost(),
            ("c:1".to_owned(), Ok(vec![key("z", 3)])),
        ]);
        let merged = merged.expect("two lists");
        assert_eq!(merged.keys, [key("x", 5), key("z", 3), key("y", 1)]);
        assert_eq!(merged.unavailable[0].primary, "b:1");
        assert_eq!(MostDenied::merged(vec![lost()]), Err(Unavailable::NoAnswer));
        assert_eq!(MostDenied::merged(vec![]), Ok(MostDenied::default()));
    }
}
