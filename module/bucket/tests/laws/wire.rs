//! The order of the numbers in a reply, which never changes.

use rl_bucket::Decision;

const DECISION: Decision = Decision {
    allowed: 1,
    limit: 20,
    remaining: 19,
    retry_after_ms: Some(0),
    reset_after_ms: 100,
    delay_ms: 7,
};

#[test]
fn a_decision_round_trips_through_the_wire() {
    assert_eq!(DECISION.to_wire(), [1, 20, 19, 0, 100, 7]);
    assert_eq!(Decision::from_wire(&DECISION.to_wire()), Some(DECISION));
    let never = Decision {
        retry_after_ms: None,
        ..DECISION
    };
    assert_eq!(never.to_wire()[3], -1);
    assert_eq!(Decision::from_wire(&never.to_wire()), Some(never));
}

#[test]
fn a_token_buckets_reply_has_no_delay() {
    assert_eq!(
        Decision::from_wire(&[1, 20, 19, 0, 100]),
        Some(Decision {
            delay_ms: 0,
            ..DECISION
        })
    );
}

#[test]
fn a_malformed_reply_is_refused() {
    for reply in [
        &[][..],
        &[1, 20, 19, 0],
        &[1, 20, 19, 0, 100, 0, 0],
        &[-1, 20, 19, 0, 100],
        &[1, 20, 19, -2, 100],
    ] {
        assert_eq!(Decision::from_wire(reply), None, "{reply:?}");
    }
}
