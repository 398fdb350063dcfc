//! A client of a real redis-server.

use std::sync::mpsc::{self, Receiver};

use redis::{Client, Connection, FromRedisValue, Pipeline, PushInfo, RedisError, Value};

use crate::{eventually, version};

/// A connection to a [`RedisServer`](crate::RedisServer).
pub struct Redis {
    connection: Connection,
    /// Whether ASKING precedes each command and each transaction.
    asking: bool,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redis")
    }
}

impl Redis {
    /// Connects to a URL; `None` if no server answers there.
    pub(crate) fn to(url: &str) -> Option<Self> {
        let mut connection = Client::open(url).ok()?.get_connection().ok()?;
        let answer: Result<String, RedisError> = redis::cmd("PING").query(&mut connection);
        answer.is_ok().then_some(Self {
            connection,
            asking: false,
        })
    }

    /// Sends ASKING before each command and each transaction, as for a slot that this node is importing.
    #[must_use]
    pub fn asking(mut self) -> Self {
        self.asking = true;
        self
    }

    fn send_asking(&mut self) -> Result<(), String> {
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
    /// The full text of the server's error.
    pub fn try_run<T: FromRedisValue>(&mut self, words: &[impl AsRef<[u8]>]) -> Result<T, String> {
        self.send_asking()?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        command
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// Runs a command given as a line of words.
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
    /// If the server replies with an error.
    pub fn line<T: FromRedisValue>(&mut self, line: &str) -> T {
        self.try_line(line)
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Assigns all slots of a cluster to this node, one by one, because Redis 6.2 has no ADDSLOTSRANGE.
    pub fn add_slots(&mut self) {
        let slots: Vec<String> = (0..16384).map(|slot| slot.to_string()).collect();
        self.value(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")));
    }

    /// Runs RL.TOKEN or RL.LEAKY and returns the integers of its reply.
    pub fn limit(&mut self, line: &str) -> Vec<i64> {
        self.line(line)
    }

    /// Runs commands, each given as a line of words, in one transaction.
    ///
    /// # Errors
    ///
    /// As [`Redis::try_run`].
    pub fn try_transaction<T: FromRedisValue>(&mut self, lines: &[&str]) -> Result<T, String> {
        self.send_asking()?;
        let mut transaction = redis::pipe();
        transaction.atomic();
        for line in lines {
            add(&mut transaction, line);
        }
        transaction
            .query(&mut self.connection)
            .map_err(|error| text_of(&error))
    }

    /// As [`Redis::try_transaction`], sent together with one command before it. The server runs the command and the
    /// transaction in this order; other clients' commands may run in between.
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

    /// The bytes and the deadline of a key, read in one transaction. A call that changes nothing must change neither.
    pub fn stored(&mut self, key: &str) -> (Option<Vec<u8>>, i64) {
        let (get, command) = (format!("GET {key}"), version::deadline_command());
        let lines = [&get, "TIME", &format!("{command} {key}"), "TIME"];
        eventually("an exact deadline", || {
            let (bytes, before, deadline, after) = self
                .try_transaction(&lines)
                .unwrap_or_else(|error| panic!("{key}: {error}"));
            let deadline_ms = version::deadline_ms(deadline, time_us(before), time_us(after))?;
            Some((bytes, deadline_ms))
        })
    }

    /// One field of INFO; `None` if it is missing or the server is gone.
    pub fn info(&mut self, section: &str, field: &str) -> Option<String> {
        let info: String = self.try_line(&format!("INFO {section}")).ok()?;
        info.lines().find_map(|line| {
            line.strip_prefix(field)?
                .strip_prefix(':')
                .map(str::to_owned)
        })
    }

    /// How often the server has executed a command, such as `rl.token`.
    pub fn calls_of(&mut self, command: &str) -> u64 {
        let stats = self.info("commandstats", &format!("cmdstat_{command}"));
        let calls = stats.and_then(|stats| stats.split(['=', ',']).nth(1)?.parse().ok());
        calls.unwrap_or(0)
    }

    /// Runs commands, each given as a line of words, in one pipeline. An error is one of the replies.
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

    /// Switches to RESP3 and returns the channel that receives the server's push messages. A push that the server sends
    /// before it replies to a command has been received when that command returns.
    pub fn pushes(&mut self) -> Receiver<PushInfo> {
        let (sender, receiver) = mpsc::channel();
        self.value("HELLO 3");
        self.connection.set_push_sender(sender);
        receiver
    }

    /// Runs a command that must succeed, and returns its reply unconverted.
    pub fn value(&mut self, line: &str) -> Value {
        self.line(line)
    }
}

/// Converts the reply to TIME.
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
