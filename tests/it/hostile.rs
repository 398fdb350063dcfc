use redis::Value;
use rl_tests::{Redis, RedisServer, Stored};

use crate::errors::RATE;

const NUMBER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";

/// A word, and whether it is valid as a number of tokens, a rate and a period in seconds.
struct Hostile {
    word: Vec<u8>,
    number: bool,
    rate: bool,
    period_s: bool,
}

fn hostile() -> Vec<Hostile> {
    let bad = |word: &[u8]| Hostile {
        word: word.to_vec(),
        number: false,
        rate: false,
        period_s: false,
    };
    let rate = |word: &str| Hostile {
        rate: true,
        ..bad(word.as_bytes())
    };
    let number = |word: &str, period_s| Hostile {
        number: true,
        period_s,
        ..rate(word)
    };
    let mut all = vec![
        number("2147483648", true),
        number("4294967296", false),
        number("281474976710655", false),
        rate("9007199254740992"),
        rate("1/366d"),
        rate("0.000001"),
        bad(&[b'9'; 400]),
        bad(&vec![b'9'; 1_000_000]),
        bad(&vec![b'0'; 1_000_000]),
        bad(b"5\0"),
        bad(b"\0"),
        bad(b"5\r\n"),
        bad(b"\xff\xfe"),
        bad("\u{665}".as_bytes()),
    ];
    let texts = [
        "",
        " ",
        " 5",
        "5 ",
        "-5",
        "+5",
        "-0",
        "05",
        "00",
        "0x10",
        "1e3",
        "1e400",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "1,000",
        "1_000",
        "5.",
        ".5",
        "1.2.3",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551617",
        "1/",
        "/s",
        "/",
        "1/0s",
        "1/-1s",
        "1//s",
        "1/ss",
        "1 /s",
        "1/s/s",
        "1/S",
        "1/us",
        "10/30",
        "0.0000001",
        "0.0",
        "1/3258d",
        "PARTIAL",
        "COST",
        "TOKEN",
        "%s%n",
        "'; DROP",
        "{}",
    ];
    all.extend(texts.iter().map(|text| bad(text.as_bytes())));
    all
}

/// Runs a command with the word in place of `?`.
fn run(redis: &mut Redis, line: &str, word: &[u8]) -> Result<Value, String> {
    let words: Vec<&[u8]> = line
        .split(' ')
        .map(|part| if part == "?" { word } else { part.as_bytes() })
        .collect();
    redis.try_run(&words)
}

#[test]
fn every_argument_accepts_or_rejects_each_hostile_word() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    let numbers = [
        "RL.TOKEN k 10 ?",
        "RL.TOKEN k 10 20 COST ?",
        "RL.TOKEN k 10 20 COST ? PARTIAL",
        "RL.TOKEN k 10 20 FORCE ?",
        "RL.TOKEN k 10 20 REFUND ?",
        "RL.LEAKY k 10 ?",
        "RL.LEAKY k 10 20 COST ?",
        "RL.LEAKY k 10 20 COST ? PARTIAL",
        "RL.LEAKY k 10 20 FORCE ?",
        "RL.LEAKY k 10 20 REFUND ?",
        "RL.PEEK k COST ?",
        "RL.MULTI k TOKEN 10 ? 1",
        "RL.MULTI k LEAKY 10 20 ?",
        "RL.THROTTLE k 15 ? 60",
        "RL.THROTTLE k 15 30 60 ?",
    ];
    let rates = [
        "RL.TOKEN k ? 20",
        "RL.LEAKY k ? 20",
        "RL.MULTI k TOKEN ? 20 1",
    ];
    let options = [
        "RL.TOKEN k 10 20 ?",
        "RL.LEAKY k 10 20 ?",
        "RL.PEEK k ?",
        "RL.MULTI k ? 10 20 1",
        "RL.TOKEN k 10 20 COST 1 ?",
        "RL.TOKEN k 10 20 ? 1",
    ];
    let mut calls = 0;
    for hostile in hostile() {
        let word = &hostile.word;
        let shown = String::from_utf8_lossy(&word[..word.len().min(40)]).into_owned();
        let mut check = |line: &str, good: bool, error: &str| {
            redis.value("DEL k");
            let reply = run(&mut redis, line, word);
            match good {
                true => assert!(reply.is_ok(), "{line} with {shown:?}: {reply:?}"),
                false => assert_eq!(reply, Err(error.to_owned()), "{line} with {shown:?}"),
            }
            calls += 1;
        };
        numbers
            .iter()
            .for_each(|line| check(line, hostile.number, NUMBER));
        rates
            .iter()
            .for_each(|line| check(line, hostile.rate, RATE));
        // One more than max_burst must still be a number of tokens.
        check(
            "RL.THROTTLE k ? 30 60",
            hostile.number && word != b"281474976710655",
            NUMBER,
        );
        check("RL.THROTTLE k 15 30 ?", hostile.period_s, NUMBER);
        for line in options {
            let is_option = (word == b"TOKEN" && line.starts_with("RL.MULTI"))
                || (word == b"COST" && line.ends_with("? 1"))
                || (word == b"PARTIAL" && line.ends_with("COST 1 ?"));
            check(line, is_option, SYNTAX);
        }
    }
    assert!(calls > 1500, "{calls}");
    assert!(server.is_alive());
}

#[test]
fn any_word_may_be_a_key() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    for hostile in hostile() {
        for line in [
            "RL.TOKEN ? 1/1000d 20",
            "RL.PEEK ?",
            "RL.INFO ?",
            "RL.MULTI ? TOKEN 1/1000d 20 1",
            "RL.THROTTLE ? 19 1 86400000",
        ] {
            assert!(run(&mut redis, line, &hostile.word).is_ok(), "{line}");
        }
    }
    assert!(server.is_alive());
}

/// Each of the 44 bytes is changed in turn. The result is a bucket as the layout defines it, or not a bucket; never a
/// crash.
#[test]
fn each_byte_of_a_state_changed_is_a_bucket_or_wrongtype() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    redis.limit("RL.TOKEN good 7/1000d 20 COST 5");
    let good: Vec<u8> = redis.line("GET good");
    let mut buckets = 0;
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            redis
                .try_run::<Value>(&[b"SET".as_slice(), b"k", &bytes])
                .expect("set");
            let valid = Stored::is_valid(&bytes);
            for line in ["RL.PEEK k", "RL.INFO k", "RL.TOKEN k 7/1000d 20"] {
                match redis.try_line::<Value>(line) {
                    Ok(_) => assert!(valid, "byte {at} ^ {flip:#x}: {line}"),
                    Err(error) if bytes[0] == b'L' => assert!(
                        error.starts_with("WRONGTYPE Key holds a leaky bucket"),
                        "{error}"
                    ),
                    Err(error) => assert!(
                        !valid && error.starts_with("WRONGTYPE Operation"),
                        "byte {at} ^ {flip:#x}: {line}: {error}"
                    ),
                }
            }
            buckets += usize::from(valid);
        }
    }
    assert!(buckets > 20, "only {buckets} changed states are buckets");
    assert!(server.is_alive());
}

/// Commands that any client may run on a string, and whether the bucket in it survives.
#[test]
fn other_commands_on_a_bucket_have_a_defined_result() {
    let server = RedisServer::start();
    let mut redis = server.connect();
    const KIND: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
    for (line, survives) in [
        ("APPEND k x", false),
        ("SETRANGE k 0 X", false),
        ("SETRANGE k 100 X", false),
        ("SETBIT k 0 1", false),
        ("SETBIT k 400 1", false),
        ("SET k hello", false),
        ("GETSET k 1700000000000000000", false),
        ("INCR k", true),
        ("GETRANGE k 0 -1", true),
        ("EXPIRE k 1000", true),
        ("PERSIST k", true),
        ("PEXPIREAT k 9999999999999", true),
        ("OBJECT FREQ k", true),
        ("OBJECT ENCODING k", true),
        ("MEMORY USAGE k", true),
        ("DEBUG OBJECT k", true),
        ("TOUCH k", true),
    ] {
        redis.value("DEL k");
        redis.limit("RL.TOKEN k 1/1000d 20 COST 5");
        let _ = redis.try_line::<Value>(line);
        match redis.try_line::<Vec<i64>>("RL.TOKEN k 1/1000d 20 COST 10") {
            Ok(reply) => assert!(survives && reply[..3] == [1, 20, 5], "{line}: {reply:?}"),
            Err(error) => assert!(!survives && error == KIND, "{line}: {error}"),
        }
        if survives {
            assert!(
                redis.stored("k").1 > 0,
                "{line}: a change that moves the deadline sets one again"
            );
        }
    }
}
