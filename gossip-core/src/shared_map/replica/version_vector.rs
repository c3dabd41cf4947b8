//! What a replica knows of another's frontiers, and how it comes to know them.
//!
//! A table of frontiers is as long as there are writers; its hash has 16 bytes. Two replicas that
//! talk differ in few origins. So a peer tells its hash, and the frontiers that have changed lately:
//! laid over the own table, they have the peer's hash, and everything is known; or they do not, and
//! one of the two tells all.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use smallvec::SmallVec;

use super::Map;
use super::apply_order::Change;
use super::delta::Told;
use super::logs::{Log, Origin};
use crate::identity::Generation;

/// What a replica tells of itself first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Summary {
    /// The sum over all frontiers.
    pub hash: u128,
    /// The stamp D.
    pub forgotten: Generation,
}

/// Another replica's frontiers, as far as they are known; what it has not told is taken to be as
/// here.
#[derive(Clone, Debug)]
pub(super) struct Vector {
    frontiers: BTreeMap<Origin, u64>,
    hash: u128,
}

impl Vector {
    /// The frontiers of `map` itself.
    pub(super) fn of(map: &Map) -> Self {
        Self {
            frontiers: map
                .logs
                .iter()
                .map(|log| (log.origin, log.frontier))
                .collect(),
            hash: map.logs.hash(),
        }
    }

    pub(super) const fn hash(&self) -> u128 {
        self.hash
    }

    pub(super) fn frontier(&self, origin: Origin) -> u64 {
        self.frontiers.get(&origin).copied().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.frontiers.iter().map(|(origin, upto)| (*origin, *upto))
    }

    fn tell(&mut self, map: &Map, origin: Origin, frontier: u64) {
        let before = if frontier == 0 {
            self.frontiers.remove(&origin)
        } else {
            self.frontiers.insert(origin, frontier)
        };
        self.hash = self
            .hash
            .wrapping_sub(map.logs.contribution(origin, before.unwrap_or(0)))
            .wrapping_add(map.logs.contribution(origin, frontier));
    }

    /// Takes in what the peer tells.
    pub(super) fn learn(&mut self, map: &Map, told: impl Iterator<Item = Told> + Clone) {
        for item in told.clone() {
            let Told::Complete(after, upto) = item else {
                continue;
            };
            let bounds = (
                after.map_or(Bound::Unbounded, Bound::Excluded),
                upto.map_or(Bound::Unbounded, Bound::Included),
            );
            // No range ends before it begins.
            if matches!((after, upto), (Some(after), Some(upto)) if upto <= after) {
                continue;
            }
            let unnamed: Vec<Origin> = self.frontiers.range(bounds).map(|(o, _)| *o).collect();
            for origin in unnamed {
                self.tell(map, origin, 0);
            }
        }
        for item in told {
            if let Told::Frontier(origin, frontier) = item {
                self.tell(map, origin, frontier);
            }
        }
    }
}

impl Map {
    /// What this replica tells of itself first.
    #[must_use]
    pub const fn summary(&self) -> Summary {
        Summary {
            hash: self.logs.hash(),
            forgotten: self.forgotten.upto(),
        }
    }

    /// The position of the latest change in the order of application. Rises with every change.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.applied.latest()
    }

    /// The frontiers that rose after a position, the latest first, at most `limit`.
    #[must_use]
    pub fn recent(&self, after: u64, limit: usize) -> SmallVec<[Told; 16]> {
        self.applied
            .backwards()
            .take_while(|(position, _)| *position > after)
            .take(limit.saturating_mul(16))
            .filter_map(|(_, change)| match change {
                Change::Frontier(log) => self.logs.at(log),
                Change::Write(_) => None,
            })
            .map(|log| Told::Frontier(log.origin, log.frontier))
            .take(limit)
            .collect()
    }

    /// All frontiers after an origin, as they are told one after the other.
    pub fn tell_after(&self, after: Option<Origin>) -> impl Iterator<Item = Told> {
        self.logs
            .after(after)
            .map(|log| Told::Frontier(log.origin, log.frontier))
    }

    /// The own frontiers where they differ from another's.
    pub(super) fn difference(&self, vector: &Vector) -> Vec<Told> {
        let ours = self
            .logs
            .iter()
            .filter(|log| vector.frontier(log.origin) != log.frontier)
            .map(|log| Told::Frontier(log.origin, log.frontier));
        let theirs = vector
            .iter()
            .filter(|(origin, _)| self.logs.slot(*origin).is_none())
            .map(|(origin, _)| Told::Frontier(origin, 0));
        ours.chain(theirs).collect()
    }

    /// Whether a replica with these frontiers lacks what this one has: knowledge of writes, of D, or
    /// of an origin having left the vector.
    pub(super) fn has_news_for(&self, vector: &Vector, forgotten: Generation) -> bool {
        let lacks = |log: &Log| vector.frontier(log.origin) < log.frontier;
        self.forgotten.upto() > forgotten || self.logs.iter().any(lacks) || self.has_left(vector)
    }

    /// Whether a replica with these frontiers has what this one lacks.
    pub(super) fn lacks_of(&self, vector: &Vector, forgotten: Generation) -> bool {
        forgotten > self.forgotten.upto()
            || vector
                .iter()
                .any(|(origin, upto)| upto > self.known(origin) && !self.refuses(origin))
            || self
                .logs
                .iter()
                .any(|log| log.origin.generation <= forgotten && vector.frontier(log.origin) == 0)
    }

    /// Whether a replica with these frontiers needs the lists: one of them lies below a floor, or
    /// it does not know that an origin has left the vector.
    pub(super) fn is_below_a_floor(&self, vector: &Vector, forgotten: Generation) -> bool {
        let is_below = |log: &Log| vector.frontier(log.origin) < log.floor;
        self.forgotten.upto() > forgotten || self.logs.iter().any(is_below) || self.has_left(vector)
    }

    /// Whether an origin with such a frontier has left the vector here.
    fn has_left(&self, vector: &Vector) -> bool {
        vector
            .iter()
            .any(|(origin, upto)| self.is_buried(origin, upto) || self.refuses(origin))
    }

    /// Whether all that an origin has written up to here is known to be dead, and it has left the
    /// vector.
    pub(super) fn is_buried(&self, origin: Origin, upto: u64) -> bool {
        self.logs.slot(origin).is_none() && upto <= self.forgotten.grave(origin)
    }
}
