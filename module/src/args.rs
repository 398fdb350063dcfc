//! Reads the words of a command, one by one, into types that cannot hold an invalid value.
//!
//! In which order a command reads them is its grammar, in its file below `commands/`. Every text of an error is in
//! `error.rs`. Nothing here touches a key or knows the server, so the grammars can be tested and fuzzed without one.
//!
//! Words are bytes and need not be UTF-8. Option words match in any case, as those of Redis's own commands do; a rate
//! and its units do not.

use rl_bucket::{Algorithm, Capacity, Policy, Rate, Request, Tokens};

use super::error::Error;

/// The words of a command that are not read yet. Every method reads from the front, and a word that was read is gone,
/// even if it was wrong.
pub(crate) struct Words<I> {
    /// The name of the command in error replies.
    ///
    /// It is given by the grammar and not taken from the call: the client may have sent it in another case.
    command: &'static str,
    /// The words after those that were read.
    words: I,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Words<I> {
    /// The words of a call of `command`, which is its name in lower case with the prefix: `rl.token`.
    pub(crate) fn new(command: &'static str, words: I) -> Self {
        Self { command, words }
    }

    /// Reads a word of any kind, such as a key.
    ///
    /// # Errors
    ///
    /// [`Error::WrongArity`] if no word is left. So the words that a command requires are read with this, and a number
    /// that an option requires is not: without it, the error is [`Error::Syntax`].
    pub(crate) fn any(&mut self) -> Result<&'a [u8], Error> {
        self.words.next().ok_or(Error::WrongArity)
    }

    /// Reads `TOKEN` or `LEAKY`.
    ///
    /// # Errors
    ///
    /// [`Error::WrongArity`] if no word is left, [`Error::Syntax`] for any other word.
    pub(crate) fn algorithm(&mut self) -> Result<Algorithm, Error> {
        match self.any()? {
            word if is(word, "TOKEN") => Ok(Algorithm::Token),
            word if is(word, "LEAKY") => Ok(Algorithm::Leaky),
            _ => Err(Error::Syntax),
        }
    }

    /// Reads a rate and a capacity, which errors call `capacity_name`.
    ///
    /// # Errors
    ///
    /// - [`Error::WrongArity`] if fewer than two words are left.
    /// - [`Error::InvalidRate`] if the first is no rate. It is reported even if the capacity is missing or wrong.
    /// - [`Error::OutOfRange`] if the second is no number up to 2^48 - 1.
    /// - [`Error::Zero`] if it is zero.
    pub(crate) fn policy(&mut self, capacity_name: &'static str) -> Result<Policy, Error> {
        let rate = Rate::parse(self.any()?).ok_or(Error::InvalidRate)?;
        // Of the numbers that `tokens` accepts, only zero is no capacity.
        let capacity = Capacity::new(self.tokens()?.get()).ok_or(Error::Zero {
            what: capacity_name,
            command: self.command,
        })?;
        Ok(Policy::new(rate, capacity))
    }

    /// Reads a number of tokens, 0 to 2^48 - 1.
    ///
    /// # Errors
    ///
    /// [`Error::WrongArity`] if no word is left, [`Error::OutOfRange`] if it is no such number.
    pub(crate) fn tokens(&mut self) -> Result<Tokens, Error> {
        tokens(self.any()?)
    }

    /// Reads a number of tokens that is not zero. Errors call it `what`.
    ///
    /// # Errors
    ///
    /// As [`Words::tokens`], and [`Error::Zero`] for zero.
    pub(crate) fn at_least_one(&mut self, what: &'static str) -> Result<Tokens, Error> {
        let word = self.any()?;
        at_least_one(word, what, self.command)
    }

    /// Reads `[n]`. One token if no word is left, zero only if the word says so.
    pub(crate) fn tokens_or_one(&mut self) -> Result<Tokens, Error> {
        self.words.next().map_or(Ok(Tokens::ONE), tokens)
    }

    /// Reads `[COST n]`. One token if no word is left. `COST 0` is allowed: it takes nothing, and is answered with the
    /// state of the bucket.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for another word and for `COST` without a number, [`Error::OutOfRange`] if the number is
    /// wrong.
    pub(crate) fn cost(&mut self) -> Result<Tokens, Error> {
        match self.words.next() {
            None => Ok(Tokens::ONE),
            Some(word) if is(word, "COST") => tokens(self.operand()?),
            Some(_) => Err(Error::Syntax),
        }
    }

    /// Reads `[COST n [PARTIAL] | FORCE n | REFUND n]`. A cost of one token if no word is left.
    ///
    /// | words | request |
    /// |---|---|
    /// | none | `Cost(1)` |
    /// | `COST 3` | `Cost(3)`; zero is allowed |
    /// | `COST 3 PARTIAL` | `Partial(3)` |
    /// | `FORCE 3` | `Force(3)` |
    /// | `REFUND 3` | `Refund(3)` |
    ///
    /// Words after these are left to [`Words::end`].
    ///
    /// # Errors
    ///
    /// - [`Error::Syntax`] for an unknown option, for one without its number, and for a word after `COST n` that is not
    ///   `PARTIAL`.
    /// - [`Error::OutOfRange`] if a number is wrong.
    /// - [`Error::Zero`] for zero, except in `COST 0` without `PARTIAL`: the other three would do nothing.
    pub(crate) fn request(&mut self) -> Result<Request, Error> {
        let Some(option) = self.words.next() else {
            return Ok(Request::Cost(Tokens::ONE));
        };
        let command = self.command;
        if is(option, "FORCE") {
            return at_least_one(self.operand()?, "force", command).map(Request::Force);
        }
        if is(option, "REFUND") {
            return at_least_one(self.operand()?, "refund", command).map(Request::Refund);
        }
        if !is(option, "COST") {
            return Err(Error::Syntax);
        }
        let cost = self.operand()?;
        match self.words.next() {
            None => tokens(cost).map(Request::Cost),
            Some(word) if is(word, "PARTIAL") => {
                at_least_one(cost, "cost", command).map(Request::Partial)
            }
            // A number out of range is reported before the word after it.
            Some(_) => tokens(cost).and(Err(Error::Syntax)),
        }
    }

    /// Reads `[COUNT n] [RESET]`: the number, which is not zero, and whether there is a `RESET`.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for another word and for `COUNT` without a number, [`Error::OutOfRange`] if the number is
    /// wrong, [`Error::Zero`] if it is zero.
    pub(crate) fn count_and_reset(&mut self) -> Result<(Option<Tokens>, bool), Error> {
        let (mut count, mut word) = (None, self.words.next());
        if word.is_some_and(|word| is(word, "COUNT")) {
            count = Some(at_least_one(self.operand()?, "count", self.command)?);
            word = self.words.next();
        }
        match word {
            None => Ok((count, false)),
            Some(word) if is(word, "RESET") => Ok((count, true)),
            Some(_) => Err(Error::Syntax),
        }
    }

    /// Checks that no word is left. Every grammar ends with it, or counts its words beforehand.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] if one is.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        self.words.next().map_or(Ok(()), |_| Err(Error::Syntax))
    }

    /// The word after an option word. A missing one is a syntax error and not a wrong number of words, since the option
    /// could have been left out.
    fn operand(&mut self) -> Result<&'a [u8], Error> {
        self.words.next().ok_or(Error::Syntax)
    }
}

/// A number of tokens from one word: digits only, without a sign, a space or a leading zero.
fn tokens(word: &[u8]) -> Result<Tokens, Error> {
    Tokens::parse(word).ok_or(Error::OutOfRange)
}

/// The same, but not zero.
fn at_least_one(word: &[u8], what: &'static str, command: &'static str) -> Result<Tokens, Error> {
    match tokens(word)? {
        Tokens::ZERO => Err(Error::Zero { what, command }),
        n => Ok(n),
    }
}

/// Whether `word` is this option word, in any case.
fn is(word: &[u8], option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}
