//! Where all randomness comes from: one number, split into independent streams.
//!
//! Each purpose has a stream of its own, so that a change in one place (a fault more, a node that
//! draws twice) leaves what the others draw as it was.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::num::count;

/// What a stream of random numbers is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The seed of a node, for each of its lives.
    Node {
        /// Which host it runs on.
        host: u32,
        /// How often the process has been started before.
        life: u32,
    },
    /// The delays of the network.
    Network,
    /// One fault, by its name.
    Fault(u32),
    /// Which bits of a datagram are damaged.
    Damage,
    /// Everything that happens to processes: start times, clock origins, the order on waking up.
    Hosts,
    /// What a scenario or a plan draws.
    Plan,
    /// In which datacenters the hosts of a plan are.
    Datacenters,
    /// What is written to the shared map of a plan.
    Map,
    /// The streams and bursts of writes of a plan.
    Many,
    /// What is written in one of them.
    Writes,
    /// Which links are missing.
    Links,
    /// By which pattern they are, in a plan.
    Pattern,
    /// Who dies after a plan, and when.
    LastDeath,
    /// Which paths of a plan drop long datagrams.
    Narrow,
}

/// The seed of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds(u64);

impl Seeds {
    /// The seeds that follow from one number.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator for one purpose.
    #[must_use]
    pub fn rng(self, stream: Stream) -> ChaCha8Rng {
        let (purpose, first, second) = match stream {
            Stream::Node { host, life } => (1, host, life),
            Stream::Network => (2, 0, 0),
            Stream::Fault(name) => (3, name, 0),
            Stream::Hosts => (4, 0, 0),
            Stream::Plan => (5, 0, 0),
            Stream::Damage => (6, 0, 0),
            Stream::Datacenters => (7, 0, 0),
            Stream::Map => (8, 0, 0),
            Stream::Many => (9, 0, 0),
            Stream::Writes => (10, 0, 0),
            Stream::Links => (11, 0, 0),
            Stream::Pattern => (12, 0, 0),
            Stream::LastDeath => (13, 0, 0),
            Stream::Narrow => (14, 0, 0),
        };
        // The purpose is the key, so that any two streams are independent by the cipher's strength.
        let words = [self.0, purpose, u64::from(first), u64::from(second)];
        let mut key = [0; 32];
        for (place, word) in key.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// The seed that a node is made with.
    #[must_use]
    pub fn node(self, host: u32, life: u32) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng(Stream::Node { host, life }).fill_bytes(&mut seed);
        seed
    }
}

/// A whole number in `low..=high`.
pub(crate) fn between(rng: &mut ChaCha8Rng, low: u64, high: u64) -> u64 {
    let span = u128::from(high.saturating_sub(low)).saturating_add(1);
    // The upper half of a 64 x 64 bit product: uniform up to 2^-64 of the span, and never a loop.
    let drawn = (u128::from(rng.next_u64()).saturating_mul(span)) >> 64;
    low.saturating_add(u64::try_from(drawn).unwrap_or(u64::MAX))
}

/// A position in `0..length`.
pub(crate) fn pick(rng: &mut ChaCha8Rng, length: usize) -> usize {
    let drawn = between(rng, 0, count(length).saturating_sub(1));
    usize::try_from(drawn).unwrap_or(0)
}

/// A real number in 0..1.
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    crate::num::real(rng.next_u64() >> 11) / 9_007_199_254_740_992.0
}

/// True with this probability.
pub(crate) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    unit(rng) < probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_numbers_of_its_own_and_they_repeat() {
        let seeds = Seeds::new(7);
        assert_eq!(seeds.node(1, 2), seeds.node(1, 2));
        assert_ne!(seeds.node(1, 2), seeds.node(2, 1));
        assert_ne!(seeds.node(1, 2), Seeds::new(8).node(1, 2));
        let mut network = seeds.rng(Stream::Network);
        let mut fault = seeds.rng(Stream::Fault(0));
        assert_ne!(network.next_u64(), fault.next_u64());
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_both_ends() {
        let mut rng = Seeds::new(1).rng(Stream::Plan);
        let drawn: Vec<u64> = (0..200).map(|_| between(&mut rng, 3, 5)).collect();
        assert!(drawn.iter().all(|d| (3..=5).contains(d)));
        assert!((3..=5).all(|d| drawn.contains(&d)));
        assert_eq!(between(&mut rng, 9, 9), 9);
        assert!((0..100).all(|_| (0.0..1.0).contains(&unit(&mut rng))));
    }
}
