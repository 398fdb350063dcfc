//! The calls that are measured: what a client sends, and how its key is made ready.

use redis::Value;

use crate::Redis;

/// The cost of what is measured must not depend on what was measured before, so each kind of call has keys of its own.
/// `{n}` in a line stands for 14 digits, so that a key has 16 bytes, and `{sha}` for the name of the call's script; `; ` is
/// between the commands of one call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its short name.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What each call sends.
    line: String,
    /// What is sent once for each key before.
    first: String,
    /// The Lua script behind `{sha}`.
    script: Option<&'static str>,
    /// The field of `INFO rl` and the count in it that each call must increase.
    counted: Option<(&'static str, &'static str)>,
    /// The first integer of its reply, if it is always the same.
    answer: Option<i64>,
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
            first: String::new(),
            script: None,
            counted: None,
            answer: None,
        }
    }

    fn after(self, first: &str) -> Self {
        let first = first.replace("{value}", VALUE);
        Self { first, ..self }
    }

    fn script(self, script: &'static str) -> Self {
        Self {
            script: Some(script),
            ..self
        }
    }

    fn answered(self, answer: i64) -> Self {
        Self {
            answer: Some(answer),
            ..self
        }
    }

    fn counted(self, field: &'static str, count: &'static str) -> Self {
        Self {
            counted: Some((field, count)),
            ..self.answered(i64::from(count != "denied"))
        }
    }

    /// All kinds. A call that is to be allowed has a burst that no measurement uses up, and one that is to be denied a
    /// bucket that gives its next token in a thousand days.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let plain = [
            Self::new("ping", "PING", "PING"),
            Self::new("incr", "INCR", "INCR i:{n}"),
            Self::new("set", "SET PX", "SET s:{n} {value} PX 60000"),
            Self::new("get", "GET", "GET g:{n}").after("SET g:{n} {value} PX 86400000"),
            Self::new(
                "incr-expire",
                "INCR, EXPIRE in MULTI",
                "MULTI; INCR e:{n}; EXPIRE e:{n} 60; EXEC",
            ),
        ];
        let scripts = [
            Self::new(
                "lua-bucket",
                "token bucket in Lua, allowed",
                "EVALSHA {sha} 1 b:{n} 1000 1000000000 1",
            )
            .script(TOKEN_BUCKET)
            .answered(1),
            Self::new(
                "lua-bucket-denied",
                "token bucket in Lua, denied",
                "EVALSHA {sha} 1 B:{n} 0.00001 20 1",
            )
            .script(TOKEN_BUCKET)
            .after("EVALSHA {sha} 1 B:{n} 0.00001 20 20")
            .answered(0),
            Self::new(
                "lua-gcra",
                "GCRA in Lua, allowed",
                "EVALSHA {sha} 1 c:{n} 1000000000 1000 1 1",
            )
            .script(GCRA)
            .answered(1),
            Self::new(
                "lua-gcra-denied",
                "GCRA in Lua, denied",
                "EVALSHA {sha} 1 C:{n} 20 1 86400 1",
            )
            .script(GCRA)
            .after("EVALSHA {sha} 1 C:{n} 20 1 86400 20")
            .answered(0),
        ];
        let ours = [
            Self::new(
                "token",
                "RL.TOKEN, allowed",
                "RL.TOKEN t:{n} 1000/s 1000000000",
            )
            .counted("rl_token", "allowed"),
            Self::new(
                "leaky",
                "RL.LEAKY, allowed",
                "RL.LEAKY l:{n} 1000/s 1000000000",
            )
            .counted("rl_leaky", "allowed"),
            Self::new(
                "token-denied",
                "RL.TOKEN, denied",
                "RL.TOKEN T:{n} 1/1000d 20",
            )
            .after("RL.TOKEN T:{n} 1/1000d 20 COST 20")
            .counted("rl_token", "denied"),
            Self::new(
                "leaky-denied",
                "RL.LEAKY, denied",
                "RL.LEAKY L:{n} 1/1000d 20",
            )
            .after("RL.LEAKY L:{n} 1/1000d 20 COST 20")
            .counted("rl_leaky", "denied"),
            Self::new(
                "token-moves",
                "RL.TOKEN, deadline moved",
                "RL.TOKEN m:{n} 1/1000d 8 FORCE 1",
            )
            .counted("rl_token", "allowed"),
            Self::new("peek", "RL.PEEK", "RL.PEEK p:{n}")
                .after("RL.TOKEN p:{n} 1/1000d 20 COST 7")
                .counted("rl_peek", "peeked"),
            Self::new(
                "multi",
                "RL.MULTI of three",
                "RL.MULTI x:{n} TOKEN 1000/s 1000000000 1 y:{n} TOKEN 1000/s 1000000000 1 \
                 z:{n} TOKEN 1000/s 1000000000 1",
            )
            .counted("rl_multi", "allowed"),
        ];
        plain.into_iter().chain(scripts).chain(ours).collect()
    }

    /// With its script loaded into this server, if it has one.
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
            first: self.first.replace("{sha}", &sha),
            ..self
        }
    }

    /// The commands of a call with key `n`.
    pub fn commands(&self, n: usize) -> impl Iterator<Item = String> {
        numbered(&self.line, n)
    }

    /// What makes a key that a call finds: what comes once before, or else the call itself.
    #[must_use]
    pub fn first(&self) -> Self {
        let line = Some(&self.first).filter(|first| !first.is_empty());
        let line = line.unwrap_or(&self.line).clone();
        Self {
            line,
            counted: None,
            answer: None,
            ..self.clone()
        }
    }

    /// Makes a call with each of these keys, all at once, and gives the reply of each command.
    ///
    /// # Panics
    ///
    /// If one is an error, or not what it should be.
    pub fn run(&self, redis: &mut Redis, keys: impl Iterator<Item = usize>) -> Vec<Value> {
        let replies = redis.run_all(keys.flat_map(|n| self.commands(n)));
        for reply in &replies {
            assert!(
                !matches!(reply, Value::ServerError(_)),
                "{self:?}: {reply:?}"
            );
            if let (Some(answer), Value::Array(parts)) = (self.answer, reply) {
                assert_eq!(parts[0], Value::Int(answer), "{self:?}: {reply:?}");
            }
        }
        replies
    }

    /// How many calls the module has counted that became what they should, if it counts them.
    ///
    /// # Panics
    ///
    /// If it tells no such count.
    pub fn counted_by(&self, redis: &mut Redis) -> Option<u64> {
        let (field, count) = self.counted?;
        let counts = redis.info("rl", field).expect("the module's counts");
        let count = counts
            .split(',')
            .find_map(|named| named.strip_prefix(count)?.strip_prefix('='));
        Some(count.and_then(|count| count.parse().ok()).expect("a count"))
    }
}

/// Another module and a call of it, if `OTHER` names the module and `OTHER_CMD` the command line, in which `{key}` stands for
/// the key.
#[must_use]
pub fn other() -> Option<(String, Call)> {
    let given = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let line = given("OTHER_CMD")?.replace("{key}", "o:{n}");
    Some((given("OTHER")?, Call::new("other", "another module", &line)))
}

/// The calls that a bench is told to measure, by their names: its arguments, but for the flags that Cargo adds.
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
