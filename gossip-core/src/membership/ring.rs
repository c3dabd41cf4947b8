//! A ring of ids: which members stand beside which.
//!
//! Ids are hashes, so a ring is a random arrangement of its members. Two nodes with the same view agree on
//! every neighbourhood. If their views differ, some heartbeats or votes go to members that do not expect
//! them. That costs coverage for a moment, and nothing else.
//!
//! # Invariants
//!
//! - Both lists of a ring are sorted and hold each id at most once.
//! - No id is in both.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::growth::grow;
use crate::identity::NodeId;

/// A neighbourhood. The configuration allows at most 16 neighbours on one ring.
pub(crate) type Neighbours = SmallVec<[NodeId; 16]>;

/// How a member counts on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It takes part.
    Live,
    /// It is down.
    Down,
}

/// The members of a ring that take part, and those that are down.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    live: Vec<NodeId>,
    down: Vec<NodeId>,
}

/// Which way around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// Towards greater ids.
    Ahead,
    /// Towards smaller ids.
    Behind,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self {
            live: Vec::new(),
            down: Vec::new(),
        }
    }

    /// The members that take part, in the order of their ids.
    pub(crate) fn live(&self) -> &[NodeId] {
        &self.live
    }

    /// The members that are down, in the order of their ids.
    pub(crate) fn down(&self) -> &[NodeId] {
        &self.down
    }

    /// How many members there are, live and down.
    pub(crate) const fn len(&self) -> usize {
        self.live.len().saturating_add(self.down.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.down.is_empty()
    }

    /// Puts in a member that is not on the ring.
    pub(crate) fn insert(&mut self, liveness: Liveness, id: NodeId) {
        debug_assert!(!self.contains(Liveness::Live, id) && !self.contains(Liveness::Down, id));
        let list = self.list(liveness);
        if let Err(at) = list.binary_search(&id) {
            grow(list);
            list.insert(at, id);
        }
    }

    /// Takes out a member that is on the ring in this way.
    pub(crate) fn remove(&mut self, liveness: Liveness, id: NodeId) {
        let list = self.list(liveness);
        let found = list.binary_search(&id);
        debug_assert!(found.is_ok(), "{id} is not on the ring");
        if let Ok(at) = found {
            list.remove(at);
        }
    }

    const fn list(&mut self, liveness: Liveness) -> &mut Vec<NodeId> {
        match liveness {
            Liveness::Live => &mut self.live,
            Liveness::Down => &mut self.down,
        }
    }

    /// Whether a member is on the ring and counts in this way.
    pub(crate) fn contains(&self, liveness: Liveness, id: NodeId) -> bool {
        let list = match liveness {
            Liveness::Live => &self.live,
            Liveness::Down => &self.down,
        };
        list.binary_search(&id).is_ok()
    }

    /// The `k` members around `id`, half on each side. It considers the members that take part, and those
    /// of the down that `counts` accepts. If there are no more than `k`, it returns all of them. Not
    /// sorted.
    pub(crate) fn around(
        &self,
        id: NodeId,
        k: usize,
        counts: impl Fn(NodeId) -> bool,
    ) -> Neighbours {
        let half = k.div_euclid(2);
        let side = |direction| {
            let all = self.walk(id, direction);
            let counting =
                all.filter(|(other, liveness)| *liveness == Liveness::Live || counts(*other));
            counting.map(|(other, _)| other).take(half)
        };
        let mut found: Neighbours = side(Direction::Ahead).collect();
        for other in side(Direction::Behind) {
            if found.contains(&other) {
                break;
            }
            found.push(other);
        }
        found
    }

    /// Whether two members that take part are among the `k` around each other. If one of them does not
    /// take part, the answer is yes: the caller then looks closer. O(log n).
    pub(crate) fn is_near(&self, one: NodeId, other: NodeId, k: usize) -> bool {
        let position = |id| self.live.binary_search(&id);
        let (Ok(one), Ok(other)) = (position(one), position(other)) else {
            return true;
        };
        let apart = one.abs_diff(other);
        debug_assert!(apart < self.live.len(), "both are positions in the list");
        let around = self.live.len().saturating_sub(apart);
        apart.min(around) <= k.div_euclid(2)
    }

    /// The members that are down and that `own` would observe if they were not: on either side, those
    /// before the `k / 2`-th member that takes part. At most the nearest 16. Not sorted.
    ///
    /// Somebody has to go on voting against them when their old observers are gone. Otherwise a newcomer
    /// would take them to be alive.
    pub(crate) fn fallen_nearby(&self, own: NodeId, k: usize) -> Neighbours {
        let half = k.div_euclid(2);
        let mut found = Neighbours::new();
        for direction in [Direction::Ahead, Direction::Behind] {
            let mut live = 0_usize;
            for (id, liveness) in self.walk(own, direction) {
                match liveness {
                    Liveness::Live => live = live.saturating_add(1),
                    Liveness::Down if !found.contains(&id) => found.push(id),
                    Liveness::Down => {}
                }
                if live >= half || found.len() >= found.inline_size() {
                    break;
                }
            }
        }
        found
    }

    /// All other members, the nearest in one direction first.
    fn walk(&self, from: NodeId, direction: Direction) -> Walk<'_> {
        Walk {
            from,
            direction,
            live: Side::new(&self.live, from),
            down: Side::new(&self.down, from),
        }
    }
}

/// One walk around a ring. It visits every other member once.
struct Walk<'a> {
    from: NodeId,
    direction: Direction,
    live: Side<'a>,
    down: Side<'a>,
}

/// One of the two lists of a ring during a walk.
struct Side<'a> {
    ids: &'a [NodeId],
    /// How many ids are smaller than that of the start.
    before: usize,
    /// 1 if the start is in the list itself, else 0.
    own: usize,
    /// How many ids were visited.
    passed: usize,
}

impl<'a> Side<'a> {
    fn new(ids: &'a [NodeId], from: NodeId) -> Self {
        let (before, own) = match ids.binary_search(&from) {
            Ok(at) => (at, 1),
            Err(at) => (at, 0),
        };
        Self {
            ids,
            before,
            own,
            passed: 0,
        }
    }

    fn next(&self, direction: Direction) -> Option<NodeId> {
        let len = self.ids.len();
        debug_assert!(self.own <= len && self.passed <= len);
        if self.passed >= len.saturating_sub(self.own) {
            return None;
        }
        let at = match direction {
            Direction::Ahead => self.before.saturating_add(self.own),
            Direction::Behind => self.before.saturating_add(len).saturating_sub(1),
        };
        let at = match direction {
            Direction::Ahead => at.saturating_add(self.passed),
            Direction::Behind => at.saturating_sub(self.passed),
        };
        self.ids.get(at.checked_rem(len)?).copied()
    }
}

impl Iterator for Walk<'_> {
    type Item = (NodeId, Liveness);

    fn next(&mut self) -> Option<Self::Item> {
        let distance = |id: NodeId| match self.direction {
            Direction::Ahead => id.as_u64().wrapping_sub(self.from.as_u64()),
            Direction::Behind => self.from.as_u64().wrapping_sub(id.as_u64()),
        };
        let live = self.live.next(self.direction);
        let down = self.down.next(self.direction);
        let down_is_nearer = match (live, down) {
            (Some(live), Some(down)) => distance(down) < distance(live),
            (live, _) => live.is_none(),
        };
        if down_is_nearer {
            self.down.passed = self.down.passed.saturating_add(1);
            down.map(|id| (id, Liveness::Down))
        } else {
            self.live.passed = self.live.passed.saturating_add(1);
            live.map(|id| (id, Liveness::Live))
        }
    }
}

#[cfg(test)]
impl Ring {
    /// Asserts the invariants.
    pub(super) fn check(&self) {
        for list in [&self.live, &self.down] {
            assert!(list.is_sorted_by(|one, next| one < next), "{self:?}");
        }
        let both = self
            .down
            .iter()
            .find(|id| self.live.binary_search(id).is_ok());
        assert_eq!(both, None, "on both lists");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    proptest! {
        /// A walk visits every other member once, the nearest first, whichever list it is on.
        #[test]
        fn a_walk_visits_every_other_member_once_the_nearest_first(
            members in proptest::collection::btree_map(any::<u64>(), any::<bool>(), 0..40),
            from in any::<u64>(),
        ) {
            let mut ring = Ring::new();
            for (id, live) in &members {
                let liveness = if *live { Liveness::Live } else { Liveness::Down };
                ring.insert(liveness, NodeId::from_u64(*id));
            }
            ring.check();
            for direction in [Direction::Ahead, Direction::Behind] {
                let walked: Vec<u64> = ring
                    .walk(NodeId::from_u64(from), direction)
                    .map(|(id, _)| id.as_u64())
                    .collect();
                let others = members.keys().filter(|id| **id != from);
                let by_distance: BTreeMap<u64, u64> = others
                    .map(|id| match direction {
                        Direction::Ahead => (id.wrapping_sub(from), *id),
                        Direction::Behind => (from.wrapping_sub(*id), *id),
                    })
                    .collect();
                prop_assert_eq!(walked, by_distance.into_values().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_nearest_members_stand_around_an_id_whether_it_is_on_the_ring_or_not() {
        let mut ring = Ring::new();
        for id in [10, 20, 30, 40, 50] {
            ring.insert(Liveness::Live, NodeId::from_u64(id));
        }
        ring.remove(Liveness::Live, NodeId::from_u64(20));
        ring.insert(Liveness::Down, NodeId::from_u64(20));
        let around = |id, counts: fn(NodeId) -> bool| {
            let mut around = ring.around(NodeId::from_u64(id), 2, counts);
            around.sort_unstable();
            around.iter().map(|id| id.as_u64()).collect::<Vec<_>>()
        };
        assert_eq!(around(30, |_| false), [10, 40]);
        assert_eq!(around(30, |_| true), [20, 40]);
        assert_eq!(around(45, |_| false), [40, 50]);
        assert_eq!(around(50, |_| false), [10, 40]);
    }
}
