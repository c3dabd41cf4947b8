//! Aligned ranges of the id space. An exchange splits them to narrow down a difference.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;

/// All ids whose upper `bits` bits are those of `prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Region {
    #[serde(with = "postcard::fixint::le")]
    prefix: u64,
    bits: u8,
}

/// Two to the power of this is how many parts a region is split into.
pub(crate) const SPLIT_BITS: u8 = 5;
/// How many parts a region is split into.
pub(crate) const PARTS: usize = 1 << SPLIT_BITS;

impl Region {
    /// The whole id space.
    pub(crate) const ALL: Self = Self { prefix: 0, bits: 0 };

    /// All regions of this many bits, in the order of their ids.
    pub(crate) fn all_of(bits: u8) -> impl Iterator<Item = Self> {
        debug_assert!(bits < 64, "the count of regions fits 64 bits");
        let shift = 64_u32.saturating_sub(u32::from(bits));
        let count = 1_u64.checked_shl(u32::from(bits)).unwrap_or(0);
        (0..count).map(move |prefix| Self {
            prefix: prefix.checked_shl(shift).unwrap_or(0),
            bits,
        })
    }

    /// The region of all ids whose upper half is this.
    pub(crate) fn with_prefix(prefix: u32) -> Self {
        Self {
            prefix: u64::from(prefix).wrapping_shl(32),
            bits: 32,
        }
    }

    /// The smallest region that contains both ids and can be split.
    pub(crate) fn around(one: NodeId, other: NodeId) -> Self {
        let apart = one.as_u64() ^ other.as_u64();
        let most = 64_u8.saturating_sub(SPLIT_BITS);
        let alike = u8::try_from(apart.leading_zeros()).unwrap_or(most);
        let bits = alike.min(most);
        let prefix = one.as_u64() & !low_bits(bits);
        Self { prefix, bits }
    }

    /// How many upper bits all ids of the region share.
    pub(crate) const fn bits(self) -> u8 {
        self.bits
    }

    /// The smallest id.
    pub(crate) const fn first(self) -> NodeId {
        NodeId::from_u64(self.prefix)
    }

    /// The greatest id.
    pub(crate) fn last(self) -> NodeId {
        NodeId::from_u64(self.prefix | low_bits(self.bits))
    }

    /// Whether this, which a peer sent, is a region: it has at most 64 bits, and the prefix has no others.
    pub(crate) fn is_valid(self) -> bool {
        self.bits <= 64 && self.prefix & low_bits(self.bits) == 0
    }

    /// The equal parts of the region, in the order of their ids. There are none if the region is too small.
    pub(crate) fn parts(self) -> impl Iterator<Item = Self> {
        let bits = self.bits.saturating_add(SPLIT_BITS);
        let shift = 64_u32.saturating_sub(u32::from(bits));
        let count = if bits <= 64 { 1_u64 << SPLIT_BITS } else { 0 };
        (0..count).map(move |part| Self {
            prefix: self.prefix | part.checked_shl(shift).unwrap_or(0),
            bits,
        })
    }
}

/// A mask of the bits below the upper `bits`.
fn low_bits(bits: u8) -> u64 {
    u64::MAX.checked_shr(u32::from(bits)).unwrap_or(0)
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first(), self.last())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_parts_tile_the_region() {
        let mut regions = std::vec![Region::ALL];
        for _ in 0..13 {
            let region = regions[regions.len() / 2];
            let parts: Vec<_> = region.parts().collect();
            if parts.is_empty() {
                break;
            }
            assert_eq!(parts.first().unwrap().first(), region.first());
            assert_eq!(parts.last().unwrap().last(), region.last());
            for pair in parts.windows(2) {
                assert_eq!(pair[0].last().as_u64() + 1, pair[1].first().as_u64());
            }
            assert!(parts.iter().all(|part| part.is_valid()));
            regions = parts;
        }
        assert!(regions[0].bits > 56, "down to regions that cannot be split");
    }

    #[test]
    fn a_region_around_two_ids_contains_both_and_can_be_split() {
        let ids = [0, 1, 31, 1 << 32, 5 << 50, (5 << 50) + 200, u64::MAX];
        for one in ids.map(NodeId::from_u64) {
            for other in ids.map(NodeId::from_u64) {
                let region = Region::around(one, other);
                let all = region.first()..=region.last();
                assert!(region.is_valid() && all.contains(&one) && all.contains(&other));
                let part = |id| region.parts().position(|part| part.last() >= id).unwrap();
                // The split separates two ids, unless they differ in the last five bits alone.
                let deep = u64::from(region.bits()) == 59;
                assert!(
                    one == other || deep || part(one) != part(other),
                    "{one} {other}"
                );
            }
        }
        let crowd = Region::around(NodeId::from_u64(5 << 50), NodeId::from_u64((5 << 50) + 200));
        assert_eq!(crowd.bits(), 56);
    }

    #[test]
    fn a_forged_region_is_no_region() {
        assert!(
            !Region {
                prefix: 0,
                bits: 65
            }
            .is_valid()
        );
        assert!(!Region { prefix: 1, bits: 8 }.is_valid());
        assert_eq!(
            Region {
                prefix: 0,
                bits: 255
            }
            .last(),
            NodeId::from_u64(0)
        );
        assert_eq!(
            Region {
                prefix: 0,
                bits: 255
            }
            .parts()
            .count(),
            0
        );
    }
}
