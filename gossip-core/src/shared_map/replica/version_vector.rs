//! What a replica knows of a peer's frontiers, and how it learns them.
//!
//! A table of frontiers is as long as there are writers, and its hash has 16 bytes. Two replicas that talk
//! to each other differ in few origins. So a peer tells its hash, and the frontiers that rose lately. The
//! replica lays these over its own frontiers. If the result has the peer's hash, the replica knows all of
//! the peer's frontiers. Otherwise one of the two tells its whole table.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use smallvec::SmallVec;

use super::Map;
use super::apply_order::Applied;
use super::chunk::Cursor;
use super::logs::{Origin, OriginLog};
use super::pull::{Pull, VectorItem};
use super::recent_runs::Wanted;
use crate::identity::Generation;

/// What a replica tells of itself first: replicas with the same summary know the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReplicaSummary {
    /// The hash over all frontiers.
    pub hash: u128,
    /// The prune stamp: unknown origins with a generation up to this one are refused.
    pub prune_stamp: Generation,
}

impl ReplicaSummary {
    /// The summary as the head of a request for a new delta, or, without `ask`, of a request that only
    /// tells.
    #[must_use]
    pub fn to_pull(self, ask: bool) -> Pull {
        Pull {
            session: 0,
            cursor: Cursor::default(),
            hash: self.hash.to_le_bytes(),
            prune_stamp: self.prune_stamp,
            ask,
        }
    }
}

/// A peer's frontiers, as far as they are known. Until the peer tells otherwise, they are taken to be as
/// here.
#[derive(Clone, Debug)]
pub(super) struct VersionVector {
    frontiers: BTreeMap<Origin, u64>,
    hash: u128,
}

impl VersionVector {
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

    /// Sets a frontier, and keeps the hash true.
    fn set(&mut self, map: &Map, origin: Origin, frontier: u64) {
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

    /// Takes over what the peer tells.
    pub(super) fn learn(&mut self, map: &Map, items: impl Iterator<Item = VectorItem> + Clone) {
        for item in items.clone() {
            let VectorItem::Complete(after, upto) = item else {
                continue;
            };
            // `range` panics where a range ends before it begins.
            if matches!((after, upto), (Some(after), Some(upto)) if upto <= after) {
                continue;
            }
            let bounds = (
                after.map_or(Bound::Unbounded, Bound::Excluded),
                upto.map_or(Bound::Unbounded, Bound::Included),
            );
            let untold: Vec<Origin> = self.frontiers.range(bounds).map(|(o, _)| *o).collect();
            for origin in untold {
                self.set(map, origin, 0);
            }
        }
        for item in items {
            if let VectorItem::Frontier(origin, frontier) = item {
                self.set(map, origin, frontier);
            }
        }
    }
}

impl Map {
    /// What this replica tells of itself first.
    #[must_use]
    pub const fn summary(&self) -> ReplicaSummary {
        ReplicaSummary {
            hash: self.logs.hash(),
            prune_stamp: self.pruned_origins.prune_stamp(),
        }
    }

    /// The latest position in the apply order. It rises with every change.
    #[must_use]
    pub fn latest_position(&self) -> u64 {
        self.apply_order.latest()
    }

    /// The frontiers that rose after a position, the latest first, at most `limit`.
    #[must_use]
    pub fn recent(&self, after: u64, limit: usize) -> SmallVec<[VectorItem; 16]> {
        self.apply_order
            .backwards()
            .take_while(|(position, _)| *position > after)
            .take(limit.saturating_mul(16))
            .filter_map(|(_, applied)| match applied {
                Applied::Frontier(log) => self.logs.at(log),
                Applied::Write(_) => None,
            })
            .map(|log| VectorItem::Frontier(log.origin, log.frontier))
            .take(limit)
            .collect()
    }

    /// All frontiers of the origins after this one, in order, as a table tells them.
    pub fn frontiers_after(&self, after: Option<Origin>) -> impl Iterator<Item = VectorItem> {
        self.logs
            .after(after)
            .map(|log| VectorItem::Frontier(log.origin, log.frontier))
    }

    /// The frontiers of this replica that differ from a peer's.
    pub(super) fn difference(&self, peer: &VersionVector) -> Vec<VectorItem> {
        let known_here = self
            .logs
            .iter()
            .filter(|log| peer.frontier(log.origin) != log.frontier)
            .map(|log| VectorItem::Frontier(log.origin, log.frontier));
        let unknown_here = peer
            .iter()
            .filter(|(origin, _)| self.logs.slot(*origin).is_none())
            .map(|(origin, _)| VectorItem::Frontier(origin, 0));
        known_here.chain(unknown_here).collect()
    }

    /// Whether a peer with these frontiers and this prune stamp lacks something that this replica has:
    /// - a version,
    /// - a higher prune stamp,
    /// - the knowledge that an origin has been pruned.
    pub(super) fn has_news_for(&self, peer: &VersionVector, prune_stamp: Generation) -> bool {
        let lacks = |log: &OriginLog| peer.frontier(log.origin) < log.frontier;
        self.pruned_origins.prune_stamp() > prune_stamp
            || self.logs.iter().any(lacks)
            || self.has_pruned_any_of(peer)
    }

    /// The versions that a peer with these frontiers lacks. `None` if runs do not help it:
    /// - it does not know that an origin has been pruned,
    /// - it would refuse an origin as forgotten, or
    /// - it lacks writes of its own log, which another process must have written.
    pub(super) fn lacking(
        &self,
        vector: &VersionVector,
        prune_stamp: Generation,
        peer: Origin,
    ) -> Option<Vec<Wanted>> {
        if self.pruned_origins.prune_stamp() > prune_stamp || self.has_pruned_any_of(vector) {
            return None;
        }
        let mut lacking = Vec::new();
        for log in self.logs.iter() {
            let wanted = Wanted {
                origin: log.origin,
                after: vector.frontier(log.origin),
                upto: log.frontier,
            };
            if wanted.after < wanted.upto {
                let is_refused = wanted.after == 0 && log.origin.generation <= prune_stamp;
                if is_refused || log.origin == peer {
                    return None;
                }
                lacking.push(wanted);
            }
        }
        Some(lacking)
    }

    /// Whether a peer with these frontiers and this prune stamp has something that this replica lacks.
    pub(super) fn lacks_of(&self, peer: &VersionVector, prune_stamp: Generation) -> bool {
        let is_forgotten_there = |log: &OriginLog| {
            log.origin.generation <= prune_stamp && peer.frontier(log.origin) == 0
        };
        prune_stamp > self.pruned_origins.prune_stamp()
            || peer
                .iter()
                .any(|(origin, upto)| upto > self.known(origin) && !self.refuses(origin))
            || self.logs.iter().any(is_forgotten_there)
    }

    /// Whether a peer with these frontiers and this prune stamp needs the live set: one of its frontiers
    /// is below a floor, or it does not know that an origin has been pruned.
    pub(super) fn is_below_a_floor(&self, peer: &VersionVector, prune_stamp: Generation) -> bool {
        let is_below = |log: &OriginLog| peer.frontier(log.origin) < log.floor;
        self.pruned_origins.prune_stamp() > prune_stamp
            || self.logs.iter().any(is_below)
            || self.has_pruned_any_of(peer)
    }

    /// Whether this replica has pruned an origin that is in a peer's vector.
    fn has_pruned_any_of(&self, peer: &VersionVector) -> bool {
        peer.iter()
            .any(|(origin, upto)| self.is_pruned(origin, upto) || self.refuses(origin))
    }

    /// Whether an origin has been pruned, and nothing of it lives up to this version.
    pub(super) fn is_pruned(&self, origin: Origin, upto: u64) -> bool {
        self.logs.slot(origin).is_none() && upto <= self.pruned_origins.upto(origin)
    }
}
