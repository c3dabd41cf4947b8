//! The order in which this replica applied what it holds: the order in which it serves it.
//!
//! Positions only rise: 1, 2, 3, … A write that dies, or a frontier that rises again, leaves a gap;
//! where gaps outnumber the rest, the oldest is moved to the end, two for each that is added. So a
//! reader that has come to a position misses nothing, and at worst is served something twice.

use alloc::collections::VecDeque;

use super::logs::LogSlot;
use super::slab::Slot;

/// What was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A write.
    Write(Slot),
    /// The rise of a frontier.
    Frontier(LogSlot),
}

/// Four bytes for each change: the upper bit tells frontiers from writes.
#[derive(Clone, Copy, Debug)]
struct Packed(u32);

const FRONTIER: u32 = 1 << 31;

impl Packed {
    const GAP: Self = Self(u32::MAX);

    const fn new(change: Change) -> Self {
        match change {
            Change::Write(slot) => Self(slot & !FRONTIER),
            Change::Frontier(slot) => Self(slot | FRONTIER),
        }
    }

    const fn change(self) -> Option<Change> {
        match self.0 {
            u32::MAX => None,
            bits if bits & FRONTIER == 0 => Some(Change::Write(bits)),
            bits => Some(Change::Frontier(bits & !FRONTIER)),
        }
    }
}

/// The changes in order.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    /// The position of the first of them.
    base: u64,
    changes: VecDeque<Packed>,
    gaps: usize,
}

impl Applied {
    pub(super) const fn new() -> Self {
        Self {
            base: 1,
            changes: VecDeque::new(),
            gaps: 0,
        }
    }

    /// The position of the latest change; 0 before the first.
    pub(super) fn latest(&self) -> u64 {
        let len = u64::try_from(self.changes.len()).unwrap_or(u64::MAX);
        self.base.saturating_add(len).saturating_sub(1)
    }

    /// Adds a change. Returns its position.
    pub(super) fn push(&mut self, change: Change) -> u64 {
        if self.changes.len() == self.changes.capacity() {
            let more = self.changes.len().div_euclid(8).max(8);
            self.changes.reserve_exact(more);
        }
        self.changes.push_back(Packed::new(change));
        self.latest()
    }

    /// What was at a position is dead, or stands elsewhere.
    pub(super) fn vacate(&mut self, position: u64) {
        let index = position.checked_sub(self.base);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(place) = index.and_then(|index| self.changes.get_mut(index))
            && place.0 != u32::MAX
        {
            *place = Packed::GAP;
            self.gaps = self.gaps.saturating_add(1);
        }
    }

    /// Drops the gaps at the front. Where gaps still outnumber the rest, takes out the oldest
    /// change, which the caller adds again.
    pub(super) fn turn_over(&mut self) -> Option<Change> {
        while let Some(first) = self.changes.front() {
            let live = self.changes.len().saturating_sub(self.gaps);
            match first.change() {
                None => self.gaps = self.gaps.saturating_sub(1),
                Some(_) if self.gaps <= live.saturating_add(64) => return None,
                Some(_) => {}
            }
            let taken = self.changes.pop_front();
            self.base = self.base.saturating_add(1);
            if let Some(change) = taken.and_then(Packed::change) {
                return Some(change);
            }
        }
        None
    }

    /// The changes after a position, in order, each with its own.
    pub(super) fn after(&self, position: u64) -> impl Iterator<Item = (u64, Change)> {
        let skipped = position.saturating_add(1).saturating_sub(self.base);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let first = self
            .base
            .saturating_add(u64::try_from(skipped).unwrap_or(u64::MAX));
        // In this order: a range from the last number on must not be asked for another.
        self.changes
            .range(skipped.min(self.changes.len())..)
            .zip(first..=u64::MAX)
            .filter_map(|(packed, position)| Some((position, packed.change()?)))
    }

    /// The latest changes, latest first, each with its position.
    pub(super) fn backwards(&self) -> impl Iterator<Item = (u64, Change)> {
        let latest = self.latest();
        self.changes
            .iter()
            .rev()
            .zip(0_u64..)
            .filter_map(move |(packed, n)| Some((latest.saturating_sub(n), packed.change()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn a_reader_misses_nothing_and_gaps_do_not_pile_up() {
        let mut applied = Applied::new();
        let mut at = BTreeMap::new();
        let mut reader = 0;
        let mut seen = BTreeMap::new();
        for n in 0..100_000_u32 {
            let slot = n % 7 * (n % 3);
            if let Some(position) = at.insert(slot, applied.push(Change::Write(slot))) {
                applied.vacate(position);
            }
            for _ in 0..2 {
                if let Some(Change::Write(slot)) = applied.turn_over() {
                    at.insert(slot, applied.push(Change::Write(slot)));
                }
            }
            if n % 50 == 0 {
                for (position, change) in applied.after(reader) {
                    let Change::Write(slot) = change else {
                        panic!()
                    };
                    seen.insert(slot, position);
                    reader = position;
                }
                assert_eq!(seen, at);
                assert_eq!(reader, applied.latest());
            }
            assert!(applied.changes.len() < 200);
        }
        let backwards: Vec<_> = applied.backwards().map(|(p, _)| p).collect();
        assert!(backwards.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!(backwards.first(), Some(&applied.latest()));
    }
}
