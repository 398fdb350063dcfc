//! Which node of a cluster serves which key: pure.

use crate::redis_address::Node;
use crc::{CRC_16_XMODEM, Crc};

const SLOTS: u16 = 16384;

/// What Redis Cluster's specification names CRC16.
const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// Who serves which slots. Some slots may be served by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slots<T>(Vec<(u16, u16, T)>);

/// The node in `3999 10.0.0.1:6381`, the words after MOVED and ASK. An empty host is that of the node that sent them. `None` if
/// the slot is not that of `key`: then the words answer another call.
pub(super) fn redirection(words: &str, key: &[u8]) -> Option<Node> {
    let (of, place) = words.split_once(' ')?;
    if of.parse() != Ok(slot(key)) {
        return None;
    }
    let (host, port) = place.rsplit_once(':')?;
    let (host, port) = (host.to_owned(), port.parse().ok()?);
    Some(Node { host, port })
}

impl<T> FromIterator<(u16, u16, T)> for Slots<T> {
    /// From the first and the last slot of each range, and who serves it.
    fn from_iter<I: IntoIterator<Item = (u16, u16, T)>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_by_key(|(first, _, _)| *first);
        Self(ranges)
    }
}

impl<T> Slots<T> {
    /// Who serves `key`.
    pub(super) fn of(&self, key: &[u8]) -> Option<&T> {
        let slot = slot(key);
        let after = self.0.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, server) = self.0.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(server)
    }

    /// All who serve some.
    pub(super) fn servers(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, _, server)| server)
    }

    /// The same ranges, served by others.
    pub(super) fn map<U>(&self, mut to: impl FnMut(&T) -> U) -> Slots<U> {
        let ranges = self.0.iter();
        Slots(
            ranges
                .map(|(first, last, server)| (*first, *last, to(server)))
                .collect(),
        )
    }
}

/// The slot of a key: that of what stands within its first braces, if anything does.
fn slot(key: &[u8]) -> u16 {
    CRC16.checksum(tag(key).unwrap_or(key)) % SLOTS
}

fn tag(key: &[u8]) -> Option<&[u8]> {
    let (_, rest) = split_at(key, b'{')?;
    let (tag, _) = split_at(rest, b'}')?;
    (!tag.is_empty()).then_some(tag)
}

fn split_at(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..index], &bytes[index + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        let host = host.to_owned();
        Node { host, port }
    }

    /// As CLUSTER KEYSLOT answers; the tags are those of the cluster's specification.
    #[test]
    fn a_key_has_the_slot_that_redis_gives_it() {
        assert_eq!(slot(b"123456789"), 12739);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"), "an empty tag is none");
        assert_ne!(slot(b"foo{bar"), slot(b"bar"));
    }

    #[test]
    fn each_slot_is_served_by_the_node_of_its_range_and_one_in_no_range_by_none() {
        let ranges = [(8000, 12738, 'b'), (12740, 16383, 'c'), (0, 7999, 'a')];
        let slots = Slots::from_iter(ranges);
        assert_eq!(slots.of(b"123456789"), None, "12739");
        for key in (0..100_000).map(|key: u32| key.to_string()) {
            let expected = match slot(key.as_bytes()) {
                0..8000 => Some(&'a'),
                12739 => None,
                8000..12740 => Some(&'b'),
                _ => Some(&'c'),
            };
            assert_eq!(slots.of(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slots.servers().collect::<String>(), "abc");
        assert_eq!(Slots::<char>::from_iter([]).of(b"k"), None);
    }

    #[test]
    fn a_redirection_names_a_node() {
        let after = |words| redirection(words, b"123456789");
        assert_eq!(after("12739 127.0.0.1:6381"), Some(node("127.0.0.1", 6381)));
        assert_eq!(
            after("12739 2001:db8::1:6381"),
            Some(node("2001:db8::1", 6381))
        );
        assert_eq!(after("12739 :6381"), Some(node("", 6381)));
        let another_slot = "3999 127.0.0.1:6381";
        for nothing in ["", "12739", "12739 host", "12739 host:99999", another_slot] {
            assert_eq!(after(nothing), None, "{nothing:?}");
        }
    }
}
