//! The words of a command, read into types that cannot hold nonsense.

use rl_bucket::{Algorithm, Capacity, Policy, Rate, Request, Tokens};

use super::error::Error;

/// The most buckets of one RL.MULTI, so that no call stalls the server.
const MOST_BUCKETS: usize = 1000;

/// What one part of RL.MULTI asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) algorithm: Algorithm,
    pub(crate) policy: Policy,
    pub(crate) cost: Tokens,
}

/// Reads `rate burst [COST n [PARTIAL] | FORCE n | REFUND n]`, a leaky bucket's capacity in the place of the burst.
pub(crate) fn limit<'a>(
    algorithm: Algorithm,
    mut words: impl Iterator<Item = &'a [u8]>,
) -> Result<(Policy, Request), Error> {
    let (command, capacity_name) = match algorithm {
        Algorithm::Token => ("rl.token", "burst"),
        Algorithm::Leaky => ("rl.leaky", "capacity"),
    };
    let rate = Rate::parse(next(&mut words)?).ok_or(Error::InvalidRate)?;
    let capacity = capacity(next(&mut words)?, capacity_name, command)?;
    let request = request(command, &mut words)?;
    end(words)?;
    Ok((Policy::new(rate, capacity), request))
}

/// Reads `[COST n]`.
pub(crate) fn peek<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<Request, Error> {
    let cost = match words.next() {
        None => Tokens::ONE,
        Some(word) if is(word, "COST") => tokens(words.next().ok_or(Error::Syntax)?)?,
        Some(_) => return Err(Error::Syntax),
    };
    end(words)?;
    Ok(Request::Cost(cost))
}

/// Reads nothing.
pub(crate) fn end<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
    words.next().map_or(Ok(()), |_| Err(Error::Syntax))
}

/// Reads `key TOKEN|LEAKY rate capacity cost`, 1 to 1000 times. The keys are left where they are.
pub(crate) fn multi<'a>(
    mut words: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Vec<Limit>, Error> {
    if words.len() == 0 || !words.len().is_multiple_of(5) {
        return Err(Error::WrongArity);
    }
    if words.len() / 5 > MOST_BUCKETS {
        return Err(Error::TooManyBuckets);
    }
    let mut limits = Vec::with_capacity(words.len() / 5);
    while words.next().is_some() {
        let algorithm = match next(&mut words)? {
            word if is(word, "TOKEN") => Algorithm::Token,
            word if is(word, "LEAKY") => Algorithm::Leaky,
            _ => return Err(Error::Syntax),
        };
        let rate = Rate::parse(next(&mut words)?).ok_or(Error::InvalidRate)?;
        let capacity = capacity(next(&mut words)?, "capacity", "rl.multi")?;
        let cost = tokens(next(&mut words)?)?;
        let policy = Policy::new(rate, capacity);
        limits.push(Limit {
            algorithm,
            policy,
            cost,
        });
    }
    Ok(limits)
}

/// Reads `max_burst count period [quantity]`: `count` tokens per `period` seconds, and `max_burst` beyond the first.
pub(crate) fn throttle<'a>(
    command: &'static str,
    mut words: impl Iterator<Item = &'a [u8]>,
) -> Result<(Policy, Request), Error> {
    let max_burst = tokens(next(&mut words)?)?.get();
    let count = at_least_one(next(&mut words)?, "count", command)?.get();
    let period_s = at_least_one(next(&mut words)?, "period", command)?.get();
    let quantity = words.next().map_or(Ok(Tokens::ONE), tokens)?;
    end(words)?;
    let capacity = Capacity::new(max_burst.saturating_add(1)).ok_or(Error::OutOfRange)?;
    let rate = Rate::new(count.into(), u128::from(period_s).saturating_mul(1_000_000));
    let policy = Policy::new(rate.ok_or(Error::OutOfRange)?, capacity);
    Ok((policy, Request::Cost(quantity)))
}

fn request<'a>(
    command: &'static str,
    words: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Request, Error> {
    let Some(option) = words.next() else {
        return Ok(Request::Cost(Tokens::ONE));
    };
    let mut number = || words.next().ok_or(Error::Syntax);
    if is(option, "FORCE") {
        return Ok(Request::Force(at_least_one(number()?, "force", command)?));
    }
    if is(option, "REFUND") {
        return Ok(Request::Refund(at_least_one(number()?, "refund", command)?));
    }
    if !is(option, "COST") {
        return Err(Error::Syntax);
    }
    let cost = number()?;
    match words.next() {
        None => Ok(Request::Cost(tokens(cost)?)),
        Some(word) if is(word, "PARTIAL") => {
            Ok(Request::Partial(at_least_one(cost, "cost", command)?))
        }
        Some(_) => tokens(cost).and(Err(Error::Syntax)),
    }
}

fn next<'a>(words: &mut impl Iterator<Item = &'a [u8]>) -> Result<&'a [u8], Error> {
    words.next().ok_or(Error::WrongArity)
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

/// Reads a capacity. Of the numbers that `tokens` accepts, only zero is none.
fn capacity(word: &[u8], what: &'static str, command: &'static str) -> Result<Capacity, Error> {
    Capacity::new(tokens(word)?.get()).ok_or(Error::Zero { what, command })
}

/// Whether `word` is this option word, in any case.
fn is(word: &[u8], option: &str) -> bool {
    word.eq_ignore_ascii_case(option.as_bytes())
}
