//! The form of a request on the wire: its call in Redis's protocol, and whether a reply can belong to it. Pure.
//!
//! One bucket is one RL.TOKEN or RL.LEAKY, several are one RL.MULTI. [`super::client`] sends the calls.

use nonempty::NonEmpty;
use rl_bucket::{Algorithm, Decision, Policy, Request, Tokens};

use super::call_error::CallError;
use super::error_reply::call_error;
use super::resp::{Reply, Word, write_call};
use crate::limit::{Decisions, Limit, LimitRequest, Unavailable};

/// Appends the one call for a request.
pub(super) fn write_request(buffer: &mut Vec<u8>, request: &LimitRequest) {
    if request.limits.tail.is_empty() {
        return write_single(buffer, request, &request.limits.head);
    }
    let algorithm = match request.algorithm {
        Algorithm::Token => "TOKEN",
        Algorithm::Leaky => "LEAKY",
    };
    let mut words = Vec::with_capacity(1 + 5 * request.limits.len());
    words.push(Word::Text("RL.MULTI"));
    for limit in &request.limits {
        words.extend([
            Word::Text(&limit.key),
            Word::Text(algorithm),
            Word::Rate(limit.policy.rate()),
            Word::Number(limit.policy.capacity().get()),
            Word::Number(tokens(request.charge).get()),
        ]);
    }
    write_call(buffer, &words);
}

/// Appends the call for one bucket.
fn write_single(buffer: &mut Vec<u8>, request: &LimitRequest, limit: &Limit) {
    let command = match request.algorithm {
        Algorithm::Token => "RL.TOKEN",
        Algorithm::Leaky => "RL.LEAKY",
    };
    let (option, partial) = match request.charge {
        Request::Cost(Tokens::ONE) => (None, None),
        Request::Cost(_) => (Some("COST"), None),
        Request::Partial(_) => (Some("COST"), Some("PARTIAL")),
        Request::Force(_) => (Some("FORCE"), None),
        Request::Refund(_) => (Some("REFUND"), None),
    };
    let words = [
        Word::Text(command),
        Word::Text(&limit.key),
        Word::Rate(limit.policy.rate()),
        Word::Number(limit.policy.capacity().get()),
        Word::Text(option.unwrap_or_default()),
        Word::Number(tokens(request.charge).get()),
        Word::Text(partial.unwrap_or_default()),
    ];
    let count = match (option, partial) {
        (None, _) => 4,
        (_, None) => 6,
        (_, Some(_)) => 7,
    };
    write_call(buffer, &words[..count]);
}

/// Whether a request takes more than one call: no command forces or refunds a charge of several buckets.
pub(super) fn is_transaction(request: &LimitRequest) -> bool {
    !request.limits.tail.is_empty() && !matches!(request.charge, Request::Cost(_))
}

/// Appends the calls for a request between MULTI and EXEC. They are two more than its limits.
pub(super) fn write_transaction(buffer: &mut Vec<u8>, request: &LimitRequest) {
    write_call(buffer, &[Word::Text("MULTI")]);
    for limit in &request.limits {
        write_single(buffer, request, limit);
    }
    write_call(buffer, &[Word::Text("EXEC")]);
}

fn tokens(charge: Request) -> Tokens {
    match charge {
        Request::Cost(n) | Request::Partial(n) | Request::Force(n) | Request::Refund(n) => n,
    }
}

/// Decodes the reply to the call for a request.
pub(super) fn decisions(reply: Reply, request: &LimitRequest) -> Result<Decisions, CallError> {
    let decisions = match reply {
        Reply::Error(error) => return Err(call_error(&error, request)),
        Reply::Integers(items) if request.limits.tail.is_empty() => {
            decision(items.as_slice(), request, &request.limits.head).map(Decisions::from)
        }
        Reply::Array(items) => batch(&items, request),
        _ => None,
    };
    decisions.ok_or(CallError::Mismatched)
}

/// Decodes the replies to the calls of [`write_transaction`]: to MULTI, to each call when it was queued, and to EXEC.
pub(super) fn transaction_decisions(
    mut replies: Vec<Reply>,
    request: &LimitRequest,
) -> Result<Decisions, CallError> {
    let executed = replies.pop();
    let is_error = |reply: &&Reply| matches!(reply, Reply::Error(_));
    let results = match executed {
        Some(Reply::Array(results)) => results,
        // Why a call was not queued says more than the error of EXEC.
        Some(error @ Reply::Error(_)) => {
            let reply = replies.iter().find(is_error).cloned();
            return decisions(reply.unwrap_or(error), request);
        }
        _ => return Err(CallError::Mismatched),
    };
    if let Some(error) = results.iter().find(is_error) {
        let others_charged = !results.iter().all(|result| is_error(&result));
        return match decisions(error.clone(), request) {
            Err(CallError::Undecided(Unavailable::DebtTooLarge { .. })) => {
                Err(CallError::Undecided(Unavailable::DebtTooLarge {
                    others_charged,
                }))
            }
            error => error,
        };
    }
    let decoded = decoded_all(&results, request).filter(|all| all.iter().all(is_granted));
    decoded.map(Decisions).ok_or(CallError::Mismatched)
}

/// Decodes the reply of RL.MULTI. `None` if it does not fit the request: then it is the reply to another call.
fn batch(items: &[Reply], request: &LimitRequest) -> Option<Decisions> {
    let [
        Reply::Integer(allowed),
        Reply::Integer(first_denied),
        results @ ..,
    ] = items
    else {
        return None;
    };
    let decisions = decoded_all(results, request)?;
    let denied = decisions.iter().position(|decision| decision.allowed == 0);
    let position = denied.map_or(Some(0), |index| i64::try_from(index + 1).ok());
    let is_consistent = *allowed == i64::from(denied.is_none()) && Some(*first_denied) == position;
    is_consistent.then_some(Decisions(decisions))
}

/// Decodes one decision for each limit.
fn decoded_all(results: &[Reply], request: &LimitRequest) -> Option<NonEmpty<Decision>> {
    if results.len() != request.limits.len() {
        return None;
    }
    let pairs = results.iter().zip(&request.limits);
    let decisions: Option<Vec<_>> = pairs
        .map(|(result, limit)| match result {
            Reply::Integers(items) => decision(items.as_slice(), request, limit),
            _ => None,
        })
        .collect();
    NonEmpty::from_vec(decisions?)
}

/// Decodes the decision of one bucket. `None` if it does not fit the request.
fn decision(items: &[i64], request: &LimitRequest, limit: &Limit) -> Option<Decision> {
    let decision = Decision::from_wire(items);
    decision.filter(|decision| fits(decision, items.len(), request, limit.policy))
}

/// Whether a decision can be the reply to this request: it has the right number of fields and the limit of the
/// request, and its fields do not contradict one another.
///
/// After one reply too many, every later call gets the reply to another call. This check finds that.
fn fits(decision: &Decision, fields: usize, request: &LimitRequest, policy: Policy) -> bool {
    let expected_fields = match request.algorithm {
        Algorithm::Token => 5,
        Algorithm::Leaky => 6,
    };
    let limit = policy.capacity().get();
    let cost = match request.charge {
        Request::Cost(cost) => Some(cost.get()),
        // Partial is denied like a cost of 1. The others are never denied.
        Request::Partial(_) => Some(1),
        Request::Force(_) | Request::Refund(_) => None,
    };
    let wait_ms = decision.retry_after_ms.unwrap_or_default();
    let is_consistent = match (decision.allowed, decision.retry_after_ms) {
        (0, Some(1..)) => cost.is_some_and(|cost| cost <= limit) && decision.delay_ms == 0,
        (0, None) => cost.is_some_and(|cost| cost > limit) && decision.delay_ms == 0,
        (allowed, Some(0)) => is_grantable(allowed, request.charge),
        _ => false,
    };
    fields == expected_fields
        && decision.limit == limit
        && decision.remaining <= limit
        && [wait_ms, decision.reset_after_ms, decision.delay_ms]
            .iter()
            .all(|ms| *ms <= Decision::LONGEST_MS)
        && is_consistent
}

/// Whether a bucket can allow this much of a charge: 1 stands for all of it, except for a partial one.
fn is_grantable(allowed: u64, charge: Request) -> bool {
    match charge {
        Request::Partial(cost) => (1..=cost.get()).contains(&allowed),
        Request::Cost(_) | Request::Force(_) | Request::Refund(_) => allowed == 1,
    }
}

fn is_granted(decision: &Decision) -> bool {
    decision.allowed > 0
}

#[cfg(test)]
mod tests {
    use rl_bucket::{Capacity, Rate};

    use super::*;

    fn request(algorithm: Algorithm, cost: u64) -> LimitRequest {
        let policy = Rate::parse(b"10").zip(Capacity::new(20));
        let policy = policy.map(|(rate, capacity)| Policy::new(rate, capacity));
        let key = "rl:token:192.0.2.1".to_owned();
        let charge = Request::Cost(Tokens::new(cost).unwrap());
        LimitRequest::single(algorithm, key, policy.unwrap(), charge)
    }

    fn reply(numbers: &[i64]) -> Reply {
        Reply::Integers(numbers.into())
    }

    #[test]
    fn replies_of_redis_fit_their_calls() {
        let token = request(Algorithm::Token, 1);
        for numbers in [[1, 20, 19, 0, 100], [0, 20, 0, 1, 2000], [1, 20, 0, 0, 0]] {
            assert!(decisions(reply(&numbers), &token).is_ok(), "{numbers:?}");
        }
        let leaky = request(Algorithm::Leaky, 1);
        for numbers in [[1, 20, 3, 0, 1700, 1600], [0, 20, 0, 77, 2000, 0]] {
            assert!(decisions(reply(&numbers), &leaky).is_ok(), "{numbers:?}");
        }
        let never = request(Algorithm::Token, 21);
        assert!(decisions(reply(&[0, 20, 20, -1, 0]), &never).is_ok());
    }

    #[test]
    fn a_reply_that_does_not_fit_is_not_a_decision() {
        let longer = Decision::LONGEST_MS.cast_signed() + 1;
        let token = request(Algorithm::Token, 1);
        for numbers in [
            &[1, 21, 19, 0, 100][..],
            &[7, 20, 19, 0, 100],
            &[1, 20, 21, 0, 100],
            &[1, 20, 19, 5, 100],
            &[0, 20, 0, 0, 100],
            &[0, 20, 0, -1, 100],
            &[0, 20, 0, longer, 100],
            &[1, 20, 19, 0, i64::MAX],
            &[1, 20, 19, 0, 100, 0],
            &[1, 20, 19, 0],
            &[],
        ] {
            let decoded = decisions(reply(numbers), &token);
            assert_eq!(decoded, Err(CallError::Mismatched), "{numbers:?}");
        }
        let leaky = request(Algorithm::Leaky, 1);
        for numbers in [&[1, 20, 19, 0, 100][..], &[0, 20, 0, 9, 100, 9]] {
            assert_eq!(
                decisions(reply(numbers), &leaky),
                Err(CallError::Mismatched)
            );
        }
        assert_eq!(
            decisions(Reply::Status("OK".to_owned()), &token),
            Err(CallError::Mismatched)
        );
    }

    #[test]
    fn clients_see_a_mismatch_as_no_answer() {
        assert_eq!(
            Unavailable::from(CallError::Mismatched),
            Unavailable::NoAnswer
        );
    }

    fn batch_request(charge: Request) -> LimitRequest {
        let mut request = request(Algorithm::Token, 1);
        let second = Limit {
            key: "second".to_owned(),
            ..request.limits.head.clone()
        };
        request.limits.push(second);
        LimitRequest { charge, ..request }
    }

    /// The words of the calls that `write` appends, one call in each line.
    fn words(write: fn(&mut Vec<u8>, &LimitRequest), request: &LimitRequest) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer, request);
        let text = String::from_utf8(buffer).unwrap();
        let calls = text.split('*').skip(1).map(|call| {
            let words = call.split("\r\n").skip(2).step_by(2);
            Vec::from_iter(words).join(" ")
        });
        Vec::from_iter(calls).join("\n")
    }

    #[test]
    fn several_limits_are_one_call() {
        let request = batch_request(Request::Cost(Tokens::ONE));
        assert!(!is_transaction(&request));
        let expected = "RL.MULTI rl:token:192.0.2.1 TOKEN 10/s 20 1 second TOKEN 10/s 20 1";
        assert_eq!(words(write_request, &request), expected);
    }

    #[test]
    fn a_forced_charge_of_several_limits_is_a_transaction() {
        let request = batch_request(Request::Force(Tokens::ONE));
        assert!(is_transaction(&request));
        let expected = "MULTI\nRL.TOKEN rl:token:192.0.2.1 10/s 20 FORCE 1\nRL.TOKEN second 10/s 20 FORCE 1\nEXEC";
        assert_eq!(words(write_transaction, &request), expected);
    }

    fn batch_reply(allowed: i64, denied: i64, results: &[&[i64]]) -> Reply {
        let mut items = vec![Reply::Integer(allowed), Reply::Integer(denied)];
        items.extend(results.iter().map(|numbers| reply(numbers)));
        Reply::Array(items)
    }

    const YES: &[i64] = &[1, 20, 19, 0, 100];
    const NO: &[i64] = &[0, 20, 0, 9, 2000];

    #[test]
    fn replies_to_several_limits_fit_their_calls() {
        let request = batch_request(Request::Cost(Tokens::ONE));
        for (allowed, denied, results) in [
            (1, 0, [YES, YES]),
            (0, 1, [NO, YES]),
            (0, 2, [YES, NO]),
            (0, 1, [NO, NO]),
        ] {
            let decoded = decisions(batch_reply(allowed, denied, &results), &request).unwrap();
            assert_eq!(decoded.are_allowed(), allowed == 1);
        }
        for (allowed, denied, results) in [
            (1, 0, [YES, NO].as_slice()),
            (1, 1, &[YES, YES]),
            (0, 0, &[YES, YES]),
            (0, 1, &[YES, NO]),
            (0, 2, &[NO, NO]),
            (1, 0, &[YES]),
            (1, 0, &[YES, YES, YES]),
        ] {
            let decoded = decisions(batch_reply(allowed, denied, results), &request);
            assert_eq!(decoded, Err(CallError::Mismatched), "{denied} {results:?}");
        }
    }

    #[test]
    fn a_transaction_s_error_is_that_of_its_call() {
        let request = batch_request(Request::Refund(Tokens::ONE));
        let queued = || Reply::Status("QUEUED".to_owned());
        let done = Reply::Array(vec![reply(YES), reply(YES)]);
        let decode = |replies: Vec<Reply>| transaction_decisions(replies, &request);
        assert!(
            decode(vec![
                Reply::Status("OK".to_owned()),
                queued(),
                queued(),
                done
            ])
            .is_ok()
        );
        let denied = Reply::Array(vec![reply(YES), reply(NO)]);
        let decoded = decode(vec![
            Reply::Status("OK".to_owned()),
            queued(),
            queued(),
            denied,
        ]);
        assert_eq!(decoded, Err(CallError::Mismatched));
        assert_eq!(decode(Vec::new()), Err(CallError::Mismatched));
    }
}
