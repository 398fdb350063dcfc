//! The program and the version of the server under test.

use std::process::Command;
use std::sync::OnceLock;

/// The program under test.
#[must_use]
pub fn program() -> String {
    std::env::var("RL_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// The version of the server under test, as `[major, minor]`. Valkey forked from Redis 7.2: any lower version is Redis.
///
/// # Panics
///
/// If the program does not print it.
#[must_use]
pub fn version() -> [u32; 2] {
    static VERSION: OnceLock<[u32; 2]> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(program()).arg("--version").output();
        let printed = String::from_utf8(output.expect("a redis-server").stdout).expect("text");
        read(&printed).unwrap_or_else(|| panic!("no version: {printed}"))
    })
}

fn read(printed: &str) -> Option<[u32; 2]> {
    let mut numbers = printed.split_once(" v=")?.1.split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some([number()?, number()?])
}

/// The command that reads when a key expires. Before 7.0 it is PTTL, which gives the remaining time only.
pub(crate) fn deadline_command() -> &'static str {
    if version() < [7, 0] {
        "PTTL"
    } else {
        "PEXPIRETIME"
    }
}

/// The deadline, from the reply to [`deadline_command`] between two readings of the clock; `None` if it is not exact.
pub(crate) fn deadline_ms(reply: i64, before_us: i128, after_us: i128) -> Option<i64> {
    let now_ms = before_us / 1000;
    if reply < 0 || version() >= [7, 0] {
        return Some(reply);
    }
    // An expired key exists until the transaction ends, and PTTL is 0 for it.
    (reply > 0 && now_ms == after_us / 1000).then(|| reply + i64::try_from(now_ms).expect("a time"))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_version_is_read_of_redis_and_of_valkey() {
        let redis =
            "Redis server v=6.2.14 sha=40305114:0 malloc=libc bits=64 build=dff95a8e7a99d269";
        assert_eq!(read(redis), Some([6, 2]));
        assert_eq!(read("Valkey server v=8.1.8 sha=00000000:1"), Some([8, 1]));
        assert_eq!(read("something else"), None);
    }
}
