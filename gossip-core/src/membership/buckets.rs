//! Sub-hashes of the table, kept up to date change by change.
//!
//! The id space is cut into as many equal buckets as keep about eight members in each; the hash of
//! a region is the sum of its buckets. Without them, narrowing down a difference would hash the whole
//! table at each step.

use alloc::vec::Vec;

use super::region::{Region, SPLIT_BITS};
use crate::identity::NodeId;

/// Members in a bucket, on average, when the buckets are split: two to the power of this.
const CROWDED_BITS: u8 = 3;

/// The sums of the contributions in each bucket; none in a small table, whose members are as
/// quickly summed.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// There are two to the power of this.
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

    /// Follows the growth of a table. Tells whether the buckets are new, and empty.
    pub(crate) fn grow(&mut self, members: usize) -> bool {
        let next = self.bits.saturating_add(SPLIT_BITS);
        let crowded = 1_usize.checked_shl(u32::from(next.saturating_add(CROWDED_BITS)));
        if next > 15 || crowded.is_none_or(|crowded| members < crowded) {
            return false;
        }
        self.bits = next;
        self.sums = alloc::vec![0; 1_usize.checked_shl(u32::from(next)).unwrap_or(0)];
        true
    }

    /// The regions that the buckets stand for.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Region> + use<> {
        Region::all_of(self.bits)
    }

    /// A contribution has changed by this much.
    pub(crate) fn add(&mut self, id: NodeId, change: u128) {
        let at = self.position(id);
        if let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.wrapping_add(change);
        }
    }

    /// The buckets of a region; none where it is smaller than a bucket.
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
