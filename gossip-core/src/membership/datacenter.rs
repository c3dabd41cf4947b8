//! Datacenters: gossip stays inside, and a few bridges speak for each of them (R6).
//!
//! A member says where it is; those who say nothing are in one datacenter, too. Each datacenter has a
//! [`Ring`] of its own, on which its members are neighbours, meet one another in rounds, and pass on
//! what is pushed.
//!
//! Its **bridges** are the first few of its members that take part, in the order of their ids. Ids
//! are hashes, so that is a rendezvous choice (Thaler and Ravishankar 1998): nobody has to agree on
//! anything, who knows the same members knows the same bridges, and one that goes is replaced
//! without any other being moved. Where fewer take part than there should be bridges, members that
//! are down fill up, so that somebody goes on voting against them.
//!
//! The bridges of all datacenters stand on one more ring: there they observe one another, whatever
//! their datacenters. It has as many members as there are datacenters, times a small number: what
//! crosses between datacenters does not grow with their size.
//!
//! Costs: who enters or leaves, O(log n) comparisons and a move within its datacenter's list; where
//! that changes its bridges, a few moves within theirs. Nothing looks at all members or all
//! datacenters.

use alloc::vec::Vec;

use super::ring::{Part, Ring};
use crate::identity::NodeId;

/// A datacenter as this replica tells it from others: a hash of its name that is nobody else's
/// business. Two that share one are taken for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u32);

impl Place {
    /// Where those are who do not say.
    pub(crate) const UNSAID: Self = Self(0);
}

/// One datacenter.
#[derive(Debug)]
struct Datacenter {
    place: Place,
    ring: Ring,
}

/// All datacenters with somebody in them who takes part or is down.
#[derive(Debug)]
pub(crate) struct Datacenters {
    /// Sorted by place.
    all: Vec<Datacenter>,
    bridges: Ring,
    /// Bridges of a datacenter.
    quota: usize,
    live: usize,
    down: usize,
    /// Whether bridges have changed, or somebody has moved, since somebody asked.
    regrouped: bool,
}

/// The ring of a datacenter without members.
static NOBODY: Ring = Ring::new();

impl Datacenters {
    /// Nobody yet. `quota` is how many bridges a datacenter has.
    pub(crate) const fn new(quota: usize) -> Self {
        Self {
            all: Vec::new(),
            bridges: Ring::new(),
            quota,
            live: 0,
            down: 0,
            regrouped: false,
        }
    }

    /// How many members take part.
    pub(crate) const fn live_len(&self) -> usize {
        self.live
    }

    /// How many are down.
    pub(crate) const fn down_len(&self) -> usize {
        self.down
    }

    /// Those who are down, in all of them.
    pub(crate) fn down(&self) -> impl Iterator<Item = NodeId> + '_ {
        let rings = self.all.iter().map(|datacenter| &datacenter.ring);
        rings.flat_map(|ring| ring.down().iter().copied())
    }

    /// The members of a datacenter.
    pub(crate) fn ring(&self, place: Place) -> &Ring {
        let at = self.position(place).ok();
        let datacenter = at.and_then(|at| self.all.get(at));
        datacenter.map_or(&NOBODY, |datacenter| &datacenter.ring)
    }

    /// The bridges of all datacenters.
    pub(crate) const fn bridges(&self) -> &Ring {
        &self.bridges
    }

    /// The bridges of a datacenter that take part.
    pub(crate) fn bridges_of(&self, place: Place) -> &[NodeId] {
        first(self.ring(place).live(), self.quota)
    }

    /// Whether all who are or were in a datacenter are its bridges: too few to vouch for one another.
    pub(crate) fn is_small(&self, place: Place) -> bool {
        let ring = self.ring(place);
        ring.live().len().saturating_add(ring.down().len()) <= self.quota
    }

    /// How many datacenters there are.
    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    /// The datacenters but one, from the `start`-th on and around.
    pub(crate) fn others(
        &self,
        place: Place,
        start: usize,
    ) -> impl Iterator<Item = (Place, &Ring)> + Clone {
        let start = start.min(self.all.len());
        let (before, after) = self.all.split_at_checked(start).unwrap_or_default();
        let around = after.iter().chain(before);
        around
            .map(|datacenter| (datacenter.place, &datacenter.ring))
            .filter(move |(other, _)| *other != place)
    }

    /// Whether bridges have changed, or members have moved, since the last call.
    pub(crate) fn take_regrouped(&mut self) -> bool {
        core::mem::take(&mut self.regrouped)
    }

    /// Somebody is in a datacenter from now on.
    pub(crate) fn enter(&mut self, place: Place, part: Part, id: NodeId) {
        let at = match self.position(place) {
            Ok(at) => at,
            Err(at) => {
                let ring = Ring::new();
                self.all.insert(at, Datacenter { place, ring });
                at
            }
        };
        let changed = self.change(at, |ring| ring.insert(part, id));
        *self.count_mut(part) = self.count(part).saturating_add(usize::from(changed));
    }

    /// Somebody was there, and is there no longer.
    pub(crate) fn leave(&mut self, place: Place, part: Part, id: NodeId) {
        let Ok(at) = self.position(place) else {
            return;
        };
        let changed = self.change(at, |ring| ring.remove(part, id));
        *self.count_mut(part) = self.count(part).saturating_sub(usize::from(changed));
        if self.all.get(at).is_some_and(|left| left.ring.is_empty()) {
            self.all.remove(at);
        }
    }

    /// Somebody has moved from one datacenter to another.
    pub(crate) fn travel(&mut self, from: Place, to: Place, part: Part, id: NodeId) {
        self.leave(from, part, id);
        self.enter(to, part, id);
        self.regrouped = true;
    }

    /// Changes the ring of a datacenter, and the bridges accordingly.
    fn change(&mut self, at: usize, change: impl FnOnce(&mut Ring) -> bool) -> bool {
        let quota = self.quota;
        let several = self.all.len() > 1;
        let Some(Datacenter { ring, .. }) = self.all.get_mut(at) else {
            return false;
        };
        let before = bridges(ring, quota);
        let changed = change(ring);
        let after = bridges(ring, quota);
        if before != after {
            for (part, id) in before {
                self.bridges.remove(part, id);
            }
            for (part, id) in after {
                self.bridges.insert(part, id);
            }
            self.regrouped |= several;
        }
        changed
    }

    fn position(&self, place: Place) -> Result<usize, usize> {
        self.all
            .binary_search_by_key(&place, |datacenter| datacenter.place)
    }

    const fn count(&self, part: Part) -> usize {
        match part {
            Part::Live => self.live,
            Part::Down => self.down,
        }
    }

    const fn count_mut(&mut self, part: Part) -> &mut usize {
        match part {
            Part::Live => &mut self.live,
            Part::Down => &mut self.down,
        }
    }
}

/// The most bridges that a datacenter can have.
const MOST_BRIDGES: usize = 8;

/// The bridges of a datacenter, those who fill up included.
fn bridges(ring: &Ring, quota: usize) -> heapless::Vec<(Part, NodeId), MOST_BRIDGES> {
    let live = ring.live().iter().map(|id| (Part::Live, *id));
    let down = ring.down().iter().map(|id| (Part::Down, *id));
    live.chain(down).take(quota.min(MOST_BRIDGES)).collect()
}

fn first(ids: &[NodeId], count: usize) -> &[NodeId] {
    ids.get(..count).unwrap_or(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const fn id(n: u64) -> NodeId {
        NodeId::from_u64(n)
    }

    fn datacenters(members: impl IntoIterator<Item = (u32, u64)>) -> Datacenters {
        let mut all = Datacenters::new(3);
        for (place, n) in members {
            all.enter(Place(place), Part::Live, id(n));
        }
        all
    }

    #[test]
    fn the_bridges_are_the_first_who_take_part_and_the_next_replaces_one_that_goes() {
        let mut all = datacenters((0..20).map(|n| (1 + u32::from(n >= 10), n)));
        assert_eq!(all.bridges_of(Place(1)), [id(0), id(1), id(2)]);
        assert_eq!(all.bridges_of(Place(2)), [id(10), id(11), id(12)]);
        assert_eq!(all.bridges().live().len(), 6);
        assert!(all.take_regrouped() && !all.take_regrouped());
        all.leave(Place(2), Part::Live, id(15));
        assert!(!all.take_regrouped(), "it was no bridge");
        all.leave(Place(2), Part::Live, id(11));
        all.enter(Place(2), Part::Down, id(11));
        assert!(all.take_regrouped());
        assert_eq!(all.bridges_of(Place(2)), [id(10), id(12), id(13)]);
        assert!(all.bridges().down().is_empty());
    }

    #[test]
    fn where_fewer_take_part_the_down_fill_up() {
        let mut all = datacenters([(1, 1), (1, 2), (1, 3), (1, 4), (2, 9)]);
        for n in 1..=3 {
            all.leave(Place(1), Part::Live, id(n));
            all.enter(Place(1), Part::Down, id(n));
        }
        assert_eq!(all.bridges_of(Place(1)), [id(4)]);
        assert_eq!(all.bridges().live(), [id(4), id(9)]);
        assert_eq!(all.bridges().down(), [id(1), id(2)]);
        assert!(!all.is_small(Place(1)), "four are known");
        assert!(all.is_small(Place(2)));
    }

    #[test]
    fn ten_thousand_datacenters_are_looked_up_as_fast_as_ten() {
        let mut all = datacenters((0..10_000).map(|n| (n, u64::from(n) << 32)));
        assert_eq!((all.len(), all.bridges().live().len()), (10_000, 10_000));
        assert_eq!(all.ring(Place(77)).live(), [id(77 << 32)]);
        (0..10_000).for_each(|n| all.leave(Place(n), Part::Live, id(u64::from(n) << 32)));
        assert_eq!((all.len(), all.live_len()), (0, 0));
        assert!(all.bridges().is_empty());
    }

    proptest! {
        /// Whoever comes, goes, falls and moves: the bridges are those that the members make them.
        #[test]
        fn the_bridges_follow_from_the_members_alone(
            steps in proptest::collection::vec((0_u64..40, 0_u32..4, any::<bool>()), 1..200),
        ) {
            let mut all = Datacenters::new(3);
            let mut model: BTreeMap<NodeId, (Place, Part)> = BTreeMap::new();
            for (n, place, live) in steps {
                let (id, place) = (id(n), Place(place));
                let part = if live { Part::Live } else { Part::Down };
                match model.remove(&id) {
                    Some((at, was)) if was == part && at != place => {
                        all.travel(at, place, part, id);
                        model.insert(id, (place, part));
                    }
                    Some((at, was)) => all.leave(at, was, id),
                    None => {
                        all.enter(place, part, id);
                        model.insert(id, (place, part));
                    }
                }
            }
            let of = |place, part| model.iter()
                .filter(move |(_, m)| **m == (place, part)).map(|(id, _)| *id);
            let (mut live, mut down) = (BTreeSet::new(), BTreeSet::new());
            for place in (0..4).map(Place) {
                let bridges = of(place, Part::Live).map(|id| (Part::Live, id));
                let bridges = bridges.chain(of(place, Part::Down).map(|id| (Part::Down, id)));
                for (part, id) in bridges.take(3) {
                    if part == Part::Live { live.insert(id) } else { down.insert(id) };
                }
                prop_assert!(of(place, Part::Live).eq(all.ring(place).live().iter().copied()));
            }
            prop_assert!(live.iter().eq(all.bridges().live()));
            prop_assert!(down.iter().eq(all.bridges().down()));
            let count = |part| model.values().filter(|(_, p)| *p == part).count();
            prop_assert_eq!(all.live_len(), count(Part::Live));
            prop_assert_eq!(all.down_len(), count(Part::Down));
        }
    }
}
