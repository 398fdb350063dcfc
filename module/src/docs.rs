//! Every command as the server knows it: name, flags, keys, and what COMMAND DOCS and redis-cli's hints tell.

use std::ffi::CStr;

use crate::redis::{self, Entry};

/// A command as it is registered.
pub(crate) struct Command {
    pub(crate) name: &'static CStr,
    pub(crate) entry: Entry,
    pub(crate) writes: bool,
    /// O(1): Redis calls that fast.
    pub(crate) fast: bool,
    pub(crate) summary: &'static CStr,
    pub(crate) complexity: &'static CStr,
    /// The fewest words, negative as there may be more.
    pub(crate) arity: i32,
    /// The last key and the step from key to key, as Redis counts them; the first key is argument 1.
    pub(crate) last_key: i32,
    pub(crate) key_step: i32,
    pub(crate) arguments: &'static [Argument],
}

/// One argument of a command.
pub(crate) struct Argument {
    pub(crate) name: &'static CStr,
    pub(crate) kind: Kind,
    /// The option word before it, or that it consists of.
    pub(crate) token: Option<&'static CStr>,
    pub(crate) optional: bool,
    pub(crate) multiple: bool,
}

/// What an argument is.
pub(crate) enum Kind {
    Key,
    Text,
    Integer,
    /// Nothing but its token.
    Word,
    OneOf(&'static [Argument]),
    Block(&'static [Argument]),
}

const fn plain(name: &'static CStr, kind: Kind) -> Argument {
    Argument {
        name,
        kind,
        token: None,
        optional: false,
        multiple: false,
    }
}

const fn option(name: &'static CStr, kind: Kind, token: &'static CStr) -> Argument {
    Argument {
        token: Some(token),
        ..plain(name, kind)
    }
}

const COST: Argument = option(c"cost", Kind::Integer, c"COST");

const HOW: Argument = Argument {
    optional: true,
    ..plain(
        c"how",
        Kind::OneOf(&[
            plain(
                c"cost-block",
                Kind::Block(&[
                    COST,
                    Argument {
                        optional: true,
                        ..option(c"partial", Kind::Word, c"PARTIAL")
                    },
                ]),
            ),
            option(c"force", Kind::Integer, c"FORCE"),
            option(c"refund", Kind::Integer, c"REFUND"),
        ]),
    )
};

const BUCKET: Argument = Argument {
    multiple: true,
    ..plain(
        c"bucket",
        Kind::Block(&[
            plain(c"key", Kind::Key),
            plain(
                c"algorithm",
                Kind::OneOf(&[
                    option(c"token", Kind::Word, c"TOKEN"),
                    option(c"leaky", Kind::Word, c"LEAKY"),
                ]),
            ),
            plain(c"rate", Kind::Text),
            plain(c"capacity", Kind::Integer),
            plain(c"cost", Kind::Integer),
        ]),
    )
};

/// What most commands are.
const TOKEN: Command = Command {
    name: c"rl.token",
    entry: redis::rl_token,
    writes: true,
    fast: true,
    summary: c"Takes tokens of a token bucket, or says how long to wait.",
    complexity: c"O(1)",
    arity: -4,
    last_key: 1,
    key_step: 1,
    arguments: &[
        plain(c"key", Kind::Key),
        plain(c"rate", Kind::Text),
        plain(c"burst", Kind::Integer),
        HOW,
    ],
};

/// Every command.
pub(crate) const COMMANDS: [Command; 6] = [
    TOKEN,
    Command {
        name: c"rl.leaky",
        entry: redis::rl_leaky,
        summary: c"Pours tokens into a leaky bucket, and says how long to wait for one's turn.",
        arguments: &[
            plain(c"key", Kind::Key),
            plain(c"rate", Kind::Text),
            plain(c"capacity", Kind::Integer),
            HOW,
        ],
        ..TOKEN
    },
    Command {
        name: c"rl.peek",
        entry: redis::rl_peek,
        writes: false,
        summary: c"Answers as the command that made the bucket would, and changes nothing.",
        arity: -2,
        arguments: &[
            plain(c"key", Kind::Key),
            Argument {
                optional: true,
                ..COST
            },
        ],
        ..TOKEN
    },
    Command {
        name: c"rl.info",
        entry: redis::rl_info,
        writes: false,
        summary: c"Tells a person what is known of a bucket.",
        arity: 2,
        arguments: &[plain(c"key", Kind::Key)],
        ..TOKEN
    },
    Command {
        name: c"rl.multi",
        entry: redis::rl_multi,
        fast: false,
        summary: c"Charges several buckets, all of them or none.",
        complexity: c"O(N log N) where N is the number of buckets",
        arity: -6,
        last_key: -5,
        key_step: 5,
        arguments: &[BUCKET],
        ..TOKEN
    },
    THROTTLE,
];

const THROTTLE: Command = Command {
    name: c"rl.throttle",
    entry: redis::rl_throttle,
    summary: c"Takes tokens of a token bucket, in the words of redis-cell.",
    arity: -5,
    arguments: &[
        plain(c"key", Kind::Key),
        plain(c"max_burst", Kind::Integer),
        plain(c"count", Kind::Integer),
        plain(c"period", Kind::Integer),
        Argument {
            optional: true,
            ..plain(c"quantity", Kind::Integer)
        },
    ],
    ..TOKEN
};

/// The command of redis-cell, which the module argument `cl-throttle` asks for.
pub(crate) const CL_THROTTLE: Command = Command {
    name: c"cl.throttle",
    entry: redis::cl_throttle,
    ..THROTTLE
};
