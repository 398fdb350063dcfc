//! Every sequence of up to six steps over small domains, each decision compared with the oracle's.

use rl_bucket::{Algorithm, Policy, Request};

use crate::oracle::Oracle;
use crate::{START_US, StoredBucket, policy, tokens};

const STEPS: usize = 6;

/// The choices of one step.
struct Domain {
    policies: Vec<Policy>,
    moved_us: Vec<i64>,
    requests: Vec<Request>,
}

impl Domain {
    /// Takes every possible next step of this history and continues from each, so that shared prefixes run once.
    /// Returns the number of whole histories.
    fn explore(&self, bucket: StoredBucket, oracle: &Oracle, now_us: u64, left: usize) -> u64 {
        if left == 0 {
            return 1;
        }
        let mut histories = 0;
        for moved_us in &self.moved_us {
            let now_us = now_us.saturating_add_signed(*moved_us);
            for policy in &self.policies {
                for request in &self.requests {
                    let (mut bucket, mut oracle) = (bucket, oracle.clone());
                    let expected = oracle.decide(Algorithm::Leaky, *policy, *request, now_us);
                    let decision = bucket.decide(Algorithm::Leaky, *policy, *request, now_us);
                    assert_eq!(
                        Some(decision),
                        expected,
                        "{bucket:?} at {now_us}: {request:?}"
                    );
                    histories += self.explore(bucket, &oracle, now_us, left - 1);
                }
            }
        }
        histories
    }

    fn check(&self) {
        let choices = self.policies.len() * self.moved_us.len() * self.requests.len();
        let histories = self.explore(StoredBucket::default(), &Oracle::NEW, START_US, STEPS);
        assert_eq!(histories, (choices as u64).pow(STEPS as u32));
    }
}

fn costs(costs: &[u64]) -> Vec<Request> {
    costs.iter().map(|n| Request::Cost(tokens(*n))).collect()
}

#[test]
fn every_sequence_of_costs_under_one_policy() {
    for (count, period_us, capacity) in [(1, 1, 1), (1, 2, 2), (2, 3, 2), (3, 2, 3), (1, 1500, 2)] {
        let step_us = i64::try_from(u64::div_ceil(period_us, count)).expect("small");
        Domain {
            policies: vec![policy(count, period_us, capacity)],
            moved_us: vec![-step_us, 0, 1, step_us],
            requests: costs(&[1, 2]),
        }
        .check();
    }
}

#[test]
fn every_sequence_of_clock_steps_back_and_forward() {
    Domain {
        policies: vec![policy(1, 2, 2)],
        moved_us: vec![-5, -4, -1, 0, 1, 3, 6],
        requests: costs(&[1]),
    }
    .check();
}

#[test]
fn every_sequence_of_two_policies_on_one_bucket() {
    for other in [policy(1, 3, 2), policy(3, 2, 2), policy(1, 2, 1)] {
        Domain {
            policies: vec![policy(1, 2, 2), other],
            moved_us: vec![-3, 0, 1],
            requests: costs(&[1]),
        }
        .check();
    }
}

#[test]
fn every_sequence_of_every_kind_of_request() {
    let requests = vec![
        Request::Cost(tokens(0)),
        Request::Cost(tokens(1)),
        Request::Partial(tokens(2)),
        Request::Force(tokens(2)),
        Request::Refund(tokens(1)),
    ];
    Domain {
        policies: vec![policy(2, 3, 2)],
        moved_us: vec![0, 1],
        requests: requests.clone(),
    }
    .check();
    Domain {
        policies: vec![policy(2, 3, 2)],
        moved_us: vec![-2, 1],
        requests,
    }
    .check();
}
