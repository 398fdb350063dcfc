//! A generated load: many callers, called as often as Zipf's law says, at random instants and in bursts. It has a seed,
//! so that every run is the same.

pub(super) const CALLERS: usize = 10_000;
/// How long the load lasts.
pub(super) const END_US: u64 = 20_000_000;
/// The mean time between two calls, or between a call and a burst.
const GAP_US: u64 = 20;
/// One in so many calls is a burst: so many calls of one caller at the same instant.
const BURST_EVERY: u64 = 1000;
const BURST_CALLS: u32 = 30;

/// SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, Fast splittable pseudorandom number generators, 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// 0 to `n - 1`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let scaled = u128::from(z ^ (z >> 31)) * u128::from(n);
        u64::try_from(scaled >> 64).expect("less than n")
    }
}

/// One call, by caller 0, who calls most often, to `CALLERS - 1`.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) caller: usize,
    pub(super) at_us: u64,
}

pub(super) struct Load {
    random: Random,
    /// The sums of the callers' weights. The weight of caller n is 2^40 / (n + 1): Zipf's law with exponent 1.
    weights: Vec<u64>,
    last: Call,
    /// How many calls of the present burst are still to come.
    burst: u32,
}

impl Load {
    pub(super) fn new() -> Self {
        let mut sum = 0;
        let weights = (1..=CALLERS as u64).map(|rank| {
            sum += (1 << 40) / rank;
            sum
        });
        Self {
            weights: weights.collect(),
            random: Random(1),
            last: Call {
                caller: 0,
                at_us: 0,
            },
            burst: 0,
        }
    }
}

impl Iterator for Load {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        if self.burst > 0 {
            self.burst -= 1;
            return Some(self.last);
        }
        let at_us = self.last.at_us + self.random.below(2 * GAP_US + 1);
        let pick = self.random.below(self.weights[CALLERS - 1]);
        let caller = self.weights.partition_point(|sum| *sum <= pick);
        self.last = Call { caller, at_us };
        if self.random.below(BURST_EVERY) == 0 {
            self.burst = BURST_CALLS - 1;
        }
        (at_us < END_US).then_some(self.last)
    }
}
