//! The logs of all origins: how far each is known. Together they are the replica's version vector.

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
    /// Which life of it.
    pub generation: Generation,
}

/// How far a replica knows an origin's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    /// Whose log.
    pub origin: Origin,
    /// Everything up to this version is known: what is not held of it is dead.
    pub frontier: u64,
    /// Tombstones up to this version have been collected.
    pub floor: u64,
}

/// The log of one origin. Its writes are kept by key; here is what is known of it as a whole.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) origin: Origin,
    pub(super) frontier: u64,
    pub(super) floor: u64,
    /// How many of its writes are held, tombstones included.
    pub(super) held: u32,
    /// Where the last rise of its frontier stands in the order of application.
    pub(super) applied: u64,
    /// Since when it has been closed and empty.
    pub(super) ghost_since: Option<UnixTime>,
    /// At (frontier, position): what lies above the frontier was applied after the position.
    marks: SmallVec<[(u64, u64); 1]>,
}

/// How many marks a log keeps. The older they are, the wider apart.
const MARKS: usize = 32;

impl Log {
    /// A position in the order of application after which everything above `version` stands.
    pub(super) fn applied_after(&self, version: u64) -> u64 {
        let above = self.marks.partition_point(|(upto, _)| *upto <= version);
        let mark = above.checked_sub(1).and_then(|at| self.marks.get(at));
        mark.map_or(0, |(_, position)| *position)
    }

    /// The frontier is about to rise; `position` is the latest in the order of application.
    fn mark(&mut self, position: u64) {
        if self.marks.len() >= MARKS {
            // Keep every second one of the older half.
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

/// All logs, in the order of their origins.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    logs: Vec<Log>,
    free: Vec<LogSlot>,
    /// In the order of their origins.
    index: Vec<LogSlot>,
    hash_key: HashKey,
    hash: u128,
    ghosts: usize,
}

impl Logs {
    pub(super) const fn new(hash_key: HashKey) -> Self {
        Self {
            logs: Vec::new(),
            free: Vec::new(),
            index: Vec::new(),
            hash_key,
            hash: 0,
            ghosts: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many of them are closed and empty.
    pub(super) const fn ghosts(&self) -> usize {
        self.ghosts
    }

    /// The sum of all contributions.
    pub(super) const fn hash(&self) -> u128 {
        self.hash
    }

    /// What an origin known up to `frontier` contributes to the hash.
    pub(super) fn contribution(&self, origin: Origin, frontier: u64) -> u128 {
        self.hash_key
            .contribution(origin.id, origin.generation, frontier)
    }

    pub(super) fn slot(&self, origin: Origin) -> Option<LogSlot> {
        let at = self.find(origin).ok()?;
        self.index.get(at).copied()
    }

    /// Where an origin's log is in the index, or would be.
    fn find(&self, origin: Origin) -> Result<usize, usize> {
        let of = |slot: LogSlot| self.at(slot).map(|log| log.origin);
        self.index
            .binary_search_by(|slot| of(*slot).cmp(&Some(origin)))
    }

    pub(super) fn get(&self, origin: Origin) -> Option<&Log> {
        self.at(self.slot(origin)?)
    }

    pub(super) fn at(&self, slot: LogSlot) -> Option<&Log> {
        self.logs.get(usize::try_from(slot).ok()?)
    }

    fn at_mut(&mut self, slot: LogSlot) -> Option<&mut Log> {
        self.logs.get_mut(usize::try_from(slot).ok()?)
    }

    /// How far an origin is known.
    pub(super) fn frontier(&self, origin: Origin) -> u64 {
        self.get(origin).map_or(0, |log| log.frontier)
    }

    /// The slot of an origin's log, made where there is none.
    pub(super) fn ensure(&mut self, origin: Origin) -> Option<LogSlot> {
        let place = match self.find(origin) {
            Ok(at) => return self.index.get(at).copied(),
            Err(place) => place,
        };
        let log = Log {
            origin,
            frontier: 0,
            floor: 0,
            held: 0,
            applied: 0,
            ghost_since: None,
            marks: SmallVec::new(),
        };
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

    /// What follows of a log will be applied after this position. To be told before a log's
    /// frontier rises, and before any of what it will then cover is applied.
    pub(super) fn mark(&mut self, slot: LogSlot, position: u64) {
        if let Some(log) = self.at_mut(slot) {
            log.mark(position);
        }
    }

    /// Raises a frontier, keeping the hash true. Tells whether it rose.
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

    /// Raises a floor. Tells whether it rose.
    pub(super) fn raise_floor(&mut self, slot: LogSlot, floor: u64) -> bool {
        let Some(log) = self.at_mut(slot) else {
            return false;
        };
        let rises = floor > log.floor;
        log.floor = log.floor.max(floor);
        rises
    }

    /// Notes where the last rise of a frontier stands in the order of application. Returns where
    /// the one before stood; 0 for none.
    pub(super) fn set_applied(&mut self, slot: LogSlot, applied: u64) -> u64 {
        self.at_mut(slot)
            .map_or(0, |log| core::mem::replace(&mut log.applied, applied))
    }

    /// One more write of it is held. It is no ghost, then.
    pub(super) fn hold(&mut self, slot: LogSlot) {
        if let Some(log) = self.at_mut(slot) {
            log.held = log.held.saturating_add(1);
            if log.ghost_since.take().is_some() {
                self.ghosts = self.ghosts.saturating_sub(1);
            }
        }
    }

    /// One write less of it is held.
    pub(super) fn release(&mut self, slot: LogSlot) {
        if let Some(log) = self.at_mut(slot) {
            log.held = log.held.saturating_sub(1);
        }
    }

    /// It is closed: nobody writes it any more. Where it is empty, it is a ghost from now on.
    pub(super) fn close(&mut self, origin: Origin, wall: UnixTime) {
        let Some(slot) = self.slot(origin) else {
            return;
        };
        if let Some(log) = self.at_mut(slot)
            && log.held == 0
            && log.ghost_since.is_none()
        {
            log.ghost_since = Some(wall);
            self.ghosts = self.ghosts.saturating_add(1);
        }
    }

    /// Forgets a log that holds nothing.
    pub(super) fn remove(&mut self, origin: Origin) -> Option<Log> {
        let slot = self.index.remove(self.find(origin).ok()?);
        let log = self.at(slot)?.clone();
        if log.ghost_since.is_some() {
            self.ghosts = self.ghosts.saturating_sub(1);
        }
        self.hash = self
            .hash
            .wrapping_sub(self.contribution(origin, log.frontier));
        self.free.push(slot);
        Some(log)
    }

    /// All logs in the order of their origins.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Log> {
        self.index.iter().filter_map(|slot| self.at(*slot))
    }

    /// The logs after an origin, in order.
    pub(super) fn after(&self, origin: Option<Origin>) -> impl Iterator<Item = &Log> {
        let start = origin.map_or(0, |origin| match self.find(origin) {
            Ok(at) => at.saturating_add(1),
            Err(at) => at,
        });
        let after = self.index.get(start..).unwrap_or_default();
        after.iter().filter_map(|slot| self.at(*slot))
    }
}
