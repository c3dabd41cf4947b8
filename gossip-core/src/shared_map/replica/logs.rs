//! The logs of all origins: how far each of them is known. Together the frontiers are the replica's version
//! vector.
//!
//! Invariants:
//! - A log's floor is not above its frontier.
//! - The hash is the sum over all logs of what their frontiers contribute.
//! - The index lists every log once, in the order of the origins.
//! - An empty log (`empty_since`) holds no write.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::growth::make_room;
use crate::identity::{Generation, NodeId};
use crate::state::table_hash::HashKey;
use crate::time::UnixTime;

/// A node under one generation: the only writer of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The node.
    pub id: NodeId,
    /// The generation.
    pub generation: Generation,
}

/// How far a replica knows an origin's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    /// The origin.
    pub origin: Origin,
    /// The replica knows every version up to this one. Versions that it knows and does not hold are dead.
    pub frontier: u64,
    /// The replica has collected tombstones up to this version.
    pub floor: u64,
}

/// What is known of one origin's log as a whole. The writes themselves are found by key.
#[derive(Clone, Debug)]
pub(super) struct OriginLog {
    pub(super) origin: Origin,
    pub(super) frontier: u64,
    pub(super) floor: u64,
    /// How many of its writes are held, tombstones included.
    pub(super) held: u32,
    /// The position in the apply order at which its frontier last rose. 0 if it has not.
    pub(super) position: u64,
    /// Since when the log is closed and holds nothing: an empty log.
    pub(super) empty_since: Option<UnixTime>,
    /// Pairs (frontier, position): versions above the frontier were applied after the position.
    marks: SmallVec<[(u64, u64); 1]>,
}

/// How many marks a log keeps. The older they are, the wider apart.
const MARKS: usize = 32;

impl OriginLog {
    fn new(origin: Origin) -> Self {
        Self {
            origin,
            frontier: 0,
            floor: 0,
            held: 0,
            position: 0,
            empty_since: None,
            marks: SmallVec::new(),
        }
    }

    /// What the replica tells of this log.
    pub(super) const fn to_frontier(&self) -> Frontier {
        Frontier {
            origin: self.origin,
            frontier: self.frontier,
            floor: self.floor,
        }
    }

    /// A position in the apply order after which everything above `version` stands.
    pub(super) fn applied_after(&self, version: u64) -> u64 {
        let above = self.marks.partition_point(|(upto, _)| *upto <= version);
        let mark = above.checked_sub(1).and_then(|at| self.marks.get(at));
        mark.map_or(0, |(_, position)| *position)
    }

    /// Notes that the frontier is about to rise; `position` is the latest in the apply order.
    fn mark(&mut self, position: u64) {
        debug_assert!(
            self.marks
                .last()
                .is_none_or(|(frontier, at)| *frontier < self.frontier && *at <= position),
            "a frontier has risen since the last mark"
        );
        if self.marks.len() >= MARKS {
            // Keeps every second mark of the older half.
            let mut n = 0_usize;
            self.marks.retain(|_| {
                n = n.saturating_add(1);
                n > MARKS.div_euclid(2) || n % 2 == 1
            });
        }
        self.marks.push((self.frontier, position));
    }
}

/// A number for a log that stays the same while the log exists.
pub(super) type LogSlot = u32;

/// All logs.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    logs: Vec<OriginLog>,
    /// Slots whose logs have been removed.
    free: Vec<LogSlot>,
    /// The slots of all logs, in the order of the origins.
    index: Vec<LogSlot>,
    hash_key: HashKey,
    hash: u128,
    /// How many logs are empty.
    empty: usize,
}

impl Logs {
    pub(super) const fn new(hash_key: HashKey) -> Self {
        Self {
            logs: Vec::new(),
            free: Vec::new(),
            index: Vec::new(),
            hash_key,
            hash: 0,
            empty: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many logs are closed and hold nothing.
    pub(super) const fn empty(&self) -> usize {
        self.empty
    }

    /// The sum of what all logs contribute.
    pub(super) const fn hash(&self) -> u128 {
        self.hash
    }

    /// What an origin that is known up to `frontier` contributes to the hash.
    pub(super) fn contribution(&self, origin: Origin, frontier: u64) -> u128 {
        self.hash_key
            .contribution(origin.id, origin.generation, frontier)
    }

    pub(super) fn slot(&self, origin: Origin) -> Option<LogSlot> {
        let at = self.find(origin).ok()?;
        self.index.get(at).copied()
    }

    /// The index at which an origin's log is, or would be.
    fn find(&self, origin: Origin) -> Result<usize, usize> {
        let of = |slot: LogSlot| self.at(slot).map(|log| log.origin);
        self.index
            .binary_search_by(|slot| of(*slot).cmp(&Some(origin)))
    }

    pub(super) fn get(&self, origin: Origin) -> Option<&OriginLog> {
        self.at(self.slot(origin)?)
    }

    /// The log in a slot. Slots come from [`slot`](Self::slot) and [`ensure`](Self::ensure).
    pub(super) fn at(&self, slot: LogSlot) -> Option<&OriginLog> {
        let log = self.logs.get(usize::try_from(slot).ok()?);
        debug_assert!(log.is_some(), "a slot is made with its log");
        log
    }

    fn at_mut(&mut self, slot: LogSlot) -> Option<&mut OriginLog> {
        let log = self.logs.get_mut(usize::try_from(slot).ok()?);
        debug_assert!(log.is_some(), "a slot is made with its log");
        log
    }

    /// How far an origin is known.
    pub(super) fn frontier(&self, origin: Origin) -> u64 {
        self.get(origin).map_or(0, |log| log.frontier)
    }

    /// The slot of an origin's log, which is made if there is none. `None` if there are too many logs.
    pub(super) fn ensure(&mut self, origin: Origin) -> Option<LogSlot> {
        let place = match self.find(origin) {
            Ok(at) => return self.index.get(at).copied(),
            Err(place) => place,
        };
        let log = OriginLog::new(origin);
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.at_mut(slot)? = log;
                slot
            }
            None => {
                let slot = LogSlot::try_from(self.logs.len()).ok()?;
                make_room(&mut self.logs, 1);
                self.logs.push(log);
                slot
            }
        };
        make_room(&mut self.index, 1);
        self.index.insert(place, slot);
        Some(slot)
    }

    /// Notes that what follows of a log will be applied after this position. To be called before the
    /// log's frontier rises, and before any write is applied that the risen frontier covers.
    pub(super) fn mark(&mut self, slot: LogSlot, position: u64) {
        if let Some(log) = self.at_mut(slot) {
            log.mark(position);
        }
    }

    /// Raises a frontier. Tells whether it rose.
    pub(super) fn raise(&mut self, slot: LogSlot, frontier: u64) -> bool {
        let Some(log) = self.at(slot) else {
            return false;
        };
        if frontier <= log.frontier {
            return false;
        }
        let (origin, before) = (log.origin, log.frontier);
        self.hash = self
            .hash
            .wrapping_sub(self.contribution(origin, before))
            .wrapping_add(self.contribution(origin, frontier));
        if let Some(log) = self.at_mut(slot) {
            log.frontier = frontier;
        }
        true
    }

    /// Raises a floor. Tells whether it rose. While writes are being applied, the floor may be above the
    /// frontier, which rises after them.
    pub(super) fn raise_floor(&mut self, slot: LogSlot, floor: u64) -> bool {
        let Some(log) = self.at_mut(slot) else {
            return false;
        };
        let rises = floor > log.floor;
        log.floor = log.floor.max(floor);
        rises
    }

    /// Notes the position in the apply order at which a log's frontier has just risen. Returns the one
    /// before; 0 if there is none.
    pub(super) fn set_position(&mut self, slot: LogSlot, position: u64) -> u64 {
        self.at_mut(slot).map_or(0, |log| {
            debug_assert!(log.position < position, "positions only rise");
            core::mem::replace(&mut log.position, position)
        })
    }

    /// One more write of a log is held. So the log is not empty.
    pub(super) fn hold(&mut self, slot: LogSlot) {
        let Some(log) = self.at_mut(slot) else {
            return;
        };
        log.held = log.held.saturating_add(1);
        if log.empty_since.take().is_some() {
            debug_assert!(self.empty > 0, "every empty log is counted");
            self.empty = self.empty.saturating_sub(1);
        }
    }

    /// One write of a log is no longer held.
    pub(super) fn release(&mut self, slot: LogSlot) {
        if let Some(log) = self.at_mut(slot) {
            debug_assert!(log.held > 0, "every held write is counted");
            log.held = log.held.saturating_sub(1);
        }
    }

    /// Nobody writes this log any more. If it holds nothing, it is an empty log from now on.
    pub(super) fn close(&mut self, origin: Origin, wall: UnixTime) {
        let Some(slot) = self.slot(origin) else {
            return;
        };
        if let Some(log) = self.at_mut(slot)
            && log.held == 0
            && log.empty_since.is_none()
        {
            log.empty_since = Some(wall);
            self.empty = self.empty.saturating_add(1);
        }
    }

    /// Takes out a log that holds nothing.
    pub(super) fn remove(&mut self, origin: Origin) -> Option<OriginLog> {
        let slot = self.index.remove(self.find(origin).ok()?);
        let log = self.at(slot)?.clone();
        debug_assert_eq!(log.held, 0, "its writes have been dropped");
        if log.empty_since.is_some() {
            debug_assert!(self.empty > 0, "every empty log is counted");
            self.empty = self.empty.saturating_sub(1);
        }
        self.hash = self
            .hash
            .wrapping_sub(self.contribution(origin, log.frontier));
        self.free.push(slot);
        Some(log)
    }

    /// All logs in the order of their origins.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OriginLog> {
        self.index.iter().filter_map(|slot| self.at(*slot))
    }

    /// The logs after an origin, in order.
    pub(super) fn after(&self, origin: Option<Origin>) -> impl Iterator<Item = &OriginLog> {
        let start = origin.map_or(0, |origin| match self.find(origin) {
            Ok(at) => at.saturating_add(1),
            Err(at) => at,
        });
        let after = self.index.get(start..).unwrap_or_default();
        after.iter().filter_map(|slot| self.at(*slot))
    }

    /// Checks the invariants of this module. O(n).
    #[cfg(test)]
    pub(super) fn check(&self) {
        let sum = |sum: u128, log: &OriginLog| {
            sum.wrapping_add(self.contribution(log.origin, log.frontier))
        };
        assert_eq!(self.iter().fold(0, sum), self.hash);
        assert!(self.iter().is_sorted_by(|a, b| a.origin < b.origin));
        assert_eq!(self.index.len() + self.free.len(), self.logs.len());
        let is_empty = |log: &&OriginLog| log.empty_since.is_some();
        assert_eq!(self.iter().filter(is_empty).count(), self.empty);
        assert!(self.iter().filter(is_empty).all(|log| log.held == 0));
        for log in self.iter() {
            assert!(log.floor <= log.frontier, "{log:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;

    fn origin(id: u64) -> Origin {
        Origin {
            id: NodeId::from_u64(id),
            generation: Generation::new(Stamp::from_bits(id)),
        }
    }

    #[test]
    fn a_removed_log_leaves_no_trace_in_the_hash_and_its_slot_is_used_again() {
        let mut logs = Logs::new(HashKey::of("test"));
        let first = logs.ensure(origin(1)).unwrap();
        logs.raise(first, 7);
        let hash = logs.hash();
        let second = logs.ensure(origin(2)).unwrap();
        assert!(logs.raise(second, 3) && !logs.raise(second, 2));
        logs.close(origin(2), UnixTime::from_millis(9));
        assert_eq!((logs.len(), logs.empty()), (2, 1));
        logs.check();
        assert_eq!(logs.remove(origin(2)).unwrap().frontier, 3);
        assert_eq!((logs.hash(), logs.empty()), (hash, 0));
        assert_eq!(logs.ensure(origin(3)), Some(second));
        assert_eq!(logs.frontier(origin(3)), 0);
        logs.check();
    }

    #[test]
    fn a_log_that_holds_a_write_again_is_not_empty() {
        let mut logs = Logs::new(HashKey::of("test"));
        let slot = logs.ensure(origin(1)).unwrap();
        logs.close(origin(1), UnixTime::from_millis(9));
        logs.hold(slot);
        assert_eq!(logs.empty(), 0);
        logs.close(origin(1), UnixTime::from_millis(10));
        assert_eq!(logs.empty(), 0, "it holds a write");
        logs.release(slot);
        logs.check();
    }

    #[test]
    fn marks_tell_a_position_before_every_later_version() {
        let mut logs = Logs::new(HashKey::of("test"));
        let slot = logs.ensure(origin(1)).unwrap();
        for version in 1..=1000 {
            logs.mark(slot, version * 10);
            logs.raise(slot, version);
        }
        let log = logs.get(origin(1)).unwrap();
        assert!(log.marks.len() <= MARKS);
        for known in 0..1000 {
            // Version `known + 1` was applied after position `(known + 1) * 10`.
            assert!(log.applied_after(known) <= (known + 1) * 10);
        }
        assert_eq!(log.applied_after(999), 10_000);
    }
}
