//! The table of commands. A new command is a file below `commands/`, and here its `mod` and its row.
//!
//! The rows are data: `load.rs` registers them, `stats.rs` writes a line of INFO for each, and `unload.rs` looks for
//! their names in ACL rules. What a row contains is defined in `describe.rs`.

use crate::describe::CommandSpec;

mod inspect;
mod limit;
mod multi;
mod throttle;
mod top;

/// Every command that is always registered, in the order of INFO.
pub(crate) static COMMANDS: &[CommandSpec] = &[
    self::limit::TOKEN,
    self::limit::LEAKY,
    self::inspect::PEEK,
    self::inspect::INFO,
    self::multi::MULTI,
    self::throttle::THROTTLE,
    self::top::TOP,
];

/// The command of redis-cell, which the module argument `cl-throttle` adds. It counts as RL.THROTTLE.
pub(crate) static CL_THROTTLE: CommandSpec = self::throttle::CL_THROTTLE;

#[cfg(test)]
mod tests {
    use rl_bucket::{Algorithm, Request, Tokens};

    use super::{inspect, limit, multi, throttle, top};

    fn is_zero(request: Request) -> bool {
        matches!(
            request,
            Request::Partial(Tokens::ZERO)
                | Request::Force(Tokens::ZERO)
                | Request::Refund(Tokens::ZERO)
        )
    }

    /// Reads the words as each command does. What it accepts is within the limits of the command.
    fn parse_as_each_command(words: &[&[u8]]) {
        let words = || words.iter().copied();
        for algorithm in [Algorithm::Token, Algorithm::Leaky] {
            if let Ok((policy, request)) = limit::parse(algorithm, words()) {
                assert!(policy.capacity().get() > 0 && !is_zero(request));
            }
        }
        if let Ok(request) = inspect::parse_peek(words()) {
            assert!(matches!(request, Request::Cost(cost) if cost <= Tokens::MAX));
        }
        if let Ok(limits) = multi::parse(words()) {
            assert!(limits.len() * 5 == words().len() && limits.len() <= 1000);
        }
        if let Ok((policy, request)) = throttle::parse("rl.throttle", words()) {
            assert!(policy.capacity().get() > 0 && matches!(request, Request::Cost(_)));
        }
        if let Ok((count, _)) = top::parse(words()) {
            assert!(count > 0);
        }
    }

    /// The inputs that fuzzing of `args.rs` kept.
    #[test]
    fn no_input_of_the_fuzz_corpus_makes_a_grammar_panic() -> std::io::Result<()> {
        let corpus = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fuzz/corpus/arguments"
        );
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus)? {
            let input = std::fs::read(entry?.path())?;
            let words: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
            parse_as_each_command(&words);
            inputs += 1;
        }
        assert!(inputs > 10, "only {inputs} inputs");
        Ok(())
    }
}
