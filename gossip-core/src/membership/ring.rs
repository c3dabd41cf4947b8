//! The id ring: who observes whom.
//!
//! Ids are hashes, so the ring is a random arrangement of the members. Two nodes with the same view
//! agree on every neighbourhood; where views differ, heartbeats or votes go to a few that do not
//! expect them, which costs coverage for a moment and nothing else.

use smallvec::SmallVec;

use super::member::{Condition, Record};
use super::table::Table;
use crate::id::NodeId;
use crate::sort::sort;
use crate::time::Instant;

/// A neighbourhood; 16 is the most that the configuration allows.
pub(crate) type Neighbours = SmallVec<[NodeId; 16]>;

/// The `k` members around `id` on the ring of those that take part, half on each side; everybody
/// where there are no more than that. Sorted by id.
pub(crate) fn neighbours(table: &Table, id: NodeId, k: usize) -> Neighbours {
    around(table, id, k, |record| record.condition == Condition::Live)
}

/// Whether a member that takes part is among the `k` around `own`. O(log n).
pub(crate) fn is_near(table: &Table, own: NodeId, id: NodeId, k: usize) -> bool {
    let (Ok(own), Ok(id)) = (table.live_position(own), table.live_position(id)) else {
        // One of them does not take part: whoever asks should look closer.
        return true;
    };
    let apart = own.abs_diff(id);
    let around = table.live_len().saturating_sub(apart);
    apart.min(around) <= k.div_euclid(2)
}

/// The members that are down and that `own` would observe if they were not: those within reach of
/// `k / 2` live members on either side. Somebody has to go on voting against them when their old
/// observers are gone, or a newcomer would take them for alive. The nearest, up to 16.
pub(crate) fn fallen_nearby(table: &Table, own: NodeId, k: usize) -> Neighbours {
    let len = table.len();
    let here = table.position(own).unwrap_or_else(|would_be| would_be);
    let half = k.div_euclid(2);
    let mut found = Neighbours::new();
    for forwards in [true, false] {
        let mut live = 0_usize;
        for by in 1..len {
            let step = if forwards { by } else { len.saturating_sub(by) };
            let at = here.wrapping_add(step).checked_rem(len).unwrap_or(0);
            let Some(record) = table.record_at(at) else {
                break;
            };
            match record.condition {
                Condition::Live => live = live.saturating_add(1),
                Condition::Down if !found.contains(&record.id) => found.push(record.id),
                _ => {}
            }
            if live >= half || found.len() >= found.inline_size() {
                break;
            }
        }
    }
    sort(&mut found);
    found
}

/// The members whose votes about `id` count: its neighbours on the ring of those that take part or
/// have been down for less than the settling time. Until then those who replace the fallen have not
/// yet had the time to form an opinion.
pub(crate) fn observers(
    table: &Table,
    id: NodeId,
    k: usize,
    settled_before: Instant,
) -> Neighbours {
    around(table, id, k, |record| match record.condition {
        Condition::Live => true,
        Condition::Down => record.since > settled_before,
        Condition::Left | Condition::Ghost => false,
    })
}

fn around(table: &Table, id: NodeId, k: usize, counts: impl Fn(&Record) -> bool) -> Neighbours {
    let len = table.len();
    let here = table.position(id).unwrap_or_else(|would_be| would_be);
    let half = k.div_euclid(2);
    let mut found = Neighbours::new();
    // Forwards and backwards from `id`, each at most once around and never past the other.
    let step = |from: usize, by: usize| from.wrapping_add(by).checked_rem(len).unwrap_or(0);
    let mut ahead = 0_usize;
    let mut on_this_side = 0_usize;
    while on_this_side < half && ahead < len {
        ahead = ahead.saturating_add(1);
        let Some(record) = table.record_at(step(here, ahead)) else {
            break;
        };
        if record.id == id {
            break;
        }
        if counts(record) {
            found.push(record.id);
            on_this_side = on_this_side.saturating_add(1);
        }
    }
    let mut behind = 0_usize;
    on_this_side = 0;
    while on_this_side < half && behind.saturating_add(ahead) < len {
        behind = behind.saturating_add(1);
        let Some(record) = table.record_at(step(here, len.saturating_sub(behind))) else {
            break;
        };
        if record.id == id || found.contains(&record.id) {
            break;
        }
        if counts(record) {
            found.push(record.id);
            on_this_side = on_this_side.saturating_add(1);
        }
    }
    sort(&mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::hash::HashKey;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;
    use std::vec::Vec;

    fn table(ids: impl IntoIterator<Item = u64>) -> Table {
        let mut table = Table::new(HashKey::of("c"), SipHasher13::new());
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
    fn who_is_near_is_a_neighbour() {
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
    fn the_down_are_skipped_but_stay_observers_for_a_while() {
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
    fn the_fallen_are_observed_by_those_who_stand_around_them() {
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
        /// Observation is mutual: whom I observe observes me.
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
