//! A command's description in the shape that the C API takes: pointers are made here and followed in `redis`.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use redis_module::raw::{
    self, RedisModuleCommandArg, RedisModuleCommandInfo, RedisModuleCommandKeySpec,
};

use crate::docs::{Argument, Command, Kind};

/// The version that all commands are there since.
const SINCE: &CStr = c"0.1.0";

static LAYOUT: raw::RedisModuleCommandInfoVersion = raw::RedisModuleCommandInfoVersion {
    version: 1,
    sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
    sizeof_keyspec: size_of::<RedisModuleCommandKeySpec>(),
    sizeof_arg: size_of::<RedisModuleCommandArg>(),
};

/// A description, and all that it points to.
pub(crate) struct Description {
    info: RedisModuleCommandInfo,
    _keys: Box<[RedisModuleCommandKeySpec; 2]>,
    _arguments: Vec<Box<[RedisModuleCommandArg]>>,
}

impl Description {
    pub(crate) fn new(command: &Command) -> Self {
        let mut keys = Box::new(keys(command));
        let mut kept = Vec::new();
        let info = RedisModuleCommandInfo {
            version: &raw const LAYOUT,
            summary: command.summary.as_ptr(),
            complexity: command.complexity.as_ptr(),
            since: SINCE.as_ptr(),
            history: ptr::null_mut(),
            tips: ptr::null(),
            arity: command.arity,
            key_specs: keys.as_mut_ptr(),
            args: arguments(command.arguments, &mut kept),
        };
        Self {
            info,
            _keys: keys,
            _arguments: kept,
        }
    }

    pub(crate) fn info(&self) -> &RedisModuleCommandInfo {
        &self.info
    }
}

/// Where the keys are and what becomes of them, and the entry that ends the list.
fn keys(command: &Command) -> [RedisModuleCommandKeySpec; 2] {
    let access = if command.writes {
        raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_UPDATE
    } else {
        raw::REDISMODULE_CMD_KEY_RO
    };
    // A single key is counted from the first one; a negative last one from the end.
    let last_key = if command.last_key < 0 {
        command.last_key
    } else {
        command.last_key - 1
    };
    let range = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 {
        lastkey: last_key,
        keystep: command.key_step,
        limit: 0,
    };
    let spec = |begin, find, flags| RedisModuleCommandKeySpec {
        notes: ptr::null(),
        flags,
        begin_search_type: begin,
        bs: raw::RedisModuleCommandKeySpec__bindgen_ty_1 {
            index: raw::RedisModuleCommandKeySpec__bindgen_ty_1__bindgen_ty_1 { pos: 1 },
        },
        find_keys_type: find,
        fk: raw::RedisModuleCommandKeySpec__bindgen_ty_2 { range },
    };
    [
        spec(
            raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX,
            raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE,
            u64::from(access | raw::REDISMODULE_CMD_KEY_ACCESS),
        ),
        spec(
            raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INVALID,
            raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_OMITTED,
            0,
        ),
    ]
}

/// A list of arguments, ended by one without a name. What it points to goes to `kept`.
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

/// The index of an argument that is no key.
const NO_KEY: c_int = -1;

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
