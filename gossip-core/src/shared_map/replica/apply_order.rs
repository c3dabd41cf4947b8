//! The order in which this replica has applied what it holds. It serves deltas in this order.
//!
//! Positions only rise: 1, 2, 3, … When a write dies or a frontier rises again, its old position becomes a
//! gap. Where gaps outnumber the rest, the oldest entries move to the end, two for each that is added. So
//! a reader that has come to a position misses nothing after it, and at worst is told something twice.
//!
//! Invariants:
//! - The entries stand at the positions from `base` on, without a hole between them.
//! - `gaps` counts the entries that are gaps.

use alloc::collections::VecDeque;

use super::logs::LogSlot;
use super::slab::WriteSlot;

/// What was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// A write.
    Write(WriteSlot),
    /// The rise of a frontier.
    Frontier(LogSlot),
}

/// An entry in four bytes: the highest bit tells frontiers from writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed(u32);

const FRONTIER: u32 = 1 << 31;

impl Packed {
    const GAP: Self = Self(u32::MAX);

    const fn new(applied: Applied) -> Self {
        match applied {
            Applied::Write(slot) => {
                debug_assert!(slot < FRONTIER, "the slab keeps slots below this");
                Self(slot & !FRONTIER)
            }
            Applied::Frontier(slot) => {
                debug_assert!(slot < !FRONTIER, "there are fewer logs than that");
                Self(slot | FRONTIER)
            }
        }
    }

    const fn unpack(self) -> Option<Applied> {
        match self.0 {
            u32::MAX => None,
            bits if bits & FRONTIER == 0 => Some(Applied::Write(bits)),
            bits => Some(Applied::Frontier(bits & !FRONTIER)),
        }
    }
}

/// The entries in order.
#[derive(Clone, Debug)]
pub(super) struct ApplyOrder {
    /// The position of the first entry.
    base: u64,
    entries: VecDeque<Packed>,
    gaps: usize,
}

impl ApplyOrder {
    pub(super) const fn new() -> Self {
        Self {
            base: 1,
            entries: VecDeque::new(),
            gaps: 0,
        }
    }

    /// The position of the latest entry; 0 before the first.
    pub(super) fn latest(&self) -> u64 {
        let len = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        self.base.saturating_add(len).saturating_sub(1)
    }

    /// Adds an entry. Returns its position.
    pub(super) fn push(&mut self, applied: Applied) -> u64 {
        if self.entries.len() == self.entries.capacity() {
            let more = self.entries.len().div_euclid(8).max(8);
            self.entries.reserve_exact(more);
        }
        self.entries.push_back(Packed::new(applied));
        self.latest()
    }

    /// Makes a position a gap: what was there is dead, or stands at a later position. Positions that
    /// have left the front, and 0, are gaps already.
    pub(super) fn vacate(&mut self, position: u64) {
        debug_assert!(position <= self.latest(), "the position has been given out");
        let index = position.checked_sub(self.base);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            debug_assert_ne!(*entry, Packed::GAP, "an entry is vacated once");
            *entry = Packed::GAP;
            self.gaps = self.gaps.saturating_add(1);
        }
    }

    /// Drops the gaps at the front. Where gaps still outnumber the rest, takes out the oldest entry,
    /// which the caller adds again.
    pub(super) fn turn_over(&mut self) -> Option<Applied> {
        while let Some(first) = self.entries.front() {
            debug_assert!(self.gaps <= self.entries.len(), "gaps are entries");
            let live = self.entries.len().saturating_sub(self.gaps);
            match first.unpack() {
                None => self.gaps = self.gaps.saturating_sub(1),
                Some(_) if self.gaps <= live.saturating_add(64) => return None,
                Some(_) => {}
            }
            let taken = self.entries.pop_front();
            self.base = self.base.saturating_add(1);
            if let Some(applied) = taken.and_then(Packed::unpack) {
                return Some(applied);
            }
        }
        None
    }

    /// The entries after a position, in order, each with its position. The position may come from a
    /// peer: none is too large.
    pub(super) fn after(&self, position: u64) -> impl Iterator<Item = (u64, Applied)> {
        let skipped = position.saturating_add(1).saturating_sub(self.base);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let first = self
            .base
            .saturating_add(u64::try_from(skipped).unwrap_or(u64::MAX));
        // In this order: `zip` must not ask the range of positions for one after the last number.
        self.entries
            .range(skipped.min(self.entries.len())..)
            .zip(first..=u64::MAX)
            .filter_map(|(packed, position)| Some((position, packed.unpack()?)))
    }

    /// The entries from the latest back to the first, each with its position.
    pub(super) fn backwards(&self) -> impl Iterator<Item = (u64, Applied)> {
        let latest = self.latest();
        self.entries
            .iter()
            .rev()
            .zip(0_u64..)
            .filter_map(move |(packed, n)| Some((latest.saturating_sub(n), packed.unpack()?)))
    }

    /// The entry at a position.
    #[cfg(test)]
    pub(super) fn at(&self, position: u64) -> Option<Applied> {
        let index = usize::try_from(position.checked_sub(self.base)?).ok()?;
        self.entries.get(index)?.unpack()
    }

    /// Checks the count of gaps, and that so many entries are none. O(n).
    #[cfg(test)]
    pub(super) fn check(&self, live: usize) {
        let gaps = self.entries.iter().filter(|entry| **entry == Packed::GAP);
        assert_eq!(gaps.count(), self.gaps);
        assert_eq!(self.entries.len() - self.gaps, live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn a_reader_misses_nothing_and_gaps_stay_few() {
        let mut order = ApplyOrder::new();
        let mut at = BTreeMap::new();
        let mut reader = 0;
        let mut seen = BTreeMap::new();
        for n in 0..100_000_u32 {
            let slot = n % 7 * (n % 3);
            if let Some(position) = at.insert(slot, order.push(Applied::Write(slot))) {
                order.vacate(position);
            }
            for _ in 0..2 {
                if let Some(Applied::Write(slot)) = order.turn_over() {
                    at.insert(slot, order.push(Applied::Write(slot)));
                }
            }
            if n % 50 == 0 {
                for (position, applied) in order.after(reader) {
                    let Applied::Write(slot) = applied else {
                        panic!()
                    };
                    seen.insert(slot, position);
                    reader = position;
                }
                assert_eq!(seen, at);
                assert_eq!(reader, order.latest());
            }
            assert!(order.entries.len() < 200);
        }
        let backwards: Vec<_> = order.backwards().map(|(p, _)| p).collect();
        assert!(backwards.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!(backwards.first(), Some(&order.latest()));
    }
}
