//! When the module refuses to be unloaded. How Redis asks is in `redis/module.rs`.
//!
//! MODULE UNLOAD removes the code of the commands from the process. Stored buckets stay: they are strings, and a module
//! that is loaded later continues them.

use crate::commands::{CL_THROTTLE, COMMANDS};
use crate::describe::CommandSpec;
use crate::redis::Context;

/// Checks that unloading does not crash the server. The error says what to do first.
///
/// Servers free the commands of a module even if a client has queued one in a transaction, which EXEC then runs, and
/// even if an ACL user names one, which fails an assertion: at once in Redis 7.4 and newer, at ACL LIST in older
/// servers.
///
/// The check reads the replies of CLIENT LIST and ACL LIST. It refuses more than it must, since CLIENT LIST does not
/// show whose commands are queued, and it finds nothing on a server that has renamed these two.
///
/// # Errors
///
/// The reason to stay, as the log shows it. Nothing was unloaded.
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

/// Whether CLIENT LIST has a client inside MULTI or EXEC that has queued a command.
///
/// `multi=` is the number of queued commands, -1 outside a transaction. The texts that a client chooses itself, such as
/// its name and that of its library, cannot contain a space, so none of them can look like this field.
fn has_queued_commands(clients: &[u8]) -> bool {
    let mut words = clients.split(|byte| byte.is_ascii_whitespace());
    words.any(|word| {
        let count = word.strip_prefix(b"multi=");
        count.is_some_and(|count| !matches!(count, b"-1" | b"0"))
    })
}

/// Whether a line of ACL LIST has a rule for a command of this module, inside a selector or outside.
///
/// A category such as `+@ratelimit` is no such rule, and needs none: servers keep it as a category.
fn names_a_command(user: &[u8]) -> bool {
    let mut rules = user.split(|byte| matches!(byte, b' ' | b'(' | b')'));
    rules.any(|rule| {
        let name = rule.strip_prefix(b"+").or(rule.strip_prefix(b"-"));
        let names = |command: &CommandSpec| {
            name.is_some_and(|name| name.eq_ignore_ascii_case(command.name.to_bytes()))
        };
        COMMANDS.iter().any(names) || names(&CL_THROTTLE)
    })
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
    fn only_rules_that_name_a_command_of_the_module_match() {
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
