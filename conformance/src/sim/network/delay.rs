//! How long a datagram travels.

use core::fmt;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::num::real;
use crate::sim::seeds::{between, chance, unit};
use crate::sim::time::nanos;

/// A distribution of one-way delays: uniform between two bounds, a few of them much longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    low: u64,
    high: u64,
    tail: Option<Tail>,
}

/// The few datagrams that take much longer: a Pareto distribution, cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tail {
    /// How many datagrams are in the tail.
    pub probability: f64,
    /// The least that they take longer.
    pub least: Duration,
    /// The most.
    pub most: Duration,
}

/// The shape of the tail: finite mean, infinite variance, as queueing in overloaded networks has.
const SHAPE: f64 = 1.5;

impl Delay {
    /// Uniform between `low` and `high`.
    #[must_use]
    pub fn uniform(low: Duration, high: Duration) -> Self {
        Self {
            low: nanos(low),
            high: nanos(high.max(low)),
            tail: None,
        }
    }

    /// Always the same.
    #[must_use]
    pub fn constant(delay: Duration) -> Self {
        Self::uniform(delay, delay)
    }

    /// With a heavy tail on top.
    #[must_use]
    pub const fn with_tail(mut self, tail: Tail) -> Self {
        self.tail = Some(tail);
        self
    }

    /// The longest delay there is.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.high) + self.tail.map_or(Duration::ZERO, |tail| tail.most)
    }

    /// One delay, in nanoseconds.
    pub(crate) fn sample(&self, rng: &mut ChaCha8Rng) -> u64 {
        let delay = between(rng, self.low, self.high);
        match self.tail {
            Some(tail) if chance(rng, tail.probability) => delay.saturating_add(tail.sample(rng)),
            _ => delay,
        }
    }
}

impl Tail {
    fn sample(&self, rng: &mut ChaCha8Rng) -> u64 {
        let stretch = libm::pow(1.0 - unit(rng), -1.0 / SHAPE);
        let longer = Duration::try_from_secs_f64(self.least.as_secs_f64() * stretch);
        nanos(longer.unwrap_or(self.most).min(self.most))
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} ms", real(self.low) / 1e6, real(self.high) / 1e6)?;
        match self.tail {
            Some(tail) => write!(
                f,
                " ({} % up to {} ms more)",
                100.0 * tail.probability,
                tail.most.as_millis()
            ),
            None => Ok(()),
        }
    }
}

/// A time of random length with this mean, exponentially distributed.
pub(crate) fn exponential(rng: &mut ChaCha8Rng, mean: Duration) -> Duration {
    let stretch = -libm::log(1.0 - unit(rng));
    Duration::try_from_secs_f64(mean.as_secs_f64() * stretch).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::seeds::{Seeds, Stream};

    #[test]
    fn delays_are_uniform_between_their_bounds() {
        let mut rng = Seeds::new(1).rng(Stream::Network);
        let delay = Delay::uniform(Duration::from_millis(1), Duration::from_millis(10));
        let drawn: Vec<u64> = (0..10_000).map(|_| delay.sample(&mut rng)).collect();
        assert!(drawn.iter().all(|d| (1_000_000..=10_000_000).contains(d)));
        let mean = real(drawn.iter().sum::<u64>()) / 1e4;
        assert!((mean - 5.5e6).abs() < 1e5, "{mean}");
    }

    #[test]
    fn a_tail_reaches_far_beyond_and_no_further_than_told() {
        let mut rng = Seeds::new(1).rng(Stream::Network);
        let delay = Delay::constant(Duration::from_millis(1)).with_tail(Tail {
            probability: 0.1,
            least: Duration::from_millis(10),
            most: Duration::from_millis(500),
        });
        let drawn: Vec<u64> = (0..10_000).map(|_| delay.sample(&mut rng)).collect();
        let late = drawn.iter().filter(|&&d| d > 1_000_000).count();
        assert!((900..1100).contains(&late), "{late}");
        assert!(drawn.iter().any(|&d| d > 200_000_000));
        assert!(drawn.iter().all(|&d| d <= 501_000_000));
    }
}
