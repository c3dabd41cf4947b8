//! Datacenters: gossip stays inside, and a few bridges speak for each of them.
//!
//! A member publishes the name of its datacenter. All members that publish none form one datacenter. Each
//! datacenter has a [`Ring`] of its own, on which its members are neighbours, meet in rounds, and pass on
//! what is pushed.
//!
//! The **bridges** of a datacenter are the first few of its members that take part, in the order of their
//! ids. Ids are hashes, so this is a rendezvous choice (Thaler and Ravishankar, *Using Name-Based Mappings
//! to Increase Hit Rates*, 1998): nodes that know the same members know the same bridges, and a bridge
//! that goes is replaced without moving another. If fewer members take part than there should be bridges,
//! members that are down fill up, so somebody goes on voting against them.
//!
//! Where members *say* that they are bridges, and one of them takes part, only those that say so are bridges:
//! perhaps no other member reaches another datacenter.
//!
//! The bridges of all datacenters stand on one more ring, on which they observe one another. It holds a few
//! members for each datacenter, so the traffic between datacenters does not grow with their size.
//!
//! # Invariants
//!
//! - Datacenters are sorted by place, and none is empty.
//! - The ring of bridges holds exactly the bridges of all datacenters.
//! - The counts of live and down members are the sums over all rings.
//!
//! # Costs
//!
//! A member that enters or leaves costs O(log n) comparisons and one move within the list of its
//! datacenter. If that changes the bridges, it costs a few moves within their list. Nothing looks at all
//! members or all datacenters.

use alloc::vec::Vec;

use super::ring::{Liveness, Ring};
use crate::identity::NodeId;

/// By what this replica tells datacenters apart: a hash of the name, under a key that no peer knows. Two
/// datacenters of one hash count as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u32);

impl Place {
    /// The datacenter of all members that publish none.
    pub(crate) const UNSAID: Self = Self(0);
}

/// One datacenter.
#[derive(Debug)]
struct Datacenter {
    place: Place,
    ring: Ring,
    /// Those of its members that say that they are bridges.
    named: Ring,
}

impl Datacenter {
    /// The members of which the first few are bridges.
    fn candidates(&self) -> &Ring {
        if self.named.live().is_empty() {
            &self.ring
        } else {
            &self.named
        }
    }
}

/// All datacenters that have a member which takes part or is down.
#[derive(Debug)]
pub(crate) struct Datacenters {
    all: Vec<Datacenter>,
    bridges: Ring,
    /// How many bridges a datacenter should have.
    quota: usize,
    live: usize,
    down: usize,
    /// Whether bridges have changed, or a member has moved, since the last call of `take_regrouped`.
    regrouped: bool,
}

/// The ring of a datacenter without members.
static NOBODY: Ring = Ring::new();

impl Datacenters {
    /// No datacenter yet. `quota` is how many bridges a datacenter should have.
    pub(crate) const fn new(quota: usize) -> Self {
        debug_assert!(quota <= MOST_BRIDGES);
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

    /// How many members are down.
    pub(crate) const fn down_len(&self) -> usize {
        self.down
    }

    /// The members that are down, in all datacenters.
    pub(crate) fn down(&self) -> impl Iterator<Item = NodeId> + '_ {
        let rings = self.all.iter().map(|datacenter| &datacenter.ring);
        rings.flat_map(|ring| ring.down().iter().copied())
    }

    /// The members of a datacenter.
    pub(crate) fn ring(&self, place: Place) -> &Ring {
        self.get(place)
            .map_or(&NOBODY, |datacenter| &datacenter.ring)
    }

    fn get(&self, place: Place) -> Option<&Datacenter> {
        self.all.get(self.position(place).ok()?)
    }

    /// The bridges of all datacenters.
    pub(crate) const fn bridges(&self) -> &Ring {
        &self.bridges
    }

    /// The bridges of a datacenter that take part.
    pub(crate) fn bridges_of(&self, place: Place) -> &[NodeId] {
        let candidates = self.get(place).map_or(&NOBODY, Datacenter::candidates);
        first(candidates.live(), self.quota)
    }

    /// Whether a datacenter has so few members, live and down, that all of them are bridges: too few to
    /// vouch for one another.
    pub(crate) fn is_small(&self, place: Place) -> bool {
        let Some(datacenter) = self.get(place) else {
            return true;
        };
        let len = datacenter.ring.len();
        len <= self.quota && datacenter.candidates().len() == len
    }

    /// Whether a member may reach other datacenters: it says that it is a bridge, or nobody beside it does.
    pub(crate) fn may_cross(&self, place: Place, id: NodeId) -> bool {
        let named = self.get(place).map_or(&NOBODY, |here| &here.named);
        named.live().is_empty() || named.contains(Liveness::Live, id)
    }

    /// How many datacenters there are.
    pub(crate) const fn len(&self) -> usize {
        self.all.len()
    }

    /// All datacenters but the one at `place`, from the `start`-th on and around.
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

    /// A member is in a datacenter from now on, and may be `named` as a bridge.
    pub(crate) fn enter(&mut self, place: Place, liveness: Liveness, id: NodeId, named: bool) {
        let at = match self.position(place) {
            Ok(at) => at,
            Err(at) => {
                let (ring, named) = (Ring::new(), Ring::new());
                self.all.insert(at, Datacenter { place, ring, named });
                at
            }
        };
        self.change(at, named, |ring| ring.insert(liveness, id));
        let count = self.count_mut(liveness);
        *count = count.saturating_add(1);
    }

    /// A member is in its datacenter no longer.
    pub(crate) fn leave(&mut self, place: Place, liveness: Liveness, id: NodeId, named: bool) {
        let found = self.position(place);
        debug_assert!(found.is_ok(), "{id} is in no known datacenter");
        let Ok(at) = found else {
            return;
        };
        self.change(at, named, |ring| ring.remove(liveness, id));
        let count = self.count_mut(liveness);
        debug_assert!(*count > 0, "the member was counted");
        *count = count.saturating_sub(1);
        if self.all.get(at).is_some_and(|left| left.ring.is_empty()) {
            self.all.remove(at);
        }
    }

    /// A member has moved from one datacenter to another, or is named as a bridge, or no longer.
    pub(crate) fn travel(
        &mut self,
        from: (Place, bool),
        to: (Place, bool),
        liveness: Liveness,
        id: NodeId,
    ) {
        debug_assert_ne!(from, to);
        self.leave(from.0, liveness, id, from.1);
        self.enter(to.0, liveness, id, to.1);
        self.regrouped = true;
    }

    /// Changes the ring of a datacenter, and the ring of bridges accordingly.
    fn change(&mut self, at: usize, named: bool, change: impl Fn(&mut Ring)) {
        let quota = self.quota;
        let several = self.all.len() > 1;
        debug_assert!(at < self.all.len(), "a position that was just found");
        let Some(datacenter) = self.all.get_mut(at) else {
            return;
        };
        let before = bridges(datacenter.candidates(), quota);
        change(&mut datacenter.ring);
        if named {
            change(&mut datacenter.named);
        }
        let after = bridges(datacenter.candidates(), quota);
        if before != after {
            for (liveness, id) in before {
                self.bridges.remove(liveness, id);
            }
            for (liveness, id) in after {
                self.bridges.insert(liveness, id);
            }
            self.regrouped |= several;
        }
    }

    fn position(&self, place: Place) -> Result<usize, usize> {
        self.all
            .binary_search_by_key(&place, |datacenter| datacenter.place)
    }

    const fn count_mut(&mut self, liveness: Liveness) -> &mut usize {
        match liveness {
            Liveness::Live => &mut self.live,
            Liveness::Down => &mut self.down,
        }
    }
}

/// The most bridges of a datacenter that the configuration allows.
const MOST_BRIDGES: usize = 8;

/// The bridges of a datacenter, including the members that are down and fill up.
fn bridges(ring: &Ring, quota: usize) -> heapless::Vec<(Liveness, NodeId), MOST_BRIDGES> {
    let live = ring.live().iter().map(|id| (Liveness::Live, *id));
    let down = ring.down().iter().map(|id| (Liveness::Down, *id));
    live.chain(down).take(quota.min(MOST_BRIDGES)).collect()
}

fn first(ids: &[NodeId], count: usize) -> &[NodeId] {
    ids.get(..count).unwrap_or(ids)
}

#[cfg(test)]
impl Datacenters {
    /// Asserts the invariants.
    pub(super) fn check(&self) {
        let sorted = |one: &Datacenter, next: &Datacenter| one.place < next.place;
        assert!(self.all.is_sorted_by(sorted), "{self:?}");
        assert!(
            self.all
                .iter()
                .all(|datacenter| !datacenter.ring.is_empty())
        );
        let mut expected = Ring::new();
        let (mut live, mut down) = (0, 0);
        for datacenter in &self.all {
            let ring = &datacenter.ring;
            ring.check();
            datacenter.named.check();
            live += ring.live().len();
            down += ring.down().len();
            for (liveness, id) in bridges(datacenter.candidates(), self.quota) {
                expected.insert(liveness, id);
            }
        }
        assert_eq!((self.live, self.down), (live, down));
        assert_eq!(self.bridges.live(), expected.live());
        assert_eq!(self.bridges.down(), expected.down());
    }
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
            all.enter(Place(place), Liveness::Live, id(n), false);
        }
        all
    }

    #[test]
    fn the_bridges_are_the_first_live_members_and_the_next_replaces_one_that_goes() {
        let mut all = datacenters((0..20).map(|n| (1 + u32::from(n >= 10), n)));
        assert_eq!(all.bridges_of(Place(1)), [id(0), id(1), id(2)]);
        assert_eq!(all.bridges_of(Place(2)), [id(10), id(11), id(12)]);
        assert_eq!(all.bridges().live().len(), 6);
        assert!(all.take_regrouped() && !all.take_regrouped());
        all.leave(Place(2), Liveness::Live, id(15), false);
        assert!(!all.take_regrouped(), "15 was no bridge");
        all.leave(Place(2), Liveness::Live, id(11), false);
        all.enter(Place(2), Liveness::Down, id(11), false);
        assert!(all.take_regrouped());
        assert_eq!(all.bridges_of(Place(2)), [id(10), id(12), id(13)]);
        assert!(all.bridges().down().is_empty());
    }

    #[test]
    fn if_too_few_members_take_part_the_down_fill_up() {
        let mut all = datacenters([(1, 1), (1, 2), (1, 3), (1, 4), (2, 9)]);
        for n in 1..=3 {
            all.leave(Place(1), Liveness::Live, id(n), false);
            all.enter(Place(1), Liveness::Down, id(n), false);
        }
        assert_eq!(all.bridges_of(Place(1)), [id(4)]);
        assert_eq!(all.bridges().live(), [id(4), id(9)]);
        assert_eq!(all.bridges().down(), [id(1), id(2)]);
        assert!(!all.is_small(Place(1)), "four are known");
        assert!(all.is_small(Place(2)));
    }

    #[test]
    fn who_says_that_it_is_a_bridge_is_one_in_place_of_the_first() {
        let mut all = datacenters((0..20).map(|n| (1 + u32::from(n >= 10), n)));
        let say = |all: &mut Datacenters, n, named: bool| {
            let place = Place(1 + u32::from(n >= 10));
            all.travel((place, !named), (place, named), Liveness::Live, id(n));
            all.check();
        };
        say(&mut all, 7, true);
        say(&mut all, 9, true);
        assert_eq!(all.bridges_of(Place(1)), [id(7), id(9)]);
        assert_eq!(all.bridges().live().len(), 5);
        assert!(all.may_cross(Place(1), id(7)) && !all.may_cross(Place(1), id(0)));
        assert!(all.may_cross(Place(2), id(10)), "nobody there says so");
        say(&mut all, 7, false);
        all.leave(Place(1), Liveness::Live, id(9), true);
        assert_eq!(all.bridges_of(Place(1)), [id(0), id(1), id(2)]);
        assert!(all.may_cross(Place(1), id(0)));
    }

    #[test]
    fn a_small_datacenter_with_a_named_bridge_vouches_for_itself() {
        let mut all = datacenters([(1, 1), (1, 2), (1, 3), (2, 9)]);
        assert!(all.is_small(Place(1)));
        let place = Place(1);
        all.travel((place, false), (place, true), Liveness::Live, id(2));
        assert!(!all.is_small(place), "nobody abroad observes the other two");
    }

    #[test]
    fn ten_thousand_datacenters_are_looked_up_as_fast_as_ten() {
        let mut all = datacenters((0..10_000).map(|n| (n, u64::from(n) << 32)));
        assert_eq!((all.len(), all.bridges().live().len()), (10_000, 10_000));
        assert_eq!(all.ring(Place(77)).live(), [id(77 << 32)]);
        (0..10_000)
            .for_each(|n| all.leave(Place(n), Liveness::Live, id(u64::from(n) << 32), false));
        assert_eq!((all.len(), all.live_len()), (0, 0));
        assert!(all.bridges().is_empty());
    }

    proptest! {
        /// Whichever members come, go, fall and move: the bridges follow from the members that are there.
        #[test]
        fn the_bridges_follow_from_the_members_alone(
            steps in proptest::collection::vec((0_u64..40, 0_u32..4, any::<bool>(), 0..4), 1..200),
        ) {
            let mut all = Datacenters::new(3);
            let mut model: BTreeMap<NodeId, (Place, Liveness, bool)> = BTreeMap::new();
            for (n, place, live, named) in steps {
                let named = named == 0;
                let (id, place) = (id(n), Place(place));
                let part = if live { Liveness::Live } else { Liveness::Down };
                match model.remove(&id) {
                    Some((at, was, said)) if was == part && (at, said) != (place, named) => {
                        all.travel((at, said), (place, named), part, id);
                        model.insert(id, (place, part, named));
                    }
                    Some((at, was, said)) => all.leave(at, was, id, said),
                    None => {
                        all.enter(place, part, id, named);
                        model.insert(id, (place, part, named));
                    }
                }
            }
            let of = |place, part| model.iter()
                .filter(move |(_, m)| (m.0, m.1) == (place, part)).map(|(id, _)| *id);
            let (mut live, mut down) = (BTreeSet::new(), BTreeSet::new());
            for place in (0..4).map(Place) {
                let bridges = of(place, Liveness::Live).map(|id| (Liveness::Live, id));
                let bridges = bridges.chain(of(place, Liveness::Down).map(|id| (Liveness::Down, id)));
                let says_so = |id: &NodeId| model.get(id).is_some_and(|m| m.2);
                let is_named = of(place, Liveness::Live).any(|id| says_so(&id));
                let bridges = bridges.filter(|(_, id)| !is_named || says_so(id));
                for (part, id) in bridges.take(3) {
                    if part == Liveness::Live { live.insert(id) } else { down.insert(id) };
                }
                prop_assert!(of(place, Liveness::Live).eq(all.ring(place).live().iter().copied()));
            }
            prop_assert!(live.iter().eq(all.bridges().live()));
            prop_assert!(down.iter().eq(all.bridges().down()));
            all.check();
            let count = |part| model.values().filter(|(_, p, _)| *p == part).count();
            prop_assert_eq!(all.live_len(), count(Liveness::Live));
            prop_assert_eq!(all.down_len(), count(Liveness::Down));
        }
    }
}
