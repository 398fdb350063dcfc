//! A client of a real redis-server.

use std::sync::mpsc::{self, Receiver};

use redis::{Client, Connection, FromRedisValue, Pipeline, PushInfo, RedisError, Value};

use crate::{eventually, version};

/// A connection to a [`RedisServer`](crate::RedisServer).
pub struct Redis {
    connection: Connection,
    /// Whether ASKING goes before each command and each transaction.
    asking: bool,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redis")
    }
}

impl Redis {
    /// A connection to a URL, if a server answers there.
    pub(crate) fn to(url: &str) -> Option<Self> {
        let mut connection = Client::open(url).ok()?.get_connection().ok()?;
        let answer: Result<String, RedisError> = redis::cmd("PING").query(&mut connection);
        answer.is_ok().then_some(Self {
            connection,
            asking: false,
        })
    }

    /// For a slot that is on its way here: each command and each transaction says that it was sent here.
    #[must_use]
    pub fn asking(mut self) -> Self {
        self.asking = true;
        self
    }

    fn ask(&mut self) -> Result<(), String> {
        if !self.asking {
            return Ok(());
        }
        let asking = redis::cmd("ASKING");
        asking
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// Runs a command given as words, which may be any bytes.
    ///
    /// # Errors
    ///
    /// The server's error, as its whole text.
    pub fn try_run<T: FromRedisValue>(&mut self, words: &[impl AsRef<[u8]>]) -> Result<T, String> {
        self.ask()?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        command
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// Runs a command given as one line of words.
    ///
    /// # Errors
    ///
    /// As [`Redis::try_run`].
    pub fn try_line<T: FromRedisValue>(&mut self, line: &str) -> Result<T, String> {
        self.try_run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command that must succeed.
    ///
    /// # Panics
    ///
    /// If the server answers an error.
    pub fn line<T: FromRedisValue>(&mut self, line: &str) -> T {
        self.try_line(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Takes all slots of a cluster, one by one: Redis 6.2 has no ADDSLOTSRANGE.
    pub fn add_slots(&mut self) {
        let slots: Vec<String> = (0..16384).map(|slot| slot.to_string()).collect();
        self.value(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
    }

    /// The integers of a limit's reply.
    pub fn limit(&mut self, line: &str) -> Vec<i64> {
        self.line(line)
    }

    /// Runs commands, each given as a line of words, in one transaction.
    ///
    /// # Errors
    ///
    /// As [`Redis::try_run`].
    pub fn try_transaction<T: FromRedisValue>(&mut self, lines: &[&str]) -> Result<T, String> {
        self.ask()?;
        let mut transaction = redis::pipe();
        transaction.atomic();
        for line in lines {
            add(&mut transaction, line);
        }
        transaction
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// Likewise, sent together with a command that goes before: a server runs them one after the other, though others may
    /// come between.
    ///
    /// # Errors
    ///
    /// As [`Redis::try_run`].
    pub fn try_transaction_after<F: FromRedisValue, T: FromRedisValue>(
        &mut self,
        first: &str,
        lines: &[&str],
    ) -> Result<(F, T), String> {
        let mut calls = redis::pipe();
        add(&mut calls, first);
        if self.asking {
            add(&mut calls, "ASKING").ignore();
        }
        for line in [&["MULTI"], lines].concat() {
            add(&mut calls, line).ignore();
        }
        add(&mut calls, "EXEC");
        calls
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// The server's clock.
    pub fn time_us(&mut self) -> i64 {
        let (seconds, micros): (i64, i64) = self.line("TIME");
        seconds * 1_000_000 + micros
    }

    /// The bytes and the deadline of a key: all that may not change when nothing is said to change. Both are of one instant,
    /// so that a key that expires is never half there.
    pub fn stored(&mut self, key: &str) -> (Option<Vec<u8>>, i64) {
        let (get, deadline) = (format!("GET {key}"), version::deadline_command());
        let lines = [&get, "TIME", &format!("{deadline} {key}"), "TIME"];
        eventually("the deadline to be told", || {
            let (bytes, before, told, after) = self
                .try_transaction(&lines)
                .unwrap_or_else(|error| panic!("{key}: {error}"));
            let deadline_ms = version::deadline_ms(told, time_us(before), time_us(after))?;
            Some((bytes, deadline_ms))
        })
    }

    /// One field of INFO, `None` if it is not there or the server is gone.
    pub fn info(&mut self, section: &str, field: &str) -> Option<String> {
        let info: String = self.try_line(&format!("INFO {section}")).ok()?;
        info.lines().find_map(|line| {
            line.strip_prefix(field)?
                .strip_prefix(':')
                .map(str::to_owned)
        })
    }

    /// Runs commands, each given as a line of words, without waiting for one reply before the next command. An error is one
    /// of the replies.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub fn run_all(&mut self, lines: impl Iterator<Item = String>) -> Vec<Value> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for line in lines {
            add(&mut pipeline, &line);
        }
        pipeline.query(&mut self.connection).expect("replies")
    }

    /// Speaks RESP3 from now on, and gives what the server then tells unasked. What it told before it answered a command is
    /// there once the command is answered.
    pub fn pushes(&mut self) -> Receiver<PushInfo> {
        let (sender, receiver) = mpsc::channel();
        self.value("HELLO 3");
        self.connection.set_push_sender(sender);
        receiver
    }

    /// A reply as it is.
    pub fn value(&mut self, line: &str) -> Value {
        self.line(line)
    }
}

/// The reply of TIME.
pub(crate) fn time_us(value: Value) -> i128 {
    let (seconds, micros): (i128, i128) = FromRedisValue::from_redis_value(value).expect("a time");
    seconds * 1_000_000 + micros
}

fn add<'a>(calls: &'a mut Pipeline, line: &str) -> &'a mut Pipeline {
    let mut words = line.split_whitespace();
    calls
        .cmd(words.next().expect("a command"))
        .arg(words.collect::<Vec<_>>())
}

fn text_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => format!("not a reply of the server: {error}"),
    }
}
