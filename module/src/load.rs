//! What happens when the module is loaded, and when it is to be unloaded.

use std::ffi::{CStr, CString};
use std::sync::atomic::Ordering;

use crate::commands::TAKES_OVER;
use crate::describe::Description;
use crate::docs::{CL_THROTTLE, COMMANDS, Command};
use crate::redis::{self, Context};

/// The module argument that asks for CL.THROTTLE and for what redis-cell left.
const CL_THROTTLE_ARGUMENT: &str = "cl-throttle";

/// A key that is only opened for writing is not modified: it is signalled when it is changed. Keys that appear while a
/// replica loads cannot harm a module without data of its own. The last bit is Valkey 9's
/// `VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION`: without it CLUSTER MIGRATESLOTS is refused for the whole server.
/// How I/O errors are handled (bit 0) is asked only of a module with data types.
const OPTIONS: i32 = (1 << 1) | (1 << 2) | (1 << 5);

/// The ACL category of all our commands, where the server can have more: Redis 7.4 and Valkey 8.1 on.
const CATEGORY: &CStr = c"ratelimit";

/// Registers everything, or says why this server cannot have it.
pub(crate) fn load<'a>(
    context: Context,
    arguments: impl Iterator<Item = &'a [u8]>,
) -> Result<(), String> {
    if let Some(missing) = redis::missing_function() {
        return Err(format!(
            "this server has no {missing}; Redis 6.2.2 or newer, or Valkey, is needed"
        ));
    }
    let cl_throttle = read(arguments)?;
    context.set_options(OPTIONS);
    let category = context.add_category(CATEGORY);
    for command in &COMMANDS {
        if !register(context, command, category) {
            return Err(format!("{} is taken", command.name.to_string_lossy()));
        }
    }
    TAKES_OVER.store(cl_throttle, Ordering::Relaxed);
    if cl_throttle && !register(context, &CL_THROTTLE, category) {
        warn(
            context,
            "cl.throttle is taken by the server or another module; loaded without it",
        );
    }
    context.register_info();
    context.subscribe_to_events();
    Ok(())
}

/// Whether `cl-throttle` is among the arguments; nothing else may be.
fn read<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> Result<bool, String> {
    let mut cl_throttle = false;
    for argument in arguments {
        if !argument.eq_ignore_ascii_case(CL_THROTTLE_ARGUMENT.as_bytes()) {
            let argument = String::from_utf8_lossy(argument);
            return Err(format!(
                "unknown module argument '{argument}': there is only {CL_THROTTLE_ARGUMENT}"
            ));
        }
        cl_throttle = true;
    }
    Ok(cl_throttle)
}

/// Creates the command and tells the server as much of it as it can be told: quietly less where it is old.
fn register(context: Context, command: &Command, category: bool) -> bool {
    let flags = match (command.writes, command.fast) {
        (true, true) => c"write deny-oom fast",
        (true, false) => c"write deny-oom",
        (false, _) => c"readonly fast",
    };
    if !context.create_command(command, flags) {
        return false;
    }
    context.set_info(command.name, Description::new(command).info());
    context.set_categories(command.name, categories(command, category));
    true
}

fn categories(command: &Command, category: bool) -> &'static CStr {
    match (command.writes, command.fast, category) {
        (true, true, true) => c"write fast ratelimit",
        (true, true, false) => c"write fast",
        (true, false, true) => c"write slow ratelimit",
        (true, false, false) => c"write slow",
        (false, _, true) => c"read fast ratelimit",
        (false, _, false) => c"read fast",
    }
}

/// Whether the module can be unloaded without a crash of the server, or why not.
///
/// Servers free our commands though clients have them queued in a transaction, which EXEC then runs, and though users are
/// allowed or denied them by name, which Redis 7.4 and newer assert at once and older ones when asked for ACL LIST.
pub(crate) fn may_unload(context: Context) -> Result<(), String> {
    if context.list_has(c"CLIENT", has_queued_commands) {
        return Err(
            "a client has queued commands in a transaction: try again when it has ended".into(),
        );
    }
    if context.list_has(c"ACL", names_a_command) {
        return Err(
            "an ACL user names a command of this module: first remove those rules, as with ACL SETUSER or ACL DELUSER"
                .into(),
        );
    }
    Ok(())
}

/// Whether a line of CLIENT LIST is of a client inside MULTI, or running EXEC, that has queued something.
fn has_queued_commands(clients: &[u8]) -> bool {
    let mut words = clients.split(|byte| byte.is_ascii_whitespace());
    words.any(|word| {
        let count = word.strip_prefix(b"multi=");
        count.is_some_and(|count| !matches!(count, b"-1" | b"0"))
    })
}

/// Whether a line of ACL LIST has a rule for one of our commands, in a selector or not.
fn names_a_command(user: &[u8]) -> bool {
    let mut rules = user.split(|byte| matches!(byte, b' ' | b'(' | b')'));
    rules.any(|rule| {
        let name = rule.strip_prefix(b"+").or(rule.strip_prefix(b"-"));
        let names = |command: &Command| {
            name.is_some_and(|name| name.eq_ignore_ascii_case(command.name.to_bytes()))
        };
        COMMANDS.iter().any(names) || names(&CL_THROTTLE)
    })
}

/// Writes a line to the server's log.
pub(crate) fn warn(context: Context, line: &str) {
    context.log_warning(&CString::new(line).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_queued_commands_count_as_a_transaction() {
        assert!(has_queued_commands(
            b"id=3 multi=-1 cmd=x\nid=4 multi=2 watch=0 cmd=y\n"
        ));
        assert!(!has_queued_commands(
            b"id=3 name=multi multi=-1 cmd=x\nid=4 multi=0 cmd=multi\n"
        ));
    }

    #[test]
    fn only_rules_with_the_name_of_a_command_of_ours_are_found() {
        for rules in [
            "+rl.token",
            "-RL.MULTI",
            "(+@read +cl.throttle)",
            "~* (~x +rl.peek ~y)",
        ] {
            assert!(
                names_a_command(format!("user a on nopass {rules}").as_bytes()),
                "{rules}"
            );
        }
        for rules in [
            "+@ratelimit",
            "~rl.token",
            "&rl.token",
            "+rl.other",
            "+set|rl.token",
        ] {
            assert!(
                !names_a_command(format!("user rl.token on nopass {rules}").as_bytes()),
                "{rules}"
            );
        }
    }
}
