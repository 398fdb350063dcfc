//! Reads the words of a command, one by one, into types that cannot hold an invalid value.
//!
//! In which order a command reads them is its grammar, in its file below `commands/`. Every text of an error is in
//! `error.rs`.

use rl_bucket::{Algorithm, Capacity, Policy, Rate, Request, Tokens};

use super::error::Error;

/// The words of a command that are not read yet.
pub(crate) struct Words<I> {
    /// The name of the command in error replies.
    command: &'static str,
    words: I,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Words<I> {
    pub(crate) fn new(command: &'static str, words: I) -> Self {
        Self { command, words }
    }

    /// Reads a word of any kind, such as a key.
    pub(crate) fn any(&mut self) -> Result<&'a [u8], Error> {
        self.words.next().ok_or(Error::WrongArity)
    }

    /// Reads `TOKEN` or `LEAKY`.
    pub(crate) fn algorithm(&mut self) -> Result<Algorithm, Error> {
        match self.any()? {
            word if is(word, "TOKEN") => Ok(Algorithm::Token),
            word if is(word, "LEAKY") => Ok(Algorithm::Leaky),
            _ => Err(Error::Syntax),
        }
    }

    /// Reads a rate and a capacity, which errors call `capacity_name`.
    pub(crate) fn policy(&mut self, capacity_name: &'static str) -> Result<Policy, Error> {
        let rate = Rate::parse(self.any()?).ok_or(Error::InvalidRate)?;
        // Of the numbers that `tokens` accepts, only zero is no capacity.
        let capacity = Capacity::new(self.tokens()?.get()).ok_or(Error::Zero {
            what: capacity_name,
            command: self.command,
        })?;
        Ok(Policy::new(rate, capacity))
    }

    /// Reads a number of tokens.
    pub(crate) fn tokens(&mut self) -> Result<Tokens, Error> {
        tokens(self.any()?)
    }

    /// Reads a number of tokens that is not zero. Errors call it `what`.
    pub(crate) fn at_least_one(&mut self, what: &'static str) -> Result<Tokens, Error> {
        let word = self.any()?;
        at_least_one(word, what, self.command)
    }

    /// Reads `[n]`. One token if no word is left.
    pub(crate) fn tokens_or_one(&mut self) -> Result<Tokens, Error> {
        self.words.next().map_or(Ok(Tokens::ONE), tokens)
    }

    /// Reads `[COST n]`. One token if no word is left.
    pub(crate) fn cost(&mut self) -> Result<Tokens, Error> {
        match self.words.next() {
            None => Ok(Tokens::ONE),
            Some(word) if is(word, "COST") => tokens(self.operand()?),
            Some(_) => Err(Error::Syntax),
        }
    }

    /// Reads `[COST n [PARTIAL] | FORCE n | REFUND n]`. A cost of one token if no word is left.
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

    /// Checks that no word is left.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        self.words.next().map_or(Ok(()), |_| Err(Error::Syntax))
    }

    /// The word after an option word.
    fn operand(&mut self) -> Result<&'a [u8], Error> {
        self.words.next().ok_or(Error::Syntax)
    }
}

fn tokens(word: &[u8]) -> Result<Tokens, Error> {
    Tokens::parse(word).ok_or(Error::OutOfRange)
}

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
