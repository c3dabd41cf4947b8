//! How much of what is sent to this node is lost, and how many pings a silence therefore takes.

use core::time::Duration;

/// Pings that got no answer may all have been lost by chance, unless the probability is below this.
const CHANCE: f64 = 1e-5;
/// The fewest unanswered pings that make a silence.
pub(super) const FEWEST_PINGS: u32 = 5;
/// The most pings that are considered. At a loss of more than three quarters, silence says nothing.
const MOST_PINGS: u32 = 200;

/// How long after the last ping of a burst to a suspect its answer may still come.
///
/// This and [`ANSWER_TO_PROBE`] answer the same question with two values. A single value would move
/// the moments at which nodes vote or send pings.
pub(super) const ANSWER_TO_BURST: Duration = Duration::from_millis(150);
/// How long after the last ping of a probe its answer may still come: longer than a round trip. See
/// [`ANSWER_TO_BURST`].
pub(super) const ANSWER_TO_PROBE: Duration = Duration::from_millis(200);

/// How many of the expected datagrams have arrived, by the counters of heartbeats.
///
/// The numbers cover about the last minute of one neighbour, or the last eight intervals of a full
/// neighbourhood.
///
/// Invariant: no more heartbeats are received than are expected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    expected: u64,
    received: u64,
}

impl Loss {
    /// When more heartbeats are expected, both numbers are halved.
    const MEMORY: u64 = 64;

    /// One heartbeat arrived out of `expected`, which is at least one.
    pub(crate) fn heartbeat(&mut self, expected: u64) {
        debug_assert!(expected > 0, "a heartbeat that arrives was expected");
        self.expected = self.expected.saturating_add(expected);
        self.received = self.received.saturating_add(1);
        if self.expected > Self::MEMORY {
            self.expected = self.expected.div_euclid(2);
            self.received = self.received.div_euclid(2).max(1);
        }
        debug_assert!(self.received <= self.expected, "more than all arrived");
    }

    /// The share that is lost, from 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        if self.expected == 0 {
            return 0.0;
        }
        let expected = u32::try_from(self.expected).unwrap_or(u32::MAX);
        let received = u32::try_from(self.received).unwrap_or(u32::MAX);
        (1.0 - f64::from(received) / f64::from(expected)).clamp(0.0, 1.0)
    }

    /// The loss if so many overdue heartbeats count as lost, too.
    pub(crate) const fn and_missing(self, missing: u64) -> Self {
        Self {
            expected: self.expected.saturating_add(missing),
            ..self
        }
    }

    /// How many pings it takes until they, or their answers, are hardly all lost by chance. At
    /// least five. `None` if so little arrives that no number is enough.
    ///
    /// Loss is estimated by Laplace's rule of succession. A node that has just joined has heard too
    /// few heartbeats to know how many are lost, and has to expect a loss of one half.
    pub(crate) fn pings(&self) -> Option<u32> {
        let as_if = Self {
            expected: self.expected.saturating_add(2),
            received: self.received.saturating_add(1),
        };
        let arrives = 1.0 - as_if.share();
        let unanswered = 1.0 - arrives * arrives;
        let mut chance = 1.0;
        let is_enough = |n: &u32| {
            chance *= unanswered;
            *n >= FEWEST_PINGS && chance <= CHANCE
        };
        (1..=MOST_PINGS).find(is_enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_takes_more_pings_until_no_number_is_enough() {
        let lossy = |share: u64| {
            let mut loss = Loss::default();
            (0..300).for_each(|_| loss.heartbeat(share));
            loss
        };
        assert_eq!(lossy(1).pings(), Some(5));
        // Exactly 41 and 98. The numbers are small, so the share is rough.
        assert!(lossy(2).pings().is_some_and(|n| (38..=46).contains(&n)));
        assert!(lossy(3).pings().is_some_and(|n| (90..=120).contains(&n)));
        assert_eq!(lossy(5).pings(), None);
        let loss = lossy(1);
        assert!(loss.and_missing(20).pings() > Some(10));
        assert_eq!(loss.and_missing(u64::MAX).pings(), None);
    }

    #[test]
    fn a_node_that_has_heard_little_expects_much_loss() {
        let after = |heartbeats: u32| {
            let mut loss = Loss::default();
            (0..heartbeats).for_each(|_| loss.heartbeat(1));
            loss.pings()
        };
        assert_eq!(after(0), Some(41));
        assert_eq!(after(1), Some(20));
        assert_eq!(after(8), Some(7));
        assert_eq!(after(30), Some(5));
    }
}
