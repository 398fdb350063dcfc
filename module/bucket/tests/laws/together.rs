//! Several limits at once: all of them are charged, or none.

use proptest::prelude::*;
use rl_bucket::{
    Algorithm, Bucket, Change, Decision, Member, Part, Policy, Request, UnixMicros, decide_together,
};

use crate::{Kept, NOON_US, small_policy, tokens};

fn members(kept: &[Kept], policies: &[Policy], now_us: u64) -> Vec<Member> {
    kept.iter()
        .zip(policies)
        .map(|(kept, policy)| {
            let now = UnixMicros::new(now_us);
            Member::new(Bucket::open(kept.state, Algorithm::Leaky, *policy, now).expect("leaky"))
        })
        .collect()
}

fn ask(members: &mut [Member], parts: &[(usize, u64)]) -> (Option<usize>, Vec<Decision>) {
    let parts: Vec<_> = parts
        .iter()
        .map(|(member, cost)| Part {
            member: *member,
            cost: tokens(*cost),
        })
        .collect();
    let mut told = Vec::new();
    let denied = decide_together(members, &parts, |decision| told.push(decision));
    (denied, told)
}

fn one_by_one(
    kept: &mut [Kept],
    policies: &[Policy],
    parts: &[(usize, u64)],
    now_us: u64,
) -> Vec<Decision> {
    parts
        .iter()
        .map(|(i, cost)| {
            kept[*i].ask(
                Algorithm::Leaky,
                policies[*i],
                Request::Cost(tokens(*cost)),
                now_us,
            )
        })
        .collect()
}

proptest! {
    #[test]
    fn all_are_charged_as_one_by_one_or_none_is(
        old in [small_policy(), small_policy(), small_policy()],
        new in [small_policy(), small_policy(), small_policy()],
        changed: bool,
        used in [0..13_u64, 0..13, 0..13],
        parts in prop::collection::vec((0..3_usize, 0..5_u64), 1..6),
        moved_us in -3000..20_000_i64,
    ) {
        let policies = if changed { new } else { old };
        let mut kept = [Kept::default(); 3];
        for i in 0..3 {
            kept[i].ask(Algorithm::Leaky, old[i], Request::Partial(tokens(used[i].max(1))), NOON_US);
        }
        let now_us = NOON_US.saturating_add_signed(moved_us);
        let mut apart = kept;
        let singly = one_by_one(&mut apart, &policies, &parts, now_us);
        let mut together = members(&kept, &policies, now_us);
        let (denied, told) = ask(&mut together, &parts);

        prop_assert_eq!(denied, singly.iter().position(|decision| decision.allowed == 0));
        prop_assert_eq!(told.len(), parts.len());
        if denied.is_none() {
            prop_assert_eq!(&told, &singly);
            for (member, (kept, apart)) in together.iter().zip(kept.iter_mut().zip(&apart)) {
                kept.apply(member.change());
                prop_assert_eq!(kept.state, apart.state);
            }
            return Ok(());
        }
        // Nothing is taken. Waiting for the largest retry_after passes, if there is one for each.
        for (i, member) in together.iter().enumerate() {
            let denies = parts.iter().zip(&told).any(|((asked, _), told)| *asked == i && told.allowed == 0);
            prop_assert!(denies || member.change() == Change::Nothing);
            kept[i].apply(member.change());
            let cost_0 = kept[i].try_ask(Algorithm::Leaky, policies[i], Request::Cost(tokens(0)), now_us).unwrap().0;
            for (_, told) in parts.iter().zip(&told).filter(|((asked, _), _)| *asked == i) {
                prop_assert_eq!((told.remaining, told.reset_after_ms), (cost_0.remaining, cost_0.reset_after_ms));
            }
        }
        let waits: Option<Vec<u64>> = told.iter().map(|told| told.retry_after_ms).collect();
        let totals = (0..3).map(|i| parts.iter().filter(|part| part.0 == i).map(|part| part.1).sum::<u64>());
        let never = totals.zip(&policies).any(|(total, policy)| total > policy.capacity().get());
        prop_assert_eq!(waits.is_none(), never);
        if let Some(wait_ms) = waits.and_then(|waits| waits.into_iter().max()) {
            let at = |ms: u64| ask(&mut members(&kept, &policies, now_us + ms * 1000), &parts).0;
            prop_assert_eq!(at(wait_ms), None);
            prop_assert!(at(wait_ms - 1).is_some());
        }
    }
}

#[test]
fn a_key_asked_twice_is_asked_for_both() {
    let policy = crate::policy(1, 1_000_000, 5);
    let kept = [Kept::default()];
    let (denied, told) = ask(&mut members(&kept, &[policy], NOON_US), &[(0, 3), (0, 2)]);
    assert_eq!(
        (
            denied,
            told[0].remaining,
            told[1].remaining,
            told[1].delay_ms
        ),
        (None, 2, 0, 3000)
    );
    let (denied, told) = ask(&mut members(&kept, &[policy], NOON_US), &[(0, 3), (0, 3)]);
    assert_eq!((denied, told[0].allowed, told[1].allowed), (Some(1), 1, 0));
    assert_eq!(
        (told[0].remaining, told[1].remaining, told[1].retry_after_ms),
        (5, 5, None)
    );
}
