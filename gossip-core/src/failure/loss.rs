//! How much of what is sent to this node is lost.

/// That all pings are lost is taken for chance unless it is rarer than this.
const CHANCE: f64 = 1e-5;
/// The fewest pings whose silence says something.
pub(super) const FEWEST: u32 = 5;
/// The most: beyond three quarters of loss, silence says nothing.
const MOST: u32 = 200;

/// How many of the datagrams that should have come have not, by the counters of heartbeats: over
/// about the last minute of one neighbour, or the last eight intervals of a full neighbourhood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    expected: u64,
    received: u64,
}

impl Loss {
    const MEMORY: u64 = 64;

    /// One heartbeat came out of `expected`.
    pub(crate) fn heartbeat(&mut self, expected: u64) {
        self.expected = self.expected.saturating_add(expected);
        self.received = self.received.saturating_add(1);
        if self.expected > Self::MEMORY {
            self.expected = self.expected.div_euclid(2);
            self.received = self.received.div_euclid(2).max(1);
        }
    }

    /// The share that is lost.
    pub(crate) fn share(&self) -> f64 {
        if self.expected == 0 {
            return 0.0;
        }
        let expected = u32::try_from(self.expected).unwrap_or(u32::MAX);
        let received = u32::try_from(self.received).unwrap_or(u32::MAX);
        (1.0 - f64::from(received) / f64::from(expected)).clamp(0.0, 1.0)
    }

    /// The same, and so many more that are overdue.
    pub(crate) const fn and_missing(self, missing: u64) -> Self {
        Self {
            expected: self.expected.saturating_add(missing),
            ..self
        }
    }

    /// How many pings make it all but impossible that every one of them, or its answer, is lost by
    /// chance. At least five; `None` where so little arrives that no number says much.
    ///
    /// By Laplace's rule of succession: who has just joined has heard too few heartbeats to know
    /// how many are lost, and has to reckon with half.
    pub(crate) fn pings(&self) -> Option<u32> {
        let as_if = Self {
            expected: self.expected.saturating_add(2),
            received: self.received.saturating_add(1),
        };
        let arrives = 1.0 - as_if.share();
        let unanswered = 1.0 - arrives * arrives;
        let mut chance = 1.0;
        let enough = |n: &u32| {
            chance *= unanswered;
            *n >= FEWEST && chance <= CHANCE
        };
        (1..=MOST).find(enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_takes_more_pings_until_silence_says_nothing() {
        let lossy = |share: u64| {
            let mut loss = Loss::default();
            (0..300).for_each(|_| loss.heartbeat(share));
            loss
        };
        assert_eq!(lossy(1).pings(), Some(5));
        // Exactly 41 and 98; the share is of small whole numbers.
        assert!(lossy(2).pings().is_some_and(|n| (38..=46).contains(&n)));
        assert!(lossy(3).pings().is_some_and(|n| (90..=120).contains(&n)));
        assert_eq!(lossy(5).pings(), None);
        let loss = lossy(1);
        assert!(loss.and_missing(20).pings() > Some(10));
        assert_eq!(loss.and_missing(u64::MAX).pings(), None);
    }

    #[test]
    fn who_has_heard_little_reckons_with_much_loss() {
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
