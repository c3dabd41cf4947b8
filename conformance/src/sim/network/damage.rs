//! Datagrams that arrive changed.

use rand_chacha::ChaCha8Rng;

use crate::num::count;
use crate::sim::seeds::{between, chance, pick};

/// What is done to a datagram on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Some of its bits are flipped.
    Flip {
        /// How many.
        bits: u64,
    },
    /// Its end is missing.
    Truncate,
}

impl Damage {
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        if chance(rng, 0.25) {
            Self::Truncate
        } else {
            Self::Flip {
                bits: between(rng, 1, 4),
            }
        }
    }

    /// Damages a datagram.
    pub(crate) fn apply(self, bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Flip { bits } => {
                for _ in 0..bits {
                    let bit = between(rng, 0, count(bytes.len()) * 8 - 1);
                    let place = usize::try_from(bit / 8).unwrap_or(0);
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte ^= 1 << (bit % 8);
                    }
                }
            }
            Self::Truncate => bytes.truncate(pick(rng, bytes.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::seeds::{Seeds, Stream};

    #[test]
    fn a_truncated_datagram_is_shorter_and_a_flipped_one_differs_in_few_bits() {
        let mut rng = Seeds::new(1).rng(Stream::Fault(0));
        for _ in 0..1000 {
            let mut bytes = vec![0xaa; 100];
            match Damage::draw(&mut rng) {
                Damage::Truncate => {
                    Damage::Truncate.apply(&mut bytes, &mut rng);
                    assert!(bytes.len() < 100);
                }
                Damage::Flip { bits } => {
                    Damage::Flip { bits }.apply(&mut bytes, &mut rng);
                    let flipped: u32 = bytes.iter().map(|b| (b ^ 0xaa).count_ones()).sum();
                    assert!(u64::from(flipped) <= bits);
                    assert_eq!(bytes.len(), 100);
                }
            }
        }
    }
}
