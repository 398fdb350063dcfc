//! Redis's protocol, RESP2: writes calls and reads replies. Pure.
//!
//! Its specification is at <https://redis.io/docs/latest/develop/reference/protocol-spec/>. The tests compare replies with
//! what the crate `redis-protocol` reads. That crate takes at least twice as many instructions for the reply to a decision.

use std::io::Write;

use rl_bucket::Rate;

/// The most integers of an array that [`Reply::Integers`] holds: those of a decision.
pub(super) const MAX_INTEGERS: usize = 6;

/// The deepest nesting of arrays. CLUSTER SLOTS has four levels.
const MAX_DEPTH: usize = 8;

/// The longest line of a reply, and so the longest error. Redis's own are shorter.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// The longest text, as Redis's `proto-max-bulk-len`.
const MAX_TEXT_BYTES: usize = 512 * 1024 * 1024;

/// Room for a rate. Its integers have at most 20 digits, and the count up to three more if it is one of milliseconds.
const MAX_RATE_BYTES: usize = 64;

/// The end of a line.
const CRLF: &[u8] = b"\r\n";

/// What Redis replies to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `OK` or `QUEUED`, for example.
    Status(String),
    /// An error: its code, and after a space its details.
    Error(String),
    Integer(i64),
    Text(Vec<u8>),
    /// An array that has integers only, at most [`MAX_INTEGERS`]. It is never an [`Reply::Array`].
    Integers(Integers),
    Array(Vec<Reply>),
    Null,
}

/// A few integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integers {
    numbers: [i64; MAX_INTEGERS],
    count: usize,
}

/// The bytes are not RESP2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A word of a call.
#[derive(Clone, Copy)]
pub(super) enum Word<'a> {
    Text(&'a str),
    Number(u64),
    Rate(Rate),
}

/// Appends a call.
pub(super) fn write_call(buffer: &mut Vec<u8>, words: &[Word<'_>]) {
    write_length(buffer, b'*', words.len());
    for word in words {
        match word {
            Word::Text(text) => write_text(buffer, text.as_bytes()),
            Word::Number(number) => {
                write_text(buffer, itoa::Buffer::new().format(*number).as_bytes());
            }
            Word::Rate(rate) => {
                let mut text = [0; MAX_RATE_BYTES];
                let mut rest = text.as_mut_slice();
                // A rate has two integers and a unit, so that it fits.
                let written = write!(rest, "{rate}");
                let length = MAX_RATE_BYTES - rest.len();
                debug_assert!(written.is_ok(), "{rate} is too long");
                write_text(buffer, &text[..length]);
            }
        }
    }
}

fn write_text(buffer: &mut Vec<u8>, text: &[u8]) {
    write_length(buffer, b'$', text.len());
    buffer.extend_from_slice(text);
    buffer.extend_from_slice(CRLF);
}

fn write_length(buffer: &mut Vec<u8>, kind: u8, length: usize) {
    buffer.push(kind);
    buffer.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    buffer.extend_from_slice(CRLF);
}

impl Integers {
    pub(super) fn as_slice(&self) -> &[i64] {
        &self.numbers[..self.count]
    }
}

/// Reads the reply that `bytes` begin with, and its length. `None` if it is not complete.
///
/// # Errors
///
/// If no bytes that could follow make it a reply.
pub(super) fn read_reply(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    let reply = reader.reply(MAX_DEPTH)?;
    Ok(reply.map(|reply| (reply, reader.at)))
}

/// Reads from the start of its bytes on.
struct Reader<'a> {
    bytes: &'a [u8],
    /// How many have been read.
    at: usize,
}

impl<'a> Reader<'a> {
    /// Each of these functions returns `None` if there are too few bytes.
    fn reply(&mut self, depth: usize) -> Result<Option<Reply>, Malformed> {
        let Some(&kind) = self.bytes.get(self.at) else {
            return Ok(None);
        };
        self.at += 1;
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
        Ok(Some(match kind {
            b'+' => Reply::Status(text(line)),
            b'-' => Reply::Error(text(line)),
            b':' => Reply::Integer(integer(line)?),
            b'$' => return self.text(length(line)?),
            b'*' => return self.array(length(line)?, depth),
            _ => return Err(Malformed),
        }))
    }

    /// The bytes until the end of the line.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.bytes[self.at..];
        match rest.iter().position(|byte| *byte == b'\r') {
            Some(end) if end + 1 < rest.len() => {
                self.at += end + CRLF.len();
                (rest[end + 1] == b'\n')
                    .then_some(Some(&rest[..end]))
                    .ok_or(Malformed)
            }
            _ if rest.len() > MAX_LINE_BYTES => Err(Malformed),
            _ => Ok(None),
        }
    }

    fn text(&mut self, length: Option<usize>) -> Result<Option<Reply>, Malformed> {
        let Some(length) = length else {
            return Ok(Some(Reply::Null));
        };
        if length > MAX_TEXT_BYTES {
            return Err(Malformed);
        }
        let rest = &self.bytes[self.at..];
        let (Some(text), Some(end)) = (rest.get(..length), rest.get(length..length + CRLF.len()))
        else {
            return Ok(None);
        };
        self.at += length + CRLF.len();
        (end == CRLF)
            .then(|| Some(Reply::Text(text.to_vec())))
            .ok_or(Malformed)
    }

    fn array(&mut self, length: Option<usize>, depth: usize) -> Result<Option<Reply>, Malformed> {
        let Some(length) = length else {
            return Ok(Some(Reply::Null));
        };
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        let start = self.at;
        if let Some(integers) = self.integers(length)? {
            return Ok(Some(Reply::Integers(integers)));
        }
        self.at = start;
        let mut items = Vec::new();
        for _ in 0..length {
            match self.reply(depth)? {
                Some(item) => items.push(item),
                None => return Ok(None),
            }
        }
        Ok(Some(Reply::Array(items)))
    }

    /// The items of an array, if they are integers, complete and few.
    fn integers(&mut self, length: usize) -> Result<Option<Integers>, Malformed> {
        let mut numbers = [0; MAX_INTEGERS];
        let Some(items) = numbers.get_mut(..length) else {
            return Ok(None);
        };
        for item in items {
            if self.bytes.get(self.at) != Some(&b':') {
                return Ok(None);
            }
            self.at += 1;
            match self.line()? {
                Some(line) => *item = integer(line)?,
                None => return Ok(None),
            }
        }
        Ok(Some(Integers {
            numbers,
            count: length,
        }))
    }
}

/// A number of items or bytes. `None` for -1, which stands for null.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    match integer(line)? {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| Malformed),
    }
}

fn integer(line: &[u8]) -> Result<i64, Malformed> {
    let (is_negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let negated = digits.iter().try_fold(0_i64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_sub(digit.into())
    });
    let number = match is_negative {
        true => negated,
        false => negated.and_then(i64::checked_neg),
    };
    number.filter(|_| !digits.is_empty()).ok_or(Malformed)
}

#[cfg(test)]
impl From<&[i64]> for Integers {
    /// Takes the first [`MAX_INTEGERS`].
    fn from(slice: &[i64]) -> Self {
        let mut numbers = [0; MAX_INTEGERS];
        let count = slice.len().min(MAX_INTEGERS);
        numbers[..count].copy_from_slice(&slice[..count]);
        Self { numbers, count }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp2::decode::decode;
    use redis_protocol::resp2::encode::encode;
    use redis_protocol::resp2::types::{OwnedFrame, Resp2Frame};

    use super::*;

    /// The reply that another reader's reply stands for.
    fn converted(frame: OwnedFrame) -> Reply {
        match frame {
            OwnedFrame::SimpleString(text) => Reply::Status(String::from_utf8(text).unwrap()),
            OwnedFrame::Error(text) => Reply::Error(text),
            OwnedFrame::Integer(number) => Reply::Integer(number),
            OwnedFrame::BulkString(text) => Reply::Text(text),
            OwnedFrame::Null => Reply::Null,
            OwnedFrame::Array(items) => {
                let numbers = items.iter().map(|item| match item {
                    OwnedFrame::Integer(number) => Some(*number),
                    _ => None,
                });
                match numbers.collect::<Option<Vec<_>>>() {
                    Some(numbers) if numbers.len() <= MAX_INTEGERS => {
                        Reply::Integers(numbers.as_slice().into())
                    }
                    _ => Reply::Array(items.into_iter().map(converted).collect()),
                }
            }
        }
    }

    fn frame() -> impl Strategy<Value = OwnedFrame> {
        let leaf = prop_oneof![
            4 => any::<i64>().prop_map(OwnedFrame::Integer),
            1 => "[ -~]{0,9}".prop_map(|text| OwnedFrame::SimpleString(text.into_bytes())),
            1 => "[ -~]{0,9}".prop_map(OwnedFrame::Error),
            1 => any::<Vec<u8>>().prop_map(OwnedFrame::BulkString),
            1 => Just(OwnedFrame::Null),
        ];
        leaf.prop_recursive(4, 64, 9, |item| {
            prop::collection::vec(item, 0..9).prop_map(OwnedFrame::Array)
        })
    }

    fn bytes_of(frame: &OwnedFrame) -> Vec<u8> {
        let mut bytes = vec![0; frame.encode_len(false)];
        encode(&mut bytes, frame, false).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn any_reply_is_read_as_another_reader_reads_it(frame in frame(), more in any::<Vec<u8>>()) {
            let bytes = bytes_of(&frame);
            let followed = [bytes.as_slice(), &more].concat();
            let expected = Some((converted(frame), bytes.len()));
            prop_assert_eq!(read_reply(&followed), Ok(expected));
            for end in 0..bytes.len() {
                prop_assert_eq!(read_reply(&bytes[..end]), Ok(None));
            }
        }

        #[test]
        fn any_bytes_are_read_as_another_reader_reads_them(
            bytes in "([*$:+-](-?[0-9]{1,3})?|[\\r\\n]|\\r\\n|[a-z]){0,12}"
        ) {
            if let (Ok(Some((reply, length))), Ok(Some((frame, expected)))) =
                (read_reply(bytes.as_bytes()), decode(bytes.as_bytes()))
            {
                prop_assert_eq!((reply, length), (converted(frame), expected));
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for bytes in [
            "x",
            ":1x\r\n",
            ":\r\n",
            ":1\rx",
            "$-2\r\n",
            "$1\r\nabc",
            "*1\r\n?1\r\n",
            "$536870913\r\n",
            ":9223372036854775808\r\n",
            &"*1\r\n".repeat(MAX_DEPTH + 1),
        ] {
            let bytes = [bytes.as_bytes(), b"\r\n"].concat();
            assert_eq!(read_reply(&bytes), Err(Malformed), "{bytes:?}");
        }
        let endless = vec![b'+'; MAX_LINE_BYTES + 2];
        assert_eq!(read_reply(&endless), Err(Malformed));
    }

    #[test]
    fn a_call_is_an_array_of_its_words() {
        let mut buffer = b"before".to_vec();
        let words = [
            Word::Text("RL.TOKEN"),
            Word::Text("ü"),
            Word::Number(12),
            Word::Rate(Rate::parse(b"10/s").unwrap()),
            Word::Rate(Rate::parse(b"1/3257d").unwrap()),
        ];
        write_call(&mut buffer, &words);
        let expected =
            "before*5\r\n$8\r\nRL.TOKEN\r\n$2\r\nü\r\n$2\r\n12\r\n$4\r\n10/s\r\n$7\r\n1/3257d\r\n";
        assert_eq!(String::from_utf8(buffer).unwrap(), expected);
    }
}
