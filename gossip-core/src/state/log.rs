//! The log of one origin, as one replica holds it.
//!
//! Invariants:
//! - entries stand in version order, each key at most once (the newest write of it);
//! - no entry lies above the frontier;
//! - what is at or below the frontier and not held was overwritten (a [`broadcast`] also by the entry
//!   that ends it), or was a tombstone at or below the floor;
//! - the log changes only by the origin's own writes, or by a whole claim of another replica.

use alloc::boxed::Box;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::attribute::BURIED;
use super::broadcast;
use super::entry::{Entries, Entry};
use crate::identity::Generation;

/// A versioned log with one writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    generation: Generation,
    frontier: u64,
    floor: u64,
    /// The encoded entries. Logs are many and change rarely: no room to grow is kept.
    run: Box<[u8]>,
}

impl Log {
    /// The empty log of an origin of this generation.
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

    /// The value of a key, unless it was never written or was deleted. O(size).
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
        self.run
            .len()
            .saturating_sub(old)
            .saturating_add(entry.len())
    }

    /// The origin's own write: takes the next version. Returns it.
    pub(crate) fn write(&mut self, age: u64, key: &[u8], value: Option<&[u8]>) -> u64 {
        self.frontier = self.frontier.saturating_add(1);
        self.put(Entry {
            version: self.frontier,
            age,
            key,
            value,
        });
        self.frontier
    }

    /// Writes all of it anew under another generation: the origin's own restart in place.
    pub(crate) fn reissue(&mut self, generation: Generation, age: u64) {
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
        // The run alone does not tell a reader of the old generation that nothing else is left,
        // but a newer generation always replaces the whole log.
    }

    /// The version from which a peer that knows this origin's `generation` up to `frontier` has to
    /// be served: 0, for all of it, where what it holds cannot be completed.
    pub(crate) fn serve_from(&self, generation: Generation, frontier: u64) -> u64 {
        let continues =
            generation == self.generation && frontier >= self.floor && frontier <= self.frontier;
        if continues { frontier } else { 0 }
    }

    /// The version from which to serve a peer that holds the beginning of a claim of this origin's
    /// `generation` up to `upto`, from replicas that knew at least `least_frontier`. They held
    /// nothing that a tombstone collected here has deleted, if that is not below the floor.
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

    /// Takes over a whole claim: `run` holds what lives above `after` at a replica that knows the
    /// log up to `frontier`. From 0 it replaces the log. The caller has seen to it that this log is
    /// of the same generation and reaches `after`, or that `after` is 0.
    pub(crate) fn apply(&mut self, claim: &Claim<'_>) {
        if claim.after == 0 {
            *self = Self {
                generation: claim.generation,
                frontier: claim.frontier,
                floor: claim.floor,
                run: newest(claim.run, claim.run),
            };
            return;
        }
        let mut run = core::mem::take(&mut self.run).into_vec();
        let later = Entries::new(claim.run).after(self.frontier);
        run.extend_from_slice(later);
        self.run = newest(&run, later);
        self.frontier = self.frontier.max(claim.frontier);
        self.floor = self.floor.max(claim.floor);
    }

    /// Whether a tombstone was written at or before `age`.
    pub(crate) fn has_tombstone(&self, age: u64) -> bool {
        self.entries().any(|entry| is_dead(&entry, age))
    }

    /// Drops the tombstones written at or before `age`, which raises the floor.
    pub(crate) fn collect(&mut self, age: u64) {
        let dead = |entry: &Entry<'_>| is_dead(entry, age);
        let Some(floor) = self.entries().filter(dead).map(|entry| entry.version).max() else {
            return;
        };
        let mut run = Vec::with_capacity(self.run.len());
        for entry in self.entries().filter(|entry| !dead(entry)) {
            entry.append_to(&mut run);
        }
        self.run = run.into_boxed_slice();
        self.floor = self.floor.max(floor);
    }

    /// Drops all entries but one, which takes the last version and says at what age of this
    /// generation, in milliseconds, that was done. The frontier stays, so that nobody serves them
    /// again; everything at or below it counts as collected.
    pub(crate) fn bury(&mut self, age: u64) {
        self.run = Box::default();
        self.floor = self.frontier;
        self.put(Entry {
            version: self.frontier,
            age,
            key: BURIED,
            value: Some(&[]),
        });
    }

    /// The age of this generation at which its log was buried, in milliseconds, if it was.
    pub(crate) fn buried(&self) -> Option<u64> {
        let entry = self.entries().find(|entry| entry.key == BURIED)?;
        Some(entry.age)
    }

    /// Appends an entry in place of the key's older one.
    fn put(&mut self, entry: Entry<'_>) {
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
    }

    /// Where the key's entry stands.
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

/// The keys of entries, with their versions, in the order of both.
pub(crate) fn keys(entries: Entries<'_>) -> SmallVec<[(&[u8], u64); 8]> {
    let keys = entries.map(|entry| (entry.key, entry.version));
    let mut keys: SmallVec<[(&[u8], u64); 8]> = keys.collect();
    keys.sort_unstable();
    keys
}

/// The newest entry of each key in a run, in version order, without the broadcasts that are over. Only
/// `later` entries of it can overwrite others. O(n log m) for n entries, m of them later.
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

/// Everything that lives above `after` in an origin's log known up to `frontier`.
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
    /// All that this log says after a version, for tests.
    pub(crate) fn claim_after(&self, after: u64) -> Claim<'_> {
        Claim {
            generation: self.generation(),
            after,
            frontier: self.frontier(),
            floor: self.floor(),
            run: self.after(after).rest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use proptest::prelude::*;

    fn generation(bits: u64) -> Generation {
        Generation::new(Stamp::from_bits(bits))
    }

    #[test]
    fn a_later_write_takes_the_place_of_an_earlier_one() {
        let mut log = Log::new(generation(1));
        log.write(0, b"a", Some(b"1"));
        log.write(0, b"b", Some(b"2"));
        let predicted = log.size_with(b"a", Some(b"3"));
        log.write(0, b"a", Some(b"3"));
        assert_eq!(log.size(), predicted);
        assert_eq!(
            (log.get(b"a"), log.get(b"b")),
            (Some(&b"3"[..]), Some(&b"2"[..]))
        );
        assert_eq!(log.entries().map(|e| e.version).collect::<Vec<_>>(), [2, 3]);
        log.write(0, b"a", None);
        assert_eq!((log.get(b"a"), log.frontier()), (None, 4));
    }

    #[test]
    fn a_replica_below_the_floor_is_served_everything() {
        let mut log = Log::new(generation(1));
        log.write(0, b"a", Some(b"1"));
        let mut replica = Log::default();
        replica.apply(&log.claim_after(0));
        log.write(10, b"a", None);
        log.write(10, b"b", Some(b"2"));
        assert!(log.has_tombstone(20) && !log.has_tombstone(9));
        log.collect(20);
        assert!(!log.has_tombstone(20));
        assert_eq!((log.floor(), log.entries().count()), (2, 1));
        assert_eq!(log.serve_from(replica.generation(), replica.frontier()), 0);
        replica.apply(&log.claim_after(0));
        assert_eq!(replica.get(b"a"), None, "what was deleted stays deleted");
        assert_eq!(
            replica.floor(),
            2,
            "and is not passed on to those who know less"
        );
    }

    #[test]
    fn a_newer_generation_replaces_everything() {
        let mut log = Log::new(generation(1));
        log.write(0, b"a", Some(b"1"));
        log.write(0, b"b", None);
        let mut replica = Log::default();
        replica.apply(&log.claim_after(0));
        log.reissue(generation(2), 5);
        assert_eq!(log.serve_from(replica.generation(), replica.frontier()), 0);
        replica.apply(&log.claim_after(0));
        assert_eq!(
            (replica.generation(), replica.frontier()),
            (generation(2), 1)
        );
        assert_eq!(replica.get(b"a"), Some(&b"1"[..]));
    }

    fn ending(number: u64) -> Vec<u8> {
        let incarnation_start = generation(1);
        broadcast::BroadcastNumber {
            incarnation_start,
            number,
        }
        .encode()
    }

    #[test]
    fn what_ends_broadcasts_overwrites_them_and_leaves_nothing_behind() {
        let mut log = Log::new(generation(1));
        log.write(0, b"a", Some(b"1"));
        for number in 1..=3 {
            log.write(0, &broadcast::key(number), Some(b"news"));
        }
        let mut replica = Log::default();
        replica.apply(&log.claim_after(0));
        let numbers = |log: &Log| {
            let keys = log.entries().filter_map(|e| broadcast::number(e.key));
            keys.collect::<Vec<_>>()
        };
        assert_eq!(numbers(&replica), [1, 2, 3]);

        log.write(0, broadcast::OVER, Some(&ending(2)));
        assert_eq!((numbers(&log), log.floor()), (std::vec![3], 0));
        // Who was behind, and who knew all of them, come to hold the same.
        replica.apply(&log.claim_after(replica.frontier()));
        assert_eq!(replica.run, log.run);
        let mut late = Log::default();
        late.apply(&log.claim_after(0));
        assert_eq!(late.run, log.run);

        log.write(0, broadcast::OVER, Some(&ending(3)));
        assert_eq!(log.entries().count(), 2, "a, and what ended them");
    }

    proptest! {
        /// However broadcasts, their ends and other writes follow one another, and wherever the
        /// replica stood: one claim makes it hold what the origin holds, byte for byte.
        #[test]
        fn one_claim_brings_the_same_broadcasts(
            steps in proptest::collection::vec((0_u8..4, 0_u64..5), 1..60),
            copy_at in 0_usize..60,
        ) {
            let mut log = Log::new(generation(1));
            let mut replica = Log::default();
            let (mut last, mut over) = (0_u64, 0_u64);
            for (step, (what, by)) in steps.into_iter().enumerate() {
                match what {
                    0 => {
                        log.write(0, b"a", Some(&[7]));
                    }
                    1 => {
                        over = last.min(over + by);
                        log.write(0, broadcast::OVER, Some(&ending(over)));
                    }
                    _ => {
                        last += 1;
                        log.write(0, &broadcast::key(last), Some(b"news"));
                    }
                }
                if step == copy_at {
                    replica.apply(&log.claim_after(0));
                }
            }
            let from = log.serve_from(replica.generation(), replica.frontier());
            replica.apply(&log.claim_after(from));
            prop_assert_eq!(replica.frontier(), log.frontier());
            prop_assert_eq!(&replica.run, &log.run);
            let held = log.entries().filter_map(|e| broadcast::number(e.key));
            prop_assert!(held.eq(over + 1..=last));
        }

        /// Whatever was written and collected, and wherever the replica stood, one claim makes the
        /// replica show what the origin shows.
        #[test]
        fn one_claim_brings_a_replica_up_to_date(
            writes in proptest::collection::vec((0_u8..6, any::<Option<u8>>(), any::<bool>()), 1..60),
            copy_at in 0_usize..60,
        ) {
            let mut log = Log::new(generation(1));
            let mut replica = Log::default();
            for (step, (key, value, collect)) in writes.into_iter().enumerate() {
                let age = u64::try_from(step).unwrap();
                let value = value.map(|v| [v]);
                log.write(age, &[key + 32], value.as_ref().map(|v| &v[..]));
                if collect {
                    log.collect(age.saturating_sub(3));
                }
                if step == copy_at {
                    replica.apply(&log.claim_after(0));
                }
            }
            let from = log.serve_from(replica.generation(), replica.frontier());
            replica.apply(&log.claim_after(from));
            prop_assert_eq!(replica.frontier(), log.frontier());
            for key in 32..38 {
                prop_assert_eq!(replica.get(&[key]), log.get(&[key]));
            }
        }
    }
}
