//! Registers the commands, the section of INFO and the events when the module is loaded. Unloading is in `unload.rs`.
//!
//! [`load`] runs once, inside MODULE LOAD or at the start of the server. If it fails, Redis takes back what was
//! registered and does not load the module; the log has the reason. Commands, options and ACL categories can be
//! registered only then.

use std::ffi::CStr;

use redis_module::raw;

use crate::commands::{CL_THROTTLE, COMMANDS};
use crate::describe::CommandSpec;
use crate::redis::{self, Context, InfoSection, InfoWriter, propagation};
use crate::{denials, redis_cell, stats};

/// The module argument that adds CL.THROTTLE and takes over the values of redis-cell.
const CL_THROTTLE_ARGUMENT: &str = "cl-throttle";

/// Opening a key for writing does not modify it: the module signals each key that it changes.
///
/// Without the option `CloseKey` signals every key that was open for writing. A denial would then end the transactions
/// that WATCH its bucket.
const NO_IMPLICIT_SIGNAL_MODIFIED: i32 =
    option(raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED);

/// A replica may answer while it loads a snapshot: the module has no data of its own that this could make inconsistent.
///
/// Servers replace their data while they serve the old ones (`repl-diskless-load swapdb`) only if all modules have set
/// this.
const HANDLE_REPL_ASYNC_LOAD: i32 = option(raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD);

/// `VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION` of Valkey 9. Without it CLUSTER MIGRATESLOTS fails on every
/// server that has loaded the module.
const HANDLE_ATOMIC_SLOT_MIGRATION: i32 = 1 << 5;

/// All options of the module. A server that does not know one of the bits ignores it.
///
/// `HANDLE_IO_ERRORS` is not among them: it is for modules with data types.
const OPTIONS: i32 =
    NO_IMPLICIT_SIGNAL_MODIFIED | HANDLE_REPL_ASYNC_LOAD | HANDLE_ATOMIC_SLOT_MIGRATION;

/// The ACL category of all commands of the module. Redis 7.4 and Valkey 8.1 on let a module add one.
const CATEGORY: &CStr = c"ratelimit";

/// An option as the function takes it: the header declares the bits unsigned, and the argument signed.
const fn option(bit: u32) -> i32 {
    bit.cast_signed()
}

/// Registers everything. The error says why this server cannot load the module.
///
/// The functions of the API are checked first: everything after that calls them without a check.
///
/// # Errors
///
/// - The server lacks a function that the module needs.
/// - There is a module argument other than `cl-throttle`.
/// - The name of a command is taken. That of CL.THROTTLE is no such case: redis-cell may be loaded beside this module,
///   which then logs a warning and does without the command.
pub(crate) fn load(context: Context, arguments: &[&[u8]]) -> Result<(), String> {
    if let Some(missing) = redis::missing_function() {
        return Err(format!(
            "this server has no {missing}; Redis 6.2.2 or newer, or Valkey, is needed"
        ));
    }
    let cl_throttle = parse(arguments)?;
    context.set_options(OPTIONS);
    let category = context.add_category(CATEGORY);
    for command in COMMANDS {
        if !register(context, command, category) {
            let name = command.name.to_string_lossy();
            return Err(format!("{name} is already registered"));
        }
    }
    denials::clear();
    redis_cell::set_takes_over(cl_throttle);
    if cl_throttle && !register(context, &CL_THROTTLE, category) {
        context.warn(
            "cl.throttle is already registered, by the server or another module; loaded without it",
        );
    }
    redis::register_info::<Stats>(context);
    propagation::subscribe(context);
    Ok(())
}

/// Whether `cl-throttle` is among the arguments, in any case. Any other argument is an error, so that a misspelt one is
/// noticed when the server starts.
fn parse(arguments: &[&[u8]]) -> Result<bool, String> {
    for argument in arguments {
        if !argument.eq_ignore_ascii_case(CL_THROTTLE_ARGUMENT.as_bytes()) {
            let argument = String::from_utf8_lossy(argument);
            return Err(format!(
                "unknown module argument '{argument}': there is only {CL_THROTTLE_ARGUMENT}"
            ));
        }
    }
    Ok(!arguments.is_empty())
}

/// Registers a command with its documentation and ACL categories, where the server has these. `false` if the name is
/// already registered.
///
/// Redis acts on the flags: it refuses `write` on a replica, and `deny-oom` above `maxmemory` if nothing can be
/// evicted.
fn register(context: Context, command: &CommandSpec, category: bool) -> bool {
    let flags = match (command.admin, command.writes, command.fast) {
        (true, _, _) => c"admin",
        (false, true, true) => c"write deny-oom fast",
        (false, true, false) => c"write deny-oom",
        (false, false, _) => c"readonly fast",
    };
    if !context.create_command(command.name, command.entry_point, flags, command.keys) {
        return false;
    }
    context.set_documentation(
        command.name,
        &command.documentation,
        command.keys,
        command.writes,
    );
    context.set_categories(command.name, categories(command, category));
    true
}

/// The ACL categories of a command, with [`CATEGORY`] if the server has it.
///
/// They are `write` or `read`, and `fast` or `slow`. Redis refuses a list that names an unknown category, hence the
/// variants without the last one. A command for operators is not in it: who may limit must not see all keys.
fn categories(command: &CommandSpec, category: bool) -> &'static CStr {
    if command.admin {
        return c"admin slow dangerous";
    }
    match (command.writes, command.fast, category) {
        (true, true, true) => c"write fast ratelimit",
        (true, true, false) => c"write fast",
        (true, false, true) => c"write slow ratelimit",
        (true, false, false) => c"write slow",
        (false, _, true) => c"read fast ratelimit",
        (false, _, false) => c"read fast",
    }
}

/// `INFO rl`. It is here and not in `stats.rs` because it needs the table of commands, which is above that file.
struct Stats;

impl InfoSection for Stats {
    fn write_info(writer: &InfoWriter) {
        let commands = COMMANDS.iter();
        stats::write_info(
            writer,
            commands.map(|command| (command.field_name(), (command.counters)())),
        );
    }
}
