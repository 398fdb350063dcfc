#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const NOW_US: u64 = 1_700_000_000_000_000;

/// The numbers of a key in the list.
type Counts = HashMap<Vec<u8>, (u64, u64)>;

fn counted(keys: &mut FrequentKeys, now_us: u64) -> Counts {
    let list = keys.list(COUNTERS, now_us).into_iter();
    list.map(|key| (key.key, (key.estimate, key.overestimate)))
        .collect()
}

/// Checks the three statements of the head of this file, for whole occurrences without decay.
fn check(stream: &[u16]) {
    let mut keys = Box::new(FrequentKeys::new());
    let mut exact: HashMap<Vec<u8>, u64> = HashMap::new();
    for number in stream {
        let key = number.to_string().into_bytes();
        keys.add(&key, NOW_US);
        *exact.entry(key).or_default() += 1;
    }
    let share = stream.len() as u64 / (COUNTERS as u64 + 1);
    let listed = counted(&mut keys, NOW_US);
    for (key, count) in &exact {
        let found = listed.get(key);
        assert!(found.is_some() || *count <= share, "{count} of {share}");
        if let Some((estimate, overestimate)) = found {
            assert!(*overestimate <= share);
            assert!((estimate.saturating_sub(*overestimate)..=*estimate).contains(count));
        }
    }
}

/// Numbers of which few are frequent, and more of them than there are counters.
fn skewed() -> impl Strategy<Value = u16> {
    (0..12_u32, any::<u16>()).prop_map(|(bits, number)| number % (1 << bits))
}

proptest! {
    #[test]
    fn estimates_are_within_their_bounds(stream in prop::collection::vec(skewed(), 0..8000)) {
        check(&stream);
    }

    #[test]
    fn decayed_estimates_are_within_their_bounds(
        stream in prop::collection::vec((skewed(), 0..1_000_000_u64), 0..4000)
    ) {
        let mut keys = Box::new(FrequentKeys::new());
        let mut exact: HashMap<Vec<u8>, f64> = HashMap::new();
        let (mut now_us, mut second_us) = (NOW_US, NOW_US);
        for (number, wait_us) in stream {
            now_us += wait_us;
            while now_us - second_us >= SECOND_US {
                second_us += SECOND_US;
                exact.values_mut().for_each(|count| *count *= 0.5_f64.powf(1.0 / 60.0));
            }
            let key = number.to_string().into_bytes();
            keys.add(&key, now_us);
            *exact.entry(key).or_default() += 1.0;
        }
        let share = exact.values().sum::<f64>() / (COUNTERS as f64 + 1.0);
        let listed = counted(&mut keys, now_us);
        for (key, count) in &exact {
            let found = listed.get(key);
            prop_assert!(found.is_some() || *count <= share.max(0.5) + 0.01, "{count} of {share}");
            if let Some((estimate, overestimate)) = found {
                let (estimate, overestimate) = (*estimate as f64, *overestimate as f64);
                prop_assert!(overestimate <= share + 1.01, "{overestimate} of {share}");
                prop_assert!(*count <= estimate + 0.51 && *count >= estimate - overestimate - 0.51);
            }
        }
    }
}

#[test]
fn half_of_a_count_remains_after_a_minute() {
    let mut keys = Box::new(FrequentKeys::new());
    for _ in 0..1000 {
        keys.add(b"key", NOW_US);
    }
    let mut after = |seconds| counted(&mut keys, NOW_US + seconds * SECOND_US)[b"key".as_slice()];
    assert_eq!(
        [0, 60, 61, 120].map(&mut after),
        [(1000, 0), (500, 0), (494, 0), (250, 0)]
    );
    assert_eq!(
        counted(&mut keys, NOW_US + 2 * 3600 * SECOND_US),
        HashMap::new()
    );
}

#[test]
fn a_clock_that_goes_back_forgets_nothing() {
    let mut keys = Box::new(FrequentKeys::new());
    keys.add(b"key", NOW_US);
    keys.add(b"key", NOW_US - 3600 * SECOND_US);
    assert_eq!(keys.list(1, NOW_US - 3600 * SECOND_US)[0].estimate, 2);
}

#[test]
fn a_long_key_is_counted_whole_and_listed_in_part() {
    let mut keys = Box::new(FrequentKeys::new());
    let key = |length: usize, end: u8| [&vec![b'k'; length - 1][..], &[end]].concat();
    for (length, end) in [
        (256, b'a'),
        (257, b'a'),
        (257, b'b'),
        (257, b'b'),
        (1000, b'c'),
    ] {
        keys.add(&key(length, end), NOW_US);
    }
    let list = keys.list(9, NOW_US);
    let cut = [&[b'k'; 253][..], b"..."].concat();
    assert_eq!((&list[0].key, list[0].estimate), (&cut, 2));
    assert_eq!(list.iter().filter(|listed| listed.key == cut).count(), 3);
    assert!(list.iter().any(|listed| listed.key == key(256, b'a')));
}

#[test]
fn the_largest_estimate_comes_first() {
    let mut keys = Box::new(FrequentKeys::new());
    for key in ["a", "b", "b", "c", "c", "c"] {
        keys.add(key.as_bytes(), NOW_US);
    }
    let names: Vec<_> = keys
        .list(2, NOW_US)
        .into_iter()
        .map(|key| key.key)
        .collect();
    assert_eq!(names, [b"c", b"b"]);
}

/// The first key loses its counter, which has 0.89 of an occurrence by then, and comes back.
#[test]
fn a_key_that_lost_its_counter_is_not_underestimated() {
    let mut keys = Box::new(FrequentKeys::new());
    for number in 0..COUNTERS {
        keys.add(number.to_string().as_bytes(), NOW_US);
    }
    let later_us = NOW_US + 10 * SECOND_US;
    keys.add(b"new", later_us);
    assert_eq!(counted(&mut keys, later_us).get(b"0".as_slice()), None);
    keys.add(b"0", later_us);
    assert_eq!(counted(&mut keys, later_us)[b"0".as_slice()], (2, 1));
}
