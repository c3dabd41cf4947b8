//! Means and percentiles.

use crate::num::amount;

/// Numbers to sum up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }
}

impl Sample {
    /// The least.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        self.sorted.first().copied()
    }

    /// The greatest.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        self.sorted.last().copied()
    }

    /// The arithmetic mean.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.sorted.iter().sum();
        (!self.sorted.is_empty()).then(|| sum / amount(self.sorted.len()))
    }

    /// The least number that is not below `percent` per cent of them.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = self.sorted.len().saturating_mul(percent).div_ceil(100);
        self.sorted.get(rank.saturating_sub(1)).copied()
    }

    /// The share of numbers that are at most `limit`.
    #[must_use]
    pub fn within(&self, limit: f64) -> Option<f64> {
        let within = self.sorted.partition_point(|&number| number <= limit);
        (!self.sorted.is_empty()).then(|| amount(within) / amount(self.sorted.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sample: Sample = (1..=200).rev().map(f64::from).collect();
        assert_eq!(sample.min(), Some(1.0));
        assert_eq!(sample.percentile(50), Some(100.0));
        assert_eq!(sample.percentile(99), Some(198.0));
        assert_eq!(sample.percentile(100), sample.max());
        assert_eq!(sample.mean(), Some(100.5));
        assert_eq!(sample.within(20.0), Some(0.1));
        assert_eq!(Sample::default().percentile(50), None);
        assert_eq!(Sample::default().mean(), None);
    }
}
