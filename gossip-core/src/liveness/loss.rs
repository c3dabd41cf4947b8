//! How much of what is sent to this node is lost.

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
        if expected > Self::MEMORY {
            return; // An outage, not loss.
        }
        self.expected = self.expected.saturating_add(expected);
        self.received = self.received.saturating_add(1);
        if self.expected > Self::MEMORY {
            self.expected = self.expected.div_euclid(2);
            self.received = self.received.div_euclid(2).max(1);
        }
    }

    /// The share that is lost.
    pub(crate) fn share(&self) -> f64 {
        let expected = u32::try_from(self.expected.max(1)).unwrap_or(u32::MAX);
        let received = u32::try_from(self.received).unwrap_or(u32::MAX);
        (1.0 - f64::from(received) / f64::from(expected)).clamp(0.0, 1.0)
    }

    /// How many pings make it all but impossible (1 in 100,000) that every one of them, or its
    /// answer, is lost by chance. Five to forty.
    pub(crate) fn pings(&self) -> u32 {
        let arrives = 1.0 - self.share();
        let unanswered = 1.0 - arrives * arrives;
        if self.expected == 0 || unanswered <= 0.1 {
            return 5;
        }
        let needed = libm::ceil(libm::log(1e-5) / libm::log(unanswered));
        if needed >= 40.0 {
            40
        } else {
            (5..40).find(|n| f64::from(*n) >= needed).unwrap_or(40)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_loss_takes_more_pings() {
        let mut loss = Loss::default();
        assert_eq!(loss.pings(), 5);
        for _ in 0..100 {
            loss.heartbeat(1);
        }
        assert_eq!(loss.pings(), 5);
        for _ in 0..300 {
            loss.heartbeat(2);
        }
        assert!((38..=40).contains(&loss.pings()), "{}", loss.pings());
        loss.heartbeat(u64::MAX);
        assert!(loss.pings() <= 40);
    }
}
