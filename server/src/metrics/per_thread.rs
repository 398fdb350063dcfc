//! Counters and histograms that all threads update for each request.
//!
//! Each thread has a part of its own, and reading adds the parts. If the threads shared one value, the cores would take
//! turns with the memory that holds it, which costs more than the rest of the count.

use std::array;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::counter::{Atomic, Counter};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The number of parts. If there are more threads, some of them share one.
const PARTS: usize = 16;

/// A counter with a part for each thread.
pub(super) type ThreadCounter = Counter<u64, Sum>;

/// A histogram of durations, with a part for each thread. `N` is the number of buckets, that without an upper bound
/// included.
///
/// A reading during an observation may miss a part of it.
#[derive(Clone, Debug)]
pub(super) struct ThreadHistogram<const N: usize>(Arc<Histogram<N>>);

#[derive(Debug)]
struct Histogram<const N: usize> {
    /// The upper bounds of all buckets but the last, in seconds.
    bounds_s: &'static [f64],
    parts: [HistogramPart<N>; PARTS],
}

/// What one thread observed. Its memory shares no cache line with that of another.
#[derive(Debug)]
#[repr(align(64))]
struct HistogramPart<const N: usize> {
    sum_ns: AtomicU64,
    buckets: [AtomicU64; N],
}

/// A sum with a part for each thread.
#[derive(Debug, Default)]
pub(super) struct Sum([SumPart; PARTS]);

/// What one thread added. Its memory shares no cache line with that of another.
#[derive(Debug, Default)]
#[repr(align(64))]
struct SumPart(AtomicU64);

/// The index of the calling thread's part.
fn part() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PART: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PARTS;
    }
    PART.with(|part| *part)
}

impl Atomic<u64> for Sum {
    /// Returns the previous value of the calling thread's part, which nobody uses.
    fn inc_by(&self, count: u64) -> u64 {
        self.0[part()].0.fetch_add(count, Ordering::Relaxed)
    }

    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    fn get(&self) -> u64 {
        self.0
            .iter()
            .map(|part| part.0.load(Ordering::Relaxed))
            .sum()
    }
}

impl<const N: usize> ThreadHistogram<N> {
    /// A histogram with these upper bounds in seconds, ascending, one less than buckets.
    pub(super) fn new(bounds_s: &'static [f64]) -> Self {
        debug_assert_eq!(bounds_s.len() + 1, N);
        let part = |_| HistogramPart {
            sum_ns: AtomicU64::new(0),
            buckets: array::from_fn(|_| AtomicU64::new(0)),
        };
        let parts = array::from_fn(part);
        Self(Arc::new(Histogram { bounds_s, parts }))
    }

    pub(super) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.0.bounds_s.iter().position(|bound| seconds <= *bound);
        let part = &self.0.parts[part()];
        let sum_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        part.sum_ns.fetch_add(sum_ns, Ordering::Relaxed);
        part.buckets[bucket.unwrap_or(N - 1)].fetch_add(1, Ordering::Relaxed);
    }
}

impl<const N: usize> TypedMetric for ThreadHistogram<N> {
    const TYPE: MetricType = MetricType::Histogram;
}

impl<const N: usize> EncodeMetric for ThreadHistogram<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Histogram { bounds_s, parts } = &*self.0;
        let add = |value: fn(&HistogramPart<N>, usize) -> &AtomicU64, index| {
            let values = parts
                .iter()
                .map(|part| value(part, index).load(Ordering::Relaxed));
            values.sum::<u64>()
        };
        let bounds_s = bounds_s.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds_s
            .enumerate()
            .map(|(index, bound)| (bound, add(|part, index| &part.buckets[index], index)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(add(|part, _| &part.sum_ns, 0));
        encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram;
    use prometheus_client::registry::Registry;

    use super::*;

    fn text(metric: impl prometheus_client::registry::Metric) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("name", "help", metric);
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn counts_of_all_threads_are_added() {
        let counter = ThreadCounter::default();
        thread::scope(|scope| {
            for _ in 0..2 * PARTS {
                scope.spawn(|| (0..1000).for_each(|_| _ = counter.inc()));
            }
        });
        assert_eq!(counter.get(), 2000 * PARTS as u64);
    }

    #[test]
    fn the_text_is_that_of_a_shared_histogram() {
        const BOUNDS_S: [f64; 2] = [0.25, 0.5];
        let threads = ThreadHistogram::<3>::new(&BOUNDS_S);
        let shared = histogram::Histogram::new(BOUNDS_S);
        // Their sum has no error of rounding.
        let observed = [125, 250, 375, 500, 625].map(Duration::from_millis);
        for duration in observed {
            shared.observe(duration.as_secs_f64());
            thread::scope(|scope| {
                scope.spawn(|| threads.observe(duration));
            });
        }
        assert_eq!(text(threads), text(shared));
    }
}
