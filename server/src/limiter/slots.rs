//! The hash slots of a Redis Cluster: which node serves which key, and how a redirection is read. Pure.
//!
//! The cluster specification defines slots, hash tags and redirections. [`super::cluster`] keeps the map, and
//! [`super::client`] decodes the reply of CLUSTER SLOTS to it.

use crc::{CRC_16_XMODEM, Crc};

use crate::redis_address::Node;

/// The number of slots, fixed by the cluster specification.
const SLOTS: u16 = 16384;

/// The checksum that the Redis Cluster specification calls CRC16.
const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// Ranges of slots, each as first slot, last slot and its server, sorted by first slot. Slots may be without a
/// server.
///
/// `T` is the server of a range: a [`Node`] as it is read from Redis, and then what the calls use. Ranges do not
/// overlap in the reply of a node, and this type does not check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots<T>(Vec<(u16, u16, T)>);

/// Reads the details of a MOVED or ASK error, such as `3999 10.0.0.1:6381`, sent in reply to a call for `key`.
///
/// An empty host stands for the host of the node that replied. `None` if the slot is not that of `key`, because then
/// the error answers another call.
///
/// `MOVED 3999 host:port` and `ASK 3999 host:port` have the same details. An IPv6 address has no brackets in them, so
/// the port is what follows the last colon.
pub(super) fn redirection(details: &str, key: &[u8]) -> Option<Node> {
    let (for_slot, address) = details.split_once(' ')?;
    if for_slot.parse() != Ok(slot(key)) {
        return None;
    }
    let (host, port) = address.rsplit_once(':')?;
    let (host, port) = (host.to_owned(), port.parse().ok()?);
    Some(Node { host, port })
}

impl<T> FromIterator<(u16, u16, T)> for Slots<T> {
    /// Collects ranges, each as first slot, last slot (inclusive) and server, in any order.
    fn from_iter<I: IntoIterator<Item = (u16, u16, T)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_by_key(|(first, _, _)| *first);
        Self(ranges)
    }
}

impl<T> Slots<T> {
    /// The server of `key`. `None` if no node serves its slot, as while a cluster is set up or has lost a primary.
    pub(super) fn server_of(&self, key: &[u8]) -> Option<&T> {
        let slot = slot(key);
        let after = self.0.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, server) = self.0.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(server)
    }

    /// The server of each range. One with several ranges comes several times.
    pub(super) fn servers(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, _, server)| server)
    }

    /// The same ranges with other servers.
    pub(super) fn map<U>(&self, mut map: impl FnMut(&T) -> U) -> Slots<U> {
        let ranges = self.0.iter();
        Slots(
            ranges
                .map(|(first, last, server)| (*first, *last, map(server)))
                .collect(),
        )
    }
}

/// The slot of a key: that of its hash tag, or of the whole key if it has none.
fn slot(key: &[u8]) -> u16 {
    CRC16.checksum(hash_tag(key).unwrap_or(key)) % SLOTS
}

/// What is inside the first pair of braces, if it is not empty.
///
/// `{user1}.a` and `{user1}.b` have the tag `user1`, and so the same slot. `None` without such a pair and for `{}`,
/// where the whole key counts.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split_once(key, b'{')?;
    let (tag, _) = split_once(rest, b'}')?;
    (!tag.is_empty()).then_some(tag)
}

/// What is before and after the first `delimiter`. `None` if there is none.
fn split_once(bytes: &[u8], delimiter: u8) -> Option<(&[u8], &[u8])> {
    let index = bytes.iter().position(|byte| *byte == delimiter)?;
    Some((&bytes[..index], &bytes[index + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        let host = host.to_owned();
        Node { host, port }
    }

    /// The slots are those of CLUSTER KEYSLOT, the hash tags those of the cluster specification.
    #[test]
    fn a_key_has_the_same_slot_as_in_redis() {
        assert_eq!(slot(b"123456789"), 12739);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_ne!(
            slot(b"foo{}{bar}"),
            slot(b"bar"),
            "an empty hash tag does not count"
        );
        assert_ne!(slot(b"foo{bar"), slot(b"bar"));
    }

    #[test]
    fn a_slot_belongs_to_the_server_of_its_range() {
        let ranges = [(8000, 12738, 'b'), (12740, 16383, 'c'), (0, 7999, 'a')];
        let slots = Slots::from_iter(ranges);
        assert_eq!(slots.server_of(b"123456789"), None, "12739");
        for key in (0..100_000).map(|key: u32| key.to_string()) {
            let expected = match slot(key.as_bytes()) {
                0..8000 => Some(&'a'),
                12739 => None,
                8000..12740 => Some(&'b'),
                _ => Some(&'c'),
            };
            assert_eq!(slots.server_of(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slots.servers().collect::<String>(), "abc");
        assert_eq!(Slots::<char>::from_iter([]).server_of(b"k"), None);
    }

    #[test]
    fn a_redirection_names_a_node_for_the_slot_of_the_key() {
        let after = |details| redirection(details, b"123456789");
        assert_eq!(after("12739 127.0.0.1:6381"), Some(node("127.0.0.1", 6381)));
        assert_eq!(
            after("12739 2001:db8::1:6381"),
            Some(node("2001:db8::1", 6381))
        );
        assert_eq!(after("12739 :6381"), Some(node("", 6381)));
        let another_slot = "3999 127.0.0.1:6381";
        for invalid in ["", "12739", "12739 host", "12739 host:99999", another_slot] {
            assert_eq!(after(invalid), None, "{invalid:?}");
        }
    }
}
