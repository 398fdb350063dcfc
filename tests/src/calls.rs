//! The calls that are measured: the commands that a client sends, and those that prepare its keys.

use redis::Value;

use crate::Redis;

/// A measured call. Each kind of call has its own keys, so that no measurement depends on an earlier one. In a command
/// line `{n}` stands for 14 digits, so that a key has 16 bytes, and `{sha}` for the digest of the call's script; `; `
/// separates the commands of one call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The name in arguments and bounds.
    pub name: &'static str,
    /// The name shown in tables.
    pub title: &'static str,
    /// The commands of one call.
    line: String,
    /// The commands that prepare a key, sent once per key.
    preparation: String,
    /// The Lua script behind `{sha}`.
    script: Option<&'static str>,
    /// The field of `INFO rl` and the count in it that each call must increase.
    counted: Option<&'static str>,
    /// The expected first integer of the reply, if it is always the same.
    first_integer: Option<i64>,
}

const TOKEN_BUCKET: &str = include_str!("../benches/token_bucket.lua");
const GCRA: &str = include_str!("../benches/gcra.lua");

/// A value as long as a bucket.
const VALUE: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH";

impl Call {
    fn new(name: &'static str, title: &'static str, line: &str) -> Self {
        Self {
            name,
            title,
            line: line.replace("{value}", VALUE),
            preparation: String::new(),
            script: None,
            counted: None,
            first_integer: None,
        }
    }

    fn prepared_by(self, preparation: &str) -> Self {
        let preparation = preparation.replace("{value}", VALUE);
        Self {
            preparation,
            ..self
        }
    }

    fn script(self, script: &'static str) -> Self {
        Self {
            script: Some(script),
            ..self
        }
    }

    fn replying(self, first_integer: i64) -> Self {
        Self {
            first_integer: Some(first_integer),
            ..self
        }
    }

    fn counted(self, field: &'static str) -> Self {
        Self {
            counted: Some(field),
            ..self.replying(i64::from(!field.ends_with("_denied")))
        }
    }

    /// All kinds of calls. An allowed call has a burst that no measurement uses up. A denied call has a bucket that
    /// refills its next token in a thousand days.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let plain = [
            Self::new("ping", "PING", "PING"),
            Self::new("incr", "INCR", "INCR i:{n}"),
            Self::new("set", "SET PX", "SET s:{n} {value} PX 60000"),
            Self::new("get", "GET", "GET g:{n}").prepared_by("SET g:{n} {value} PX 86400000"),
            Self::new(
                "incr-expire",
                "INCR, EXPIRE in MULTI",
                "MULTI; INCR e:{n}; EXPIRE e:{n} 60; EXEC",
            ),
        ];
        let scripts = [
            // Refilled so slowly that it is never full. A full bucket has a whole number of tokens, which Lua writes with
            // fewer instructions, and on a slow machine each call would find it full.
            Self::new(
                "lua-bucket",
                "token bucket in Lua, allowed",
                "EVALSHA {sha} 1 b:{n} 1 1000000000 1",
            )
            .script(TOKEN_BUCKET)
            .replying(1),
            Self::new(
                "lua-bucket-denied",
                "token bucket in Lua, denied",
                "EVALSHA {sha} 1 B:{n} 0.00001 20 1",
            )
            .script(TOKEN_BUCKET)
            .prepared_by("EVALSHA {sha} 1 B:{n} 0.00001 20 20")
            .replying(0),
            Self::new(
                "lua-gcra",
                "GCRA in Lua, allowed",
                "EVALSHA {sha} 1 c:{n} 1000000000 1000 1 1",
            )
            .script(GCRA)
            .replying(1),
            Self::new(
                "lua-gcra-denied",
                "GCRA in Lua, denied",
                "EVALSHA {sha} 1 C:{n} 20 1 86400 1",
            )
            .script(GCRA)
            .prepared_by("EVALSHA {sha} 1 C:{n} 20 1 86400 20")
            .replying(0),
        ];
        let ours = [
            Self::new(
                "token",
                "RL.TOKEN, allowed",
                "RL.TOKEN t:{n} 1000/s 1000000000",
            )
            .counted("rl_token_allowed"),
            Self::new(
                "leaky",
                "RL.LEAKY, allowed",
                "RL.LEAKY l:{n} 1000/s 1000000000",
            )
            .counted("rl_leaky_allowed"),
            Self::new(
                "token-denied",
                "RL.TOKEN, denied",
                "RL.TOKEN T:{n} 1/1000d 20",
            )
            .prepared_by("RL.TOKEN T:{n} 1/1000d 20 COST 20")
            .counted("rl_token_denied"),
            Self::new(
                "leaky-denied",
                "RL.LEAKY, denied",
                "RL.LEAKY L:{n} 1/1000d 20",
            )
            .prepared_by("RL.LEAKY L:{n} 1/1000d 20 COST 20")
            .counted("rl_leaky_denied"),
            Self::new(
                "token-moves",
                "RL.TOKEN, deadline moved",
                "RL.TOKEN m:{n} 1/1000d 8 FORCE 1",
            )
            .counted("rl_token_allowed"),
            Self::new("peek", "RL.PEEK", "RL.PEEK p:{n}")
                .prepared_by("RL.TOKEN p:{n} 1/1000d 20 COST 7")
                .counted("rl_peek_peeked"),
            Self::new(
                "multi",
                "RL.MULTI of three",
                "RL.MULTI x:{n} TOKEN 1000/s 1000000000 1 y:{n} TOKEN 1000/s 1000000000 1 \
                 z:{n} TOKEN 1000/s 1000000000 1",
            )
            .counted("rl_multi_allowed"),
        ];
        plain.into_iter().chain(scripts).chain(ours).collect()
    }

    /// Loads the call's script, if it has one, into this server.
    #[must_use]
    pub fn on(self, redis: &mut Redis) -> Self {
        let Some(script) = self.script else {
            return self;
        };
        let sha: String = redis
            .try_run(&["SCRIPT", "LOAD", script])
            .expect("a script that compiles");
        Self {
            line: self.line.replace("{sha}", &sha),
            preparation: self.preparation.replace("{sha}", &sha),
            ..self
        }
    }

    /// The commands of a call with key `n`.
    pub fn commands(&self, n: usize) -> impl Iterator<Item = String> {
        numbered(&self.line, n)
    }

    /// The call that prepares a key: the preparing commands if there are any, or else the call itself.
    #[must_use]
    pub fn preparation(&self) -> Self {
        let line = Some(&self.preparation).filter(|line| !line.is_empty());
        let line = line.unwrap_or(&self.line).clone();
        Self {
            line,
            counted: None,
            first_integer: None,
            ..self.clone()
        }
    }

    /// Sends a call with each of these keys in one pipeline, and returns the reply to each command.
    ///
    /// # Panics
    ///
    /// If a reply is an error or not the expected one.
    pub fn run(&self, redis: &mut Redis, keys: impl Iterator<Item = usize>) -> Vec<Value> {
        let all = redis.run_all(keys.flat_map(|n| self.commands(n)));
        for reply in &all {
            assert!(
                !matches!(reply, Value::ServerError(_)),
                "{self:?}: {reply:?}"
            );
            if let (Some(first_integer), Value::Array(parts)) = (self.first_integer, reply) {
                assert_eq!(parts[0], Value::Int(first_integer), "{self:?}: {reply:?}");
            }
        }
        all
    }

    /// How many calls with the expected outcome the module has counted, if it counts them.
    ///
    /// # Panics
    ///
    /// If `INFO rl` has no such count.
    pub fn counted_by(&self, redis: &mut Redis) -> Option<u64> {
        let count = redis.info("rl", self.counted?);
        Some(count.and_then(|count| count.parse().ok()).expect("a count"))
    }
}

/// Another module to compare with, and a call of it. `OTHER` names the module and `OTHER_CMD` its command line, in
/// which `{key}` stands for the key.
#[must_use]
pub fn other() -> Option<(String, Call)> {
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let line = given("OTHER_CMD")?.replace("{key}", "o:{n}");
    Some((given("OTHER")?, Call::new("other", "another module", &line)))
}

/// The names of the calls to measure: the arguments of the bench, without the flags that Cargo adds.
#[must_use]
pub fn named() -> Vec<String> {
    let words = std::env::args().skip(1);
    words.filter(|word| !word.starts_with("--")).collect()
}

fn numbered(line: &str, n: usize) -> impl Iterator<Item = String> {
    let line = line.replace("{n}", &format!("{n:014}"));
    let commands: Vec<String> = line
        .split("; ")
        .filter(|command| !command.is_empty())
        .map(str::to_owned)
        .collect();
    commands.into_iter()
}
