//! What is remembered of logs that have left the version vector.
//!
//! An empty log that has been one for long leaves the vector and becomes a **pruned origin**: none of its
//! versions up to a certain one lives. Later versions are news all the same, and take the log back into
//! the vector. The memory of pruned origins is bounded. When there are too many, the replica forgets
//! those of the earliest generations, and the **prune stamp** rises to the latest generation that it has
//! forgotten. An origin that is in no log and not among the pruned ones, with a generation at or below
//! the prune stamp, may have been forgotten. Its writes are refused.
//!
//! Two replicas that knew different amounts of a pruned log must not look the same: a write that the log
//! had replaced is dead at one of them and may live at the other. So a replica that prunes a log writes
//! a **prune marker**: a version of its own log that holds nothing and raises its floor. A replica that
//! does not know that version is told the live set, and drops what the live set does not list.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::logs::Origin;
use crate::hlc::Stamp;
use crate::identity::Generation;

/// The pruned origins that are remembered, and the prune stamp.
#[derive(Clone, Debug)]
pub(super) struct PrunedOrigins {
    prune_stamp: Generation,
    /// For each origin, the version up to which nothing lives.
    origins: BTreeMap<Origin, u64>,
}

impl PrunedOrigins {
    pub(super) const fn new() -> Self {
        Self {
            prune_stamp: Generation::ZERO,
            origins: BTreeMap::new(),
        }
    }

    /// The generation up to which unknown origins are refused.
    pub(super) const fn prune_stamp(&self) -> Generation {
        self.prune_stamp
    }

    /// Whether an origin without a log may have been pruned and forgotten.
    pub(super) fn may_have_forgotten(&self, origin: Origin) -> bool {
        origin.generation <= self.prune_stamp && !self.origins.contains_key(&origin)
    }

    /// Raises the prune stamp. Tells whether it rose.
    pub(super) fn raise(&mut self, prune_stamp: Generation) -> bool {
        let rises = prune_stamp > self.prune_stamp;
        self.prune_stamp = self.prune_stamp.max(prune_stamp);
        rises
    }

    /// Lowers the prune stamp to a limit, and forgets the pruned origins beyond it: a wrong clock has put them there.
    pub(super) fn lower(&mut self, limit: Stamp) {
        self.prune_stamp = self.prune_stamp.min(Generation::new(limit));
        self.origins
            .retain(|origin, _| origin.generation.stamp() <= limit);
    }

    /// Notes that nothing of this origin lives up to this version.
    pub(super) fn insert(&mut self, origin: Origin, upto: u64) {
        let known = self.origins.entry(origin).or_default();
        *known = upto.max(*known);
    }

    /// The version up to which nothing of an origin lives, if that is remembered; else 0.
    pub(super) fn upto(&self, origin: Origin) -> u64 {
        self.origins.get(&origin).copied().unwrap_or(0)
    }

    /// All of them, in the order of the origins.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.origins.iter().map(|(origin, upto)| (*origin, *upto))
    }

    /// Takes out an origin that has news. Returns the version up to which nothing of it lives.
    pub(super) fn remove(&mut self, origin: Origin) -> u64 {
        self.origins.remove(&origin).unwrap_or(0)
    }

    /// Whether there are more than `max` and an eighth. So many are forgotten at a time.
    pub(super) fn has_more_than(&self, max: usize) -> bool {
        self.origins.len() > max.saturating_add(max.div_euclid(8))
    }

    /// If there are too many, keeps those of the latest generations, at most `max`. Tells whether the
    /// prune stamp rose.
    pub(super) fn limit(&mut self, max: usize) -> bool {
        if !self.has_more_than(max) {
            return false;
        }
        let mut generations: Vec<Generation> = self
            .origins
            .keys()
            .map(|origin| origin.generation)
            .collect();
        generations.sort_unstable();
        let beyond = generations.len().saturating_sub(max);
        let last = beyond.checked_sub(1).and_then(|at| generations.get(at));
        debug_assert!(last.is_some(), "there are more than `max`");
        let Some(last) = last else {
            return false;
        };
        self.origins.retain(|origin, _| origin.generation > *last);
        debug_assert!(self.origins.len() <= max, "so many are beyond it");
        self.raise(*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use crate::identity::NodeId;

    fn origin(generation: u64) -> Origin {
        Origin {
            id: NodeId::from_u64(1),
            generation: Generation::new(Stamp::from_bits(generation)),
        }
    }

    #[test]
    fn the_earliest_generations_are_forgotten_and_raise_the_prune_stamp() {
        let mut pruned = PrunedOrigins::new();
        for n in 1..=18 {
            pruned.insert(origin(n), n);
        }
        assert!(!pruned.limit(16), "16 and an eighth are kept");
        pruned.insert(origin(19), 19);
        assert!(pruned.limit(16));
        assert_eq!(pruned.prune_stamp(), origin(3).generation);
        assert_eq!(pruned.iter().count(), 16);
        assert!(pruned.may_have_forgotten(origin(3)));
        assert!(!pruned.may_have_forgotten(origin(4)));
    }

    #[test]
    fn an_origin_with_news_is_not_pruned_any_more() {
        let mut pruned = PrunedOrigins::new();
        pruned.insert(origin(1), 5);
        pruned.insert(origin(1), 3);
        assert_eq!(pruned.upto(origin(1)), 5);
        assert_eq!((pruned.remove(origin(1)), pruned.upto(origin(1))), (5, 0));
        assert!(pruned.raise(origin(2).generation) && !pruned.raise(origin(1).generation));
        assert!(pruned.may_have_forgotten(origin(1)));
    }
}
