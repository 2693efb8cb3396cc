//! Medians and quantiles.

use std::time::Duration;

/// The quantiles that are told, with their names.
pub(crate) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The value in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long each of many answers took.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    sorted: Vec<Duration>,
}

impl Latencies {
    /// These, in any order.
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self { sorted: all }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The time within which this share of the answers came, in microseconds.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        let last = self.sorted.len() - 1;
        let index = (last as f64 * quantile).round() as usize;
        self.sorted[index].as_secs_f64() * 1e6
    }
}
