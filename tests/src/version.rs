//! What the server under test is, where that matters.

use std::process::Command;
use std::sync::OnceLock;

/// The program under test.
#[must_use]
pub fn program() -> String {
    std::env::var("RL_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Its version, as `[major, minor]`. Valkey left Redis at 7.2 and went on from there: whatever is older is Redis.
///
/// # Panics
///
/// If the program does not tell it.
#[must_use]
pub fn version() -> [u32; 2] {
    static VERSION: OnceLock<[u32; 2]> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(program()).arg("--version").output();
        let told = String::from_utf8(output.expect("a redis-server").stdout).expect("text");
        read(&told).unwrap_or_else(|| panic!("no version: {told}"))
    })
}

fn read(told: &str) -> Option<[u32; 2]> {
    let mut numbers = told.split_once(" v=")?.1.split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some([number()?, number()?])
}

/// The command that tells when a key expires: before 7.0 only in how long.
pub(crate) fn deadline_command() -> &'static str {
    if version() < [7, 0] {
        "PTTL"
    } else {
        "PEXPIRETIME"
    }
}

/// The deadline by what [`deadline_command`] told between two readings of the clock; `None` if that leaves it open.
pub(crate) fn deadline_ms(told: i64, before_us: i128, after_us: i128) -> Option<i64> {
    let now_ms = before_us / 1000;
    if told < 0 || version() >= [7, 0] {
        return Some(told);
    }
    // A transaction sees a key until its end, and PTTL says 0 once it should be gone.
    (told > 0 && now_ms == after_us / 1000).then(|| told + i64::try_from(now_ms).expect("a time"))
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_version_is_read_of_redis_and_of_valkey() {
        let told =
            "Redis server v=6.2.14 sha=40305114:0 malloc=libc bits=64 build=dff95a8e7a99d269";
        assert_eq!(read(told), Some([6, 2]));
        assert_eq!(read("Valkey server v=8.1.8 sha=00000000:1"), Some([8, 1]));
        assert_eq!(read("something else"), None);
    }
}
