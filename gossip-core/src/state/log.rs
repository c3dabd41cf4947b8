//! The log of one origin, as one replica holds it.
//!
//! A log holds the newest entry of each key. A replica takes over a [`Claim`], which tells everything
//! that lives above some version; so one claim brings it up to date, however many writes it missed.
//!
//! # Invariants
//!
//! - Entries stand in version order, and each key occurs at most once.
//! - No entry lies above the frontier, and neither does the floor.
//! - A version at or below the frontier that is not held was overwritten, or was a tombstone at or below
//!   the floor. The entry that ends [broadcasts](broadcast) overwrites them, too.
//! - A log changes only in two ways: its origin writes, or a replica applies a whole claim.
//! - Generation and frontier never go back, compared in this order.

use alloc::boxed::Box;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::attribute::BURIED;
use super::broadcast;
use super::entry::{Entries, Entry};
use crate::identity::Generation;

/// A versioned log with one writer. See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    generation: Generation,
    frontier: u64,
    floor: u64,
    /// The encoded entries. There are many logs and they change rarely, so they keep no room to grow.
    run: Box<[u8]>,
}

impl Log {
    /// The empty log of an origin under this generation.
    pub(crate) fn new(generation: Generation) -> Self {
        Self {
            generation,
            frontier: 0,
            floor: 0,
            run: Box::default(),
        }
    }

    pub(crate) const fn generation(&self) -> Generation {
        self.generation
    }

    /// Everything up to this version is known.
    pub(crate) const fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Tombstones up to this version may have been collected.
    pub(crate) const fn floor(&self) -> u64 {
        self.floor
    }

    /// The size of the encoded entries, in bytes.
    pub(crate) const fn size(&self) -> usize {
        self.run.len()
    }

    /// All entries in version order, tombstones included.
    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries::new(&self.run)
    }

    /// The value of a key, or `None` if it was never written or was deleted. O(size).
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries().find(|entry| entry.key == key)?.value
    }

    /// The size that the log would have after this write.
    pub(crate) fn size_with(&self, key: &[u8], value: Option<&[u8]>) -> usize {
        let mut entry = Vec::new();
        let version = self.frontier.saturating_add(1);
        Entry {
            version,
            age: 0,
            key,
            value,
        }
        .append_to(&mut entry);
        let old = self.position(key).map_or(0, |range| range.len());
        debug_assert!(old <= self.run.len(), "an entry is part of the run");
        self.run
            .len()
            .saturating_sub(old)
            .saturating_add(entry.len())
    }

    /// The origin writes: the entry takes the next version. Returns that version.
    pub(crate) fn write(&mut self, age: u64, key: &[u8], value: Option<&[u8]>) -> u64 {
        debug_assert!(self.frontier < u64::MAX, "an origin counts its own writes");
        self.frontier = self.frontier.saturating_add(1);
        self.put(Entry {
            version: self.frontier,
            age,
            key,
            value,
        });
        self.frontier
    }

    /// The origin writes all that lives anew under a later generation.
    ///
    /// No tombstone goes along: a later generation replaces the whole log, so what is missing is gone.
    pub(crate) fn reissue(&mut self, generation: Generation, age: u64) {
        debug_assert_ne!(generation, self.generation, "a generation is issued once");
        let mut run = Vec::new();
        let mut frontier = 0_u64;
        for mut entry in self.entries().filter(|entry| entry.value.is_some()) {
            frontier = frontier.saturating_add(1);
            entry.version = frontier;
            entry.age = age;
            entry.append_to(&mut run);
        }
        *self = Self {
            generation,
            frontier,
            floor: 0,
            run: run.into_boxed_slice(),
        };
        debug_assert!(self.is_in_order());
    }

    /// The version after which to serve a peer that knows this origin's `generation` up to `frontier`.
    /// It is 0, which stands for everything, if:
    ///
    /// - the peer knows another generation;
    /// - the peer knows less than the floor, so it may hold what a collected tombstone has deleted;
    /// - the peer knows more than this replica.
    pub(crate) fn serve_from(&self, generation: Generation, frontier: u64) -> u64 {
        let continues =
            generation == self.generation && frontier >= self.floor && frontier <= self.frontier;
        if continues { frontier } else { 0 }
    }

    /// The least version after which this log serves the same entries as after this one: what is dead is no entry. So
    /// more replicas can take the delta. It is 0, which stands for everything, below the floor.
    pub(crate) fn reach_back(&self, after: u64) -> u64 {
        if after < self.floor {
            return 0;
        }
        let versions = self.entries().map(|entry| entry.version);
        let held = versions.take_while(|version| *version <= after).last();
        held.unwrap_or(0).max(self.floor)
    }

    /// The version after which to serve a peer that holds the beginning of a claim: everything up to
    /// `upto`, of this `generation`, from replicas that knew at least `least_frontier`. It is 0, which
    /// stands for everything, if the beginning cannot be completed from here.
    ///
    /// The floor is compared with `least_frontier`: a replica that knew a tombstone no longer held what
    /// the tombstone deleted, even if the tombstone was collected here since.
    pub(crate) fn resume_from(
        &self,
        generation: Generation,
        upto: u64,
        least_frontier: u64,
    ) -> u64 {
        let continues =
            generation == self.generation && least_frontier >= self.floor && upto <= self.frontier;
        if continues { upto } else { 0 }
    }

    /// The entries above a version.
    pub(crate) fn after(&self, version: u64) -> Entries<'_> {
        Entries::new(self.entries().after(version))
    }

    /// Takes over a whole claim. A claim from version 0 replaces the log.
    ///
    /// The caller has checked that the claim knows no less than this log, and that a claim from another
    /// version than 0 continues it: same generation, and neither `after` nor `floor` above the frontier.
    pub(crate) fn apply(&mut self, claim: &Claim<'_>) {
        debug_assert!(
            (claim.generation, claim.frontier) >= (self.generation, self.frontier),
            "a claim that knows less was refused"
        );
        debug_assert!(claim.after <= claim.frontier && claim.floor <= claim.frontier);
        if claim.after == 0 {
            *self = Self {
                generation: claim.generation,
                frontier: claim.frontier,
                floor: claim.floor,
                run: newest(claim.run, claim.run),
            };
            debug_assert!(self.is_in_order());
            return;
        }
        debug_assert_eq!(claim.generation, self.generation, "it continues this log");
        debug_assert!(claim.after <= self.frontier, "nothing is missing between");
        debug_assert!(claim.floor <= self.frontier, "no tombstone was missed");
        let mut run = core::mem::take(&mut self.run).into_vec();
        let later = Entries::new(claim.run).after(self.frontier);
        run.extend_from_slice(later);
        self.run = newest(&run, later);
        self.frontier = self.frontier.max(claim.frontier);
        // What the origin has collected, nobody need keep.
        self.drop_tombstones(claim.floor);
        self.floor = self.floor.max(claim.floor);
        debug_assert!(self.is_in_order());
    }

    /// Whether a tombstone was written at or before `age`.
    pub(crate) fn has_tombstone(&self, age: u64) -> bool {
        self.entries().any(|entry| is_dead(&entry, age))
    }

    /// Drops the tombstones that were written at or before `age`, and raises the floor to them.
    pub(crate) fn collect(&mut self, age: u64) {
        let dead = |entry: &Entry<'_>| is_dead(entry, age);
        let Some(floor) = self.entries().filter(dead).map(|entry| entry.version).max() else {
            return;
        };
        self.retain(&|entry| !dead(entry));
        self.floor = self.floor.max(floor);
        debug_assert!(self.is_in_order());
    }

    /// The size of the tombstones, in bytes.
    pub(crate) fn dead_size(&self) -> usize {
        self.earliest_tombstones(usize::MAX).1
    }

    /// Drops the earliest tombstones, so many that `bytes` become free if there are as many, and raises the floor
    /// to them.
    pub(crate) fn collect_earliest(&mut self, bytes: usize) {
        let (floor, _) = self.earliest_tombstones(bytes);
        self.drop_tombstones(floor);
        self.floor = self.floor.max(floor);
        debug_assert!(self.is_in_order());
    }

    /// The last version and the size of the earliest tombstones that take `enough` bytes, or of all of them. The
    /// version is 0 if there are none.
    fn earliest_tombstones(&self, enough: usize) -> (u64, usize) {
        let (mut last, mut size) = (0, 0_usize);
        let mut entries = self.entries();
        while size < enough {
            let before = entries.rest().len();
            let Some(entry) = entries.next() else {
                break;
            };
            if entry.value.is_none() {
                last = entry.version;
                size = size.saturating_add(before.saturating_sub(entries.rest().len()));
            }
        }
        (last, size)
    }

    /// Drops the tombstones up to a version.
    fn drop_tombstones(&mut self, upto: u64) {
        let (first, _) = self.earliest_tombstones(1);
        if (1..=upto).contains(&first) {
            self.retain(&|entry| entry.value.is_some() || entry.version > upto);
        }
    }

    fn retain(&mut self, stays: &dyn Fn(&Entry<'_>) -> bool) {
        let mut run = Vec::with_capacity(self.run.len());
        for entry in self.entries().filter(stays) {
            entry.append_to(&mut run);
        }
        self.run = run.into_boxed_slice();
    }

    /// Makes the log a member tombstone: one entry stays, under the last version. It says at what age of
    /// the generation, in milliseconds, the member was removed.
    ///
    /// The frontier stays, so nobody serves the dropped entries again. Everything at or below it counts
    /// as collected.
    pub(crate) fn bury(&mut self, age: u64) {
        debug_assert!(
            self.frontier > 0,
            "only a member of which something is known is removed"
        );
        self.run = Box::default();
        self.floor = self.frontier;
        self.put(Entry {
            version: self.frontier,
            age,
            key: BURIED,
            value: Some(&[]),
        });
    }

    /// The age of the generation at which the member was removed, in milliseconds, if this log is a
    /// member tombstone.
    pub(crate) fn buried(&self) -> Option<u64> {
        let entry = self.entries().find(|entry| entry.key == BURIED)?;
        Some(entry.age)
    }

    /// Appends an entry in place of the older entry of its key.
    fn put(&mut self, entry: Entry<'_>) {
        debug_assert_eq!(
            entry.version, self.frontier,
            "the last version goes to the end"
        );
        let old = self.position(entry.key);
        let mut run = core::mem::take(&mut self.run).into_vec();
        if let Some(range) = old {
            run.drain(range);
        }
        entry.append_to(&mut run);
        self.run = if broadcast::over(&entry).is_some() {
            newest(&run, &[])
        } else {
            run.into_boxed_slice()
        };
        debug_assert!(self.is_in_order());
    }

    /// Whether versions rise strictly up to the frontier, and the floor does not exceed it. O(size).
    fn is_in_order(&self) -> bool {
        self.floor <= self.frontier && Entries::check(&self.run, 0, self.frontier)
    }

    /// Where the entry of a key stands in the run.
    fn position(&self, key: &[u8]) -> Option<core::ops::Range<usize>> {
        let mut entries = self.entries();
        loop {
            let start = self.run.len().saturating_sub(entries.rest().len());
            if entries.next()?.key == key {
                let end = self.run.len().saturating_sub(entries.rest().len());
                return Some(start..end);
            }
        }
    }
}

/// Whether an entry is a tombstone written at or before `age`.
const fn is_dead(entry: &Entry<'_>, age: u64) -> bool {
    entry.value.is_none() && entry.age <= age
}

/// The keys of entries with their versions, sorted.
pub(crate) fn keys(entries: Entries<'_>) -> SmallVec<[(&[u8], u64); 8]> {
    let keys = entries.map(|entry| (entry.key, entry.version));
    let mut keys: SmallVec<[(&[u8], u64); 8]> = keys.collect();
    keys.sort_unstable();
    keys
}

/// The newest entry of each key in a run, in version order, without the broadcasts that are over.
///
/// Only the `later` entries at the end of the run can overwrite others. O(n log m) for n entries, of which
/// m are later.
fn newest(run: &[u8], later: &[u8]) -> Box<[u8]> {
    let keys = keys(Entries::new(later));
    let over = Entries::new(run).filter_map(|entry| broadcast::over(&entry));
    let over = over.last();
    let lives = |entry: &Entry<'_>| {
        let newer = keys.partition_point(|known| *known <= (entry.key, entry.version));
        let overwritten = keys.get(newer).is_some_and(|(key, _)| *key == entry.key);
        let ended = broadcast::number(entry.key)
            .zip(over)
            .is_some_and(|(number, over)| number <= over.number);
        !(overwritten || ended)
    };
    let mut kept = Vec::with_capacity(run.len());
    let mut entries = Entries::new(run);
    let mut rest = run;
    while let Some(entry) = entries.next() {
        if lives(&entry) {
            let len = rest.len().saturating_sub(entries.rest().len());
            kept.extend_from_slice(rest.get(..len).unwrap_or_default());
        }
        rest = entries.rest();
    }
    kept.into_boxed_slice()
}

/// Everything that lives above the version `after` at a replica that knows an origin's log up to
/// `frontier`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) generation: Generation,
    pub(crate) after: u64,
    pub(crate) frontier: u64,
    pub(crate) floor: u64,
    pub(crate) run: &'a [u8],
}

#[cfg(test)]
impl Log {
    /// All that this log says above a version.
    pub(crate) fn claim_after(&self, after: u64) -> Claim<'_> {
        Claim {
            generation: self.generation(),
            after,
            frontier: self.frontier(),
            floor: self.floor(),
            run: self.after(after).rest(),
        }
    }

    /// Asserts all invariants, also the one that costs more: no key occurs twice.
    fn check(&self) {
        assert!(self.is_in_order(), "{self:?}");
        let keys = keys(self.entries());
        assert!(
            keys.windows(2).all(|pair| pair[0].0 != pair[1].0),
            "{self:?}"
        );
    }
}

#[cfg(test)]
mod tests;
