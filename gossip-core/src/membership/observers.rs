//! Which members observe which.
//!
//! - Members of one datacenter observe their neighbours on its ring.
//! - Bridges also observe their neighbours in other datacenters, on the ring of bridges.
//!
//! Only votes from a member's own datacenter count, with one exception: if the datacenter is so small that
//! all its members are bridges, the votes of its neighbours on the ring of bridges count, too. Otherwise one
//! broken link could take down a member that nobody at home can vouch for.

use super::member::{Condition, Record};
use super::ring::{Liveness, Neighbours};
use super::table::Table;
use crate::config::DEFAULT_NEIGHBOURS;
use crate::identity::NodeId;
use crate::time::Instant;

/// The members that `own` observes and is observed by, sorted by id:
///
/// - the `k` around it on the ring of its datacenter, half on each side, or all if there are fewer;
/// - for a bridge, also those of the `k` around it on the ring of bridges that are in other datacenters.
pub(crate) fn neighbours(table: &Table, own: NodeId, k: usize) -> Neighbours {
    let mut found = table.home(own).around(own, k, |_| false);
    if table.datacenters().bridges().contains(Liveness::Live, own) {
        found.extend(abroad(
            table,
            own,
            table.datacenters().bridges().around(own, k, |_| false),
        ));
    }
    found.sort_unstable();
    found
}

/// Whether a member is among the `k` around `own` in the datacenter of both. If it does not take part, the
/// answer is yes: the caller then looks closer. O(log n).
pub(crate) fn is_near(table: &Table, own: NodeId, id: NodeId, k: usize) -> bool {
    table.place(own) == table.place(id) && table.home(own).is_near(own, id, k)
}

/// The members that are down and that `own` would observe if they were not: at most the nearest 16 on each
/// ring. Sorted by id.
pub(crate) fn fallen_nearby(table: &Table, own: NodeId, k: usize) -> Neighbours {
    let mut found = table.home(own).fallen_nearby(own, k);
    if table.datacenters().bridges().contains(Liveness::Live, own) {
        found.extend(abroad(
            table,
            own,
            table.datacenters().bridges().fallen_nearby(own, k),
        ));
    }
    found.sort_unstable();
    found
}

/// The members whose votes about `id` count: those of its neighbours that observe it, including members that went down after
/// `settled_before`. The members that take the places of those need some time before they can have an
/// opinion.
pub(crate) fn observers(
    table: &Table,
    id: NodeId,
    k: usize,
    settled_before: Instant,
) -> Neighbours {
    let is_fresh = |id| {
        table.get(id).is_some_and(|record| {
            record.condition == Condition::Down && record.since > settled_before
        })
    };
    let mut found = table.home(id).around(id, k, is_fresh);
    found.retain(|other| observes(table, *other, id, k));
    if table.datacenters().is_small(table.place(id)) {
        found.extend(abroad(
            table,
            id,
            table.datacenters().bridges().around(id, k, |_| false),
        ));
    }
    found.sort_unstable();
    found
}

/// Whether one of the `k` members around `id` observes it. It does not if it was configured to observe fewer.
fn observes(table: &Table, other: NodeId, id: NodeId, k: usize) -> bool {
    let settings = table.get(other).and_then(Record::settings);
    let own = settings.map_or(DEFAULT_NEIGHBOURS, |(neighbours, _)| neighbours);
    let own = usize::from(own);
    own >= k || is_near(table, id, other, own)
}

/// Those of the members found that are in another datacenter than `id`.
fn abroad(table: &Table, id: NodeId, found: Neighbours) -> impl Iterator<Item = NodeId> {
    let home = table.place(id);
    found
        .into_iter()
        .filter(move |other| table.place(*other) != home)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::table_hash::HashKey;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::vec::Vec;

    fn table(ids: impl IntoIterator<Item = u64>) -> Table {
        let mut table = Table::new(HashKey::of("c"), SipHasher13::new(), 3);
        for id in ids {
            table.ensure(NodeId::from_u64(id), Instant::ORIGIN);
        }
        table
    }

    fn ids(neighbours: &[NodeId]) -> Vec<u64> {
        neighbours.iter().map(|id| id.as_u64()).collect()
    }

    #[test]
    fn neighbours_stand_half_on_each_side() {
        let table = table(0..20);
        assert_eq!(
            ids(&neighbours(&table, NodeId::from_u64(1), 4)),
            [0, 2, 3, 19]
        );
        assert_eq!(
            ids(&neighbours(&table, NodeId::from_u64(10), 4)),
            [8, 9, 11, 12]
        );
    }

    #[test]
    fn the_near_members_are_the_neighbours() {
        let table = table(0..20);
        for own in 0..20 {
            let around = neighbours(&table, NodeId::from_u64(own), 4);
            for id in (0..20).filter(|id| *id != own) {
                let (own, id) = (NodeId::from_u64(own), NodeId::from_u64(id));
                assert_eq!(is_near(&table, own, id, 4), around.contains(&id));
            }
        }
    }

    #[test]
    fn in_a_small_cluster_everybody_is_a_neighbour() {
        for n in 1..=9 {
            let table = table(0..n);
            for id in 0..n {
                let others: Vec<_> = (0..n).filter(|other| *other != id).collect();
                assert_eq!(
                    ids(&neighbours(&table, NodeId::from_u64(id), 8)),
                    others,
                    "{n} {id}"
                );
            }
        }
    }

    #[test]
    fn a_member_that_is_down_is_skipped_but_stays_an_observer_for_a_while() {
        let mut table = table(0..20);
        let down_at = Instant::from_nanos(100);
        table.set_condition(NodeId::from_u64(9), down_at, Condition::Down);
        let ten = NodeId::from_u64(10);
        assert_eq!(ids(&neighbours(&table, ten, 4)), [7, 8, 11, 12]);
        assert_eq!(
            ids(&observers(&table, ten, 4, Instant::from_nanos(99))),
            [8, 9, 11, 12]
        );
        assert_eq!(ids(&observers(&table, ten, 4, down_at)), [7, 8, 11, 12]);
    }

    #[test]
    fn members_that_are_down_are_observed_by_those_around_them() {
        let mut table = table(0..20);
        for fallen in [9, 10] {
            table.set_condition(NodeId::from_u64(fallen), Instant::ORIGIN, Condition::Down);
        }
        let observe = |own| ids(&fallen_nearby(&table, NodeId::from_u64(own), 4));
        assert_eq!(observe(8), [9, 10]);
        assert_eq!(observe(12), [9, 10]);
        assert_eq!(observe(6), [0; 0]);
        assert_eq!(observe(13), [0; 0]);
        for own in (0..20).filter(|own| ![9, 10].contains(own)) {
            for fallen in [9, 10] {
                let around = neighbours(&table, NodeId::from_u64(fallen), 4);
                let observes = observe(own).contains(&fallen);
                assert_eq!(
                    observes,
                    around.contains(&NodeId::from_u64(own)),
                    "{own} {fallen}"
                );
            }
        }
    }

    proptest! {
        /// Observation is mutual.
        #[test]
        fn neighbourhood_is_symmetric(
            ids in proptest::collection::btree_set(any::<u64>(), 2..40), k in 1_usize..=8,
        ) {
            let table = table(ids.iter().copied());
            for a in &ids {
                for b in neighbours(&table, NodeId::from_u64(*a), 2 * k) {
                    let back = neighbours(&table, b, 2 * k);
                    prop_assert!(back.contains(&NodeId::from_u64(*a)));
                }
            }
        }
    }
}
