//! Counters for what every check counts: each thread counts in a place of its own, so that threads
//! do not wait for each other's caches. What is told is the sum of the places.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The most places: a counter of every Api has as many.
const MAX_SHARDS: usize = 8;

/// How many places there are: one for each core, up to [`MAX_SHARDS`].
static SHARDS: LazyLock<usize> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.min(MAX_SHARDS)
});

/// The places are given to threads in turn.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % *SHARDS;
}

/// On a cache line of its own; two, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// One place for each shard.
#[derive(Debug)]
struct Shards<T>(Box<[Apart<T>]>);

impl<T: Default> Default for Shards<T> {
    fn default() -> Self {
        Self((0..*SHARDS).map(|_| Apart::default()).collect())
    }
}

impl<T> Shards<T> {
    /// The place of this thread.
    fn own(&self) -> Option<&T> {
        let at = OWN.with(|own| *own);
        self.0.get(at).map(|shard| &shard.0)
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}

/// A counter; clones count the same.
#[derive(Debug, Clone, Default)]
pub struct ShardedCounter(Arc<Shards<AtomicU64>>);

impl ShardedCounter {
    /// Counts one.
    pub fn inc(&self) {
        if let Some(own) = self.0.own() {
            own.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sum(&self) -> u64 {
        self.0
            .all()
            .map(|shard| shard.load(Ordering::Relaxed))
            .sum()
    }
}

impl TypedMetric for ShardedCounter {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for ShardedCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.sum(), None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Upper bounds in nanoseconds, from 50 microseconds to half a second: what Envoy waits at most is
/// in it. One more bucket takes what is beyond.
const BOUNDS: [u64; 13] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
];

#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// A histogram of durations; clones count the same.
#[derive(Debug, Clone, Default)]
pub struct ShardedHistogram(Arc<Shards<Buckets>>);

impl ShardedHistogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.iter().take_while(|bound| **bound < nanos).count();
        let Some(own) = self.0.own() else { return };
        if let Some(count) = own.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        own.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl TypedMetric for ShardedHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for ShardedHistogram {
    #[expect(
        clippy::cast_precision_loss,
        reason = "sums of durations, told in seconds"
    )]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|nanos| *nanos as f64 / 1e9);
        let mut buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .map(|bound| (bound, 0))
            .collect();
        let mut nanos = 0.0;
        for shard in self.0.all() {
            for ((_, sum), count) in buckets.iter_mut().zip(&shard.counts) {
                *sum += count.load(Ordering::Relaxed);
            }
            nanos += shard.nanos.load(Ordering::Relaxed) as f64;
        }
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(nanos / 1e9, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn what_threads_count_is_told_as_one_sum() {
        let (counter, histogram) = (ShardedCounter::default(), ShardedHistogram::default());
        let mut registry = Registry::default();
        registry.register("checks", "c", counter.clone());
        registry.register("seconds", "s", histogram.clone());
        std::thread::scope(|scope| {
            for micros in [50, 51, 1_000_000] {
                let (counter, histogram) = (counter.clone(), histogram.clone());
                scope.spawn(move || {
                    for _ in 0..1000 {
                        counter.inc();
                        histogram.observe(Duration::from_micros(micros));
                    }
                });
            }
        });
        let mut told = String::new();
        text::encode(&mut told, &registry).unwrap();
        for line in [
            "checks_total 3000",
            "seconds_count 3000",
            r#"seconds_bucket{le="0.00005"} 1000"#,
            r#"seconds_bucket{le="0.0001"} 2000"#,
            r#"seconds_bucket{le="0.5"} 2000"#,
            r#"seconds_bucket{le="+Inf"} 3000"#,
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
        let sum = told
            .lines()
            .find_map(|line| line.strip_prefix("seconds_sum "));
        let sum: f64 = sum.unwrap().parse().unwrap();
        assert!((sum - 1000.101).abs() < 1e-6, "{sum}");
    }
}
