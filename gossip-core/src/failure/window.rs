//! The latest intervals between heartbeats of one member, and their mean and deviation.

use core::time::Duration;

use heapless::Deque;

/// The most intervals that a window can hold.
pub(super) const MOST_SAMPLES: usize = 64;

/// The latest intervals of one member.
///
/// Invariant: `moments` are those of exactly the intervals in `samples`. They are integers, so a
/// window that has slid for years says the same as a fresh one with the same intervals.
#[derive(Clone, Debug)]
pub(super) struct Window {
    samples: Deque<u32, MOST_SAMPLES>,
    moments: Moments,
    capacity: usize,
}

impl Window {
    /// An empty window for the latest `capacity` intervals. Fewer than one count as one, and more
    /// than [`MOST_SAMPLES`] as that many.
    pub(super) fn new(capacity: u8) -> Self {
        Self {
            samples: Deque::new(),
            moments: Moments::default(),
            capacity: usize::from(capacity).clamp(1, MOST_SAMPLES),
        }
    }

    /// Appends an interval. If the window is full, the oldest interval leaves it.
    ///
    /// An interval is kept in whole microseconds. An interval of more than 71 minutes counts as 71
    /// minutes.
    pub(super) fn push(&mut self, interval: Duration) {
        if self.samples.len() >= self.capacity
            && let Some(oldest) = self.samples.pop_front()
        {
            self.moments.remove(oldest);
        }
        let sample = micros(interval);
        let pushed = self.samples.push_back(sample);
        debug_assert!(pushed.is_ok(), "a full window has let go of a sample");
        if pushed.is_ok() {
            self.moments.add(sample);
        }
        debug_assert!(self.samples.len() <= self.capacity);
        debug_assert_eq!(
            usize::try_from(self.moments.count()),
            Ok(self.samples.len()),
            "the moments are those of the samples"
        );
    }

    /// Forgets all intervals: those before a restart say nothing about the time after it.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.moments = Moments::default();
    }

    /// How many intervals the window holds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The mean interval in seconds. Zero if the window is empty.
    #[cfg(test)]
    pub(super) fn mean(&self) -> f64 {
        self.moments.mean()
    }

    /// The sample standard deviation of the intervals in seconds. Zero with fewer than two.
    #[cfg(test)]
    pub(super) fn deviation(&self) -> f64 {
        self.moments.deviation()
    }

    /// The moments of all intervals.
    pub(super) const fn moments(&self) -> Moments {
        self.moments
    }
}

/// Count, sum and sum of squares of some intervals in microseconds.
///
/// The sums of [`MOST_SAMPLES`] intervals of 32 bits need 38 and 70 bits, so nothing overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moments {
    count: u32,
    sum: u64,
    squares: u128,
}

impl Moments {
    fn add(&mut self, sample: u32) {
        self.add_many(1, sample, 0);
    }

    fn remove(&mut self, sample: u32) {
        debug_assert!(self.count > 0, "no sample is left");
        debug_assert!(self.sum >= u64::from(sample), "not one of the samples");
        debug_assert!(self.squares >= square(sample), "not one of the samples");
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.saturating_sub(u64::from(sample));
        self.squares = self.squares.saturating_sub(square(sample));
    }

    /// Adds `count` intervals with this mean, and with this deviation around it.
    pub(super) fn add_many(&mut self, count: u32, mean: u32, deviation: u32) {
        let sum = u64::from(count).saturating_mul(u64::from(mean));
        let squares = square(mean)
            .saturating_add(square(deviation))
            .saturating_mul(u128::from(count));
        self.count = self.count.saturating_add(count);
        self.sum = self.sum.saturating_add(sum);
        self.squares = self.squares.saturating_add(squares);
    }

    /// How many intervals there are.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// The mean in seconds. Zero without any interval.
    pub(super) fn mean(&self) -> f64 {
        Duration::from_micros(self.sum).as_secs_f64() / f64::from(self.count.max(1))
    }

    /// The sample standard deviation in seconds. Zero with fewer than two intervals.
    ///
    /// `s^2 = (n * sum(x^2) - sum(x)^2) / (n * (n - 1))`. In floating point this form is notorious
    /// for cancellation. In integers it is exact.
    pub(super) fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let n = u128::from(self.count);
        let sum = u128::from(self.sum);
        let (squares, square) = (n.saturating_mul(self.squares), sum.saturating_mul(sum));
        debug_assert!(squares >= square, "by the Cauchy-Schwarz inequality");
        let spread = squares.saturating_sub(square);
        let n = f64::from(self.count);
        libm::sqrt(float(spread) / (n * (n - 1.0))) * 1e-6
    }
}

/// A duration in whole microseconds, at most 71 minutes.
pub(super) fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn square(sample: u32) -> u128 {
    u128::from(sample).saturating_mul(u128::from(sample))
}

/// An integer of at most 96 bits as `f64`, rounded. There is no `From` for more than 32 bits.
fn float(integer: u128) -> f64 {
    const LIMB: f64 = 4_294_967_296.0;
    debug_assert!(integer.leading_zeros() >= 32, "more than 96 bits");
    let limb = |shift: u32| {
        let bits = (integer >> shift) & u128::from(u32::MAX);
        f64::from(u32::try_from(bits).unwrap_or(u32::MAX))
    };
    (limb(64) * LIMB + limb(32)) * LIMB + limb(0)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn filled(capacity: u8, micros: impl IntoIterator<Item = u64>) -> Window {
        let mut window = Window::new(capacity);
        for sample in micros {
            window.push(Duration::from_micros(sample));
        }
        window
    }

    #[test]
    fn an_empty_window_has_no_mean_and_one_interval_no_deviation() {
        let mut window = Window::new(8);
        assert_eq!((window.mean(), window.deviation()), (0.0, 0.0));
        window.push(Duration::from_millis(1500));
        assert_eq!((window.mean(), window.deviation()), (1.5, 0.0));
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        // 2, 4, 4, 4, 5, 5, 7, 9: squares around the mean of 5 add up to 32, over 7.
        let window = filled(8, [2, 4, 4, 4, 5, 5, 7, 9].map(|s| s * 1_000_000));
        assert_eq!(window.mean(), 5.0);
        assert!((window.deviation() - libm::sqrt(32.0 / 7.0)).abs() < 1e-15);
    }

    #[test]
    fn a_full_window_slides() {
        let window = filled(3, [9_000_000, 1, 1_000_000, 2_000_000, 3_000_000]);
        assert_eq!(window.len(), 3);
        assert_eq!((window.mean(), window.deviation()), (2.0, 1.0));
    }

    #[test]
    fn a_cleared_window_is_as_new() {
        let mut window = filled(4, [1, 2, 3, 4, 5]);
        window.clear();
        assert_eq!(window.len(), 0);
        assert_eq!(window.moments(), Moments::default());
        window.push(Duration::from_secs(1));
        assert_eq!(window.mean(), 1.0);
    }

    #[test]
    fn absurd_intervals_and_capacities_saturate() {
        let mut window = Window::new(u8::MAX);
        for _ in 0..200 {
            window.push(Duration::MAX);
        }
        assert_eq!(window.len(), MOST_SAMPLES);
        assert_eq!(window.mean(), 4_294.967_295);
        assert_eq!(window.deviation(), 0.0);
        assert_eq!(filled(0, [1, 2]).len(), 1);
    }

    #[test]
    fn a_small_deviation_on_a_large_mean_is_not_lost() {
        // Two values a microsecond apart, 71 minutes from zero: hopeless in floating point.
        let window = filled(64, (0..64).map(|i| u64::from(u32::MAX) - i % 2));
        let exact = 0.5e-6 * libm::sqrt(64.0 / 63.0);
        assert!((window.deviation() / exact - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_widest_deviation_fits() {
        let window = filled(64, (0..64).map(|i| u64::from(u32::MAX) * (i % 2)));
        let exact = 0.5e-6 * f64::from(u32::MAX) * libm::sqrt(64.0 / 63.0);
        assert!((window.deviation() / exact - 1.0).abs() < 1e-15);
    }

    #[test]
    fn intervals_added_in_bulk_have_the_mean_and_deviation_asked_for() {
        let mut moments = Moments::default();
        moments.add_many(8, 1_000_000, 500_000);
        assert_eq!((moments.count(), moments.mean()), (8, 1.0));
        let sample = 0.5 * libm::sqrt(8.0 / 7.0);
        assert!((moments.deviation() - sample).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn a_window_that_has_slid_equals_a_fresh_one(
            capacity in 1..=64_u8,
            samples in prop::collection::vec(any::<u32>().prop_map(u64::from), 0..300),
        ) {
            let slid = filled(capacity, samples.iter().copied());
            let kept: Vec<u64> = samples
                .iter()
                .copied()
                .skip(samples.len().saturating_sub(usize::from(capacity)))
                .collect();
            let fresh = filled(capacity, kept);
            prop_assert_eq!(slid.moments(), fresh.moments());
            prop_assert_eq!(slid.len(), fresh.len());
        }
    }
}
