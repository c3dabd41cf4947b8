//! Hashes over parts of the table, kept up to date change by change.
//!
//! The id space is cut into so many equal buckets that about eight members fall into each. The hash of a
//! region is the sum of its buckets. Without them, an exchange that narrows down a difference would hash the
//! whole table at each step.
//!
//! The number of buckets is a power of [`PARTS`](super::region::PARTS), as that of regions is, so each region
//! is smaller than a bucket or consists of whole buckets. It only grows.

use alloc::vec::Vec;

use super::region::{Region, SPLIT_BITS};
use crate::identity::NodeId;

/// Two to the power of this is how many members a bucket holds on average after buckets are split.
const CROWDED_BITS: u8 = 3;

/// More buckets than two to the power of this are not made: 32,768.
const MOST_BITS: u8 = 15;

/// The sum of the contributions in each bucket. A small table has no buckets: its members are summed as
/// quickly.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// Two to the power of this is how many buckets there are, if there are any.
    bits: u8,
    sums: Vec<u128>,
}

impl Buckets {
    pub(crate) const fn new() -> Self {
        Self {
            bits: 0,
            sums: Vec::new(),
        }
    }

    /// Follows the growth of a table. Tells whether it made new buckets, which are empty.
    pub(crate) fn grow(&mut self, members: usize) -> bool {
        let next = self.bits.saturating_add(SPLIT_BITS);
        let crowded = 1_usize.checked_shl(u32::from(next.saturating_add(CROWDED_BITS)));
        if next > MOST_BITS || crowded.is_none_or(|crowded| members < crowded) {
            return false;
        }
        self.bits = next;
        self.sums = alloc::vec![0; 1 << next];
        true
    }

    /// The regions that the buckets stand for.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Region> + use<> {
        Region::all_of(self.bits)
    }

    /// The contribution of an id has changed by this much.
    pub(crate) fn add(&mut self, id: NodeId, change: u128) {
        let at = self.position(id);
        debug_assert!(self.sums.is_empty() || at < self.sums.len());
        if let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.wrapping_add(change);
        }
    }

    /// The buckets of a region, or `None` if there are none or the region is smaller than a bucket.
    pub(crate) fn of(&self, region: Region) -> Option<&[u128]> {
        if self.sums.is_empty() || region.bits() > self.bits {
            return None;
        }
        self.sums
            .get(self.position(region.first())..=self.position(region.last()))
    }

    fn position(&self, id: NodeId) -> usize {
        let shift = 64_u32.saturating_sub(u32::from(self.bits));
        usize::try_from(id.as_u64().checked_shr(shift).unwrap_or(0)).unwrap_or(usize::MAX)
    }
}
