//! Tells the server what COMMAND DOCS and the hints of redis-cli say about a command.
//!
//! The types are plain data for constants. Their translation to the structs of the C API is private to this file: it
//! makes pointers, which are followed only while everything that they point to is alive.
//!
//! Two parts are more than text: the server checks the number of words of each call by the arity, and finds keys by the
//! key specs, for ACL rules and in a cluster.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use redis_module::raw::{
    self, RedisModuleCommandArg, RedisModuleCommandInfo, RedisModuleCommandKeySpec,
};

use super::context::{Context, KeyPositions};

/// The documentation of a command, which COMMAND DOCS shows.
#[derive(Clone, Copy)]
pub(crate) struct Documentation {
    /// One sentence, what the command does.
    pub(crate) summary: &'static CStr,
    /// The time complexity, such as `O(1)`.
    pub(crate) complexity: &'static CStr,
    /// The number of words with the command's name; the negated minimum if there can be more. The server answers a call
    /// with another number itself, and the module neither sees nor counts it.
    pub(crate) arity: c_int,
    /// The arguments after the command's name, in order.
    pub(crate) arguments: &'static [Argument],
}

/// One argument of a command. `COST n`, which may be left out, is
///
/// ```text
/// Argument::new(c"cost", Kind::Integer).with_token(c"COST").optional()
/// ```
#[derive(Clone, Copy)]
pub(crate) struct Argument {
    /// What stands for the argument in the syntax, in lower case. It is not sent in a call.
    pub(crate) name: &'static CStr,
    /// What the argument consists of.
    pub(crate) kind: Kind,
    /// The option word before the argument, or the whole argument if its kind is [`Kind::Word`].
    pub(crate) token: Option<&'static CStr>,
    /// Whether it can be left out, with its token and all of its parts.
    pub(crate) optional: bool,
    /// Whether it can be repeated. A block is repeated as a whole, with a token, if it has one, only before the first.
    pub(crate) multiple: bool,
}

/// The type of an argument.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// The name of a key.
    Key,
    /// Any text, such as a rate.
    Text,
    /// A whole number.
    Integer,
    /// Only its token, such as `PARTIAL`.
    Word,
    /// Exactly one of these.
    OneOf(&'static [Argument]),
    /// All of these, in this order.
    Block(&'static [Argument]),
}

impl Argument {
    /// A required argument without a token.
    pub(crate) const fn new(name: &'static CStr, kind: Kind) -> Self {
        Self {
            name,
            kind,
            token: None,
            optional: false,
            multiple: false,
        }
    }

    /// This argument after the word `token`.
    pub(crate) const fn with_token(self, token: &'static CStr) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    /// This argument, which may be left out.
    pub(crate) const fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// This argument, once or more.
    pub(crate) const fn repeated(self) -> Self {
        Self {
            multiple: true,
            ..self
        }
    }
}

impl Context {
    /// Sets the documentation of a registered command. Does nothing before Redis 7.0, where a module cannot: there
    /// COMMAND DOCS does not exist, and the module itself refuses calls with too few words.
    ///
    /// `keys` and `writes` become the key spec, and must be those of the registration. The server refuses documentation
    /// that contradicts itself, which only its log shows.
    pub(crate) fn set_documentation(
        self,
        name: &CStr,
        documentation: &Documentation,
        keys: Option<KeyPositions>,
        writes: bool,
    ) {
        let info = CommandInfo::new(documentation, keys, writes);
        // SAFETY: the command is one of this module; all that the info points to is alive, and Redis copies it.
        unsafe {
            if let Some(set) = raw::RedisModule_SetCommandInfo {
                set(self.command(name), &raw const info.info);
            }
        }
    }
}

/// The first version that has the commands. All of them came in one version so far.
const SINCE: &CStr = c"0.1.0";

/// The version and the sizes of the structs, by which a newer server reads those of an older header.
static LAYOUT: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
    version: 1,
    sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
    sizeof_keyspec: size_of::<RedisModuleCommandKeySpec>(),
    sizeof_arg: size_of::<RedisModuleCommandArg>(),
};

/// The struct that the C API takes, and everything that it points to. The server copies all of it, so it lives only for
/// one call.
struct CommandInfo {
    info: RedisModuleCommandInfo,
    /// A vector, so that moving this struct does not move what `info` points to.
    _keys: Vec<RedisModuleCommandKeySpec>,
    /// Every list of arguments, those inside others too.
    _arguments: Vec<Box<[RedisModuleCommandArg]>>,
}

impl CommandInfo {
    fn new(documentation: &Documentation, keys: Option<KeyPositions>, writes: bool) -> Self {
        let mut keys = key_specs(keys, writes);
        let mut kept = Vec::new();
        let info = RedisModuleCommandInfo {
            version: &raw const LAYOUT,
            summary: documentation.summary.as_ptr(),
            complexity: documentation.complexity.as_ptr(),
            since: SINCE.as_ptr(),
            history: ptr::null_mut(),
            tips: ptr::null(),
            arity: documentation.arity,
            key_specs: keys.as_mut_ptr(),
            args: arguments(documentation.arguments, &mut kept),
        };
        Self {
            info,
            _keys: keys,
            _arguments: kept,
        }
    }
}

/// Where the keys are and how they are used, if there are any, and the entry that ends the list.
fn key_specs(keys: Option<KeyPositions>, writes: bool) -> Vec<RedisModuleCommandKeySpec> {
    let spec = keys.map(|keys| {
        key_spec(
            raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX,
            raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE,
            keys,
            access(writes),
        )
    });
    let end = key_spec(
        raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INVALID,
        raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_OMITTED,
        KeyPositions { last: 1, step: 1 },
        0,
    );
    spec.into_iter().chain([end]).collect()
}

/// How a command uses its keys.
fn access(writes: bool) -> u32 {
    let access = if writes {
        raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_UPDATE
    } else {
        raw::REDISMODULE_CMD_KEY_RO
    };
    access | raw::REDISMODULE_CMD_KEY_ACCESS
}

fn key_spec(
    begin: raw::RedisModuleKeySpecBeginSearchType,
    find: raw::RedisModuleKeySpecFindKeysType,
    keys: KeyPositions,
    flags: u32,
) -> RedisModuleCommandKeySpec {
    // A key spec counts the last key from the first one, which is argument 1; from the end if it is negative.
    let last_key = if keys.last < 0 {
        keys.last
    } else {
        keys.last - 1
    };
    let range = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 {
        lastkey: last_key,
        keystep: keys.step,
        limit: 0,
    };
    RedisModuleCommandKeySpec {
        notes: ptr::null(),
        flags: u64::from(flags),
        begin_search_type: begin,
        bs: raw::RedisModuleCommandKeySpec__bindgen_ty_1 {
            index: raw::RedisModuleCommandKeySpec__bindgen_ty_1__bindgen_ty_1 { pos: 1 },
        },
        find_keys_type: find,
        fk: raw::RedisModuleCommandKeySpec__bindgen_ty_2 { range },
    }
}

/// A list of arguments, ended by one without a name. Everything that it points to is pushed to `kept`.
fn arguments(
    list: &[Argument],
    kept: &mut Vec<Box<[RedisModuleCommandArg]>>,
) -> *mut RedisModuleCommandArg {
    let mut entries: Vec<_> = list.iter().map(|argument| entry(argument, kept)).collect();
    entries.push(end());
    let mut entries = entries.into_boxed_slice();
    let first = entries.as_mut_ptr();
    kept.push(entries);
    first
}

/// The entry of one argument. The lists of its parts are pushed to `kept`.
fn entry(
    argument: &Argument,
    kept: &mut Vec<Box<[RedisModuleCommandArg]>>,
) -> RedisModuleCommandArg {
    let (type_, parts) = match argument.kind {
        Kind::Key => (
            raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY,
            None,
        ),
        Kind::Text => (
            raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
            None,
        ),
        Kind::Integer => (
            raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
            None,
        ),
        Kind::Word => (
            raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
            None,
        ),
        Kind::OneOf(parts) => (
            raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF,
            Some(parts),
        ),
        Kind::Block(parts) => (
            raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK,
            Some(parts),
        ),
    };
    let flag = |set: bool, flag: u32| if set { flag.cast_signed() } else { 0 };
    RedisModuleCommandArg {
        name: argument.name.as_ptr(),
        type_,
        key_spec_index: if matches!(argument.kind, Kind::Key) {
            0
        } else {
            NO_KEY
        },
        token: argument.token.map_or(ptr::null(), CStr::as_ptr),
        flags: flag(argument.optional, raw::REDISMODULE_CMD_ARG_OPTIONAL)
            | flag(argument.multiple, raw::REDISMODULE_CMD_ARG_MULTIPLE),
        subargs: parts.map_or(ptr::null_mut(), |parts| arguments(parts, kept)),
        ..end()
    }
}

/// The key spec of an argument that is no key.
const NO_KEY: c_int = -1;

/// The entry that ends a list.
fn end() -> RedisModuleCommandArg {
    let none: *const c_char = ptr::null();
    RedisModuleCommandArg {
        name: none,
        type_: 0,
        key_spec_index: NO_KEY,
        token: none,
        summary: none,
        since: none,
        flags: 0,
        deprecated_since: none,
        subargs: ptr::null_mut(),
        display_text: none,
    }
}
