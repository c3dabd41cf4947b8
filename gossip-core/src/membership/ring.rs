//! The id ring: who observes whom, and whom a push is delegated to.
//!
//! Ids are hashes, so the ring is a random arrangement of the members. Two nodes with the same view
//! agree on every neighbourhood; where views differ, heartbeats or votes go to a few that do not
//! expect them, which costs coverage for a moment and nothing else.

use core::ops::Range;

use rand_core::Rng;
use smallvec::SmallVec;

use super::member::{Condition, Record};
use super::table::Table;
use crate::id::NodeId;
use crate::rng::below;
use crate::sort::sort;
use crate::time::Instant;

/// A neighbourhood; 16 is the most that the configuration allows.
pub(crate) type Neighbours = SmallVec<[NodeId; 16]>;

/// The `k` members around `id` on the ring of those that take part, half on each side; everybody
/// where there are no more than that. Sorted by id.
pub(crate) fn neighbours(table: &Table, id: NodeId, k: usize) -> Neighbours {
    around(table, id, k, |record| record.condition == Condition::Live)
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

/// An arc of the ring that a push still has to serve, and the member that is to serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delegation {
    pub(crate) to: NodeId,
    pub(crate) first: NodeId,
    pub(crate) last: NodeId,
}

/// Splits the arc from `first` to `last` (the whole ring, where `first` follows `last`) into at most
/// `fanout` parts of equally many members and picks a random member of each to serve it. `own` is
/// served already.
///
/// Each part is a proper subset of the arc, and a receiver takes itself out of its part, so that
/// pushes end however the arcs were chosen.
pub(crate) fn delegate(
    table: &Table,
    own: NodeId,
    first: NodeId,
    last: NodeId,
    fanout: usize,
    rng: &mut impl Rng,
) -> SmallVec<[Delegation; 16]> {
    // The arc as up to two runs of positions, and this node's place taken out of them.
    let runs: [Range<usize>; 2] = if first <= last {
        [table.live_between(first, last), 0..0]
    } else {
        let max = NodeId::from_u64(u64::MAX);
        [
            table.live_between(first, max),
            table.live_between(NodeId::from_u64(0), last),
        ]
    };
    let [head, tail] = &runs;
    let total = head.len().saturating_add(tail.len());
    let nth = |n: usize| {
        let position = if n < head.len() {
            head.start.saturating_add(n)
        } else {
            tail.start.saturating_add(n.saturating_sub(head.len()))
        };
        table.live_at(position).map(|record| record.id)
    };
    let own_at = table.live_position(own).ok().and_then(|position| {
        if head.contains(&position) {
            Some(position.saturating_sub(head.start))
        } else if tail.contains(&position) {
            Some(
                head.len()
                    .saturating_add(position.saturating_sub(tail.start)),
            )
        } else {
            None
        }
    });
    let others = total.saturating_sub(usize::from(own_at.is_some()));
    let other = |n: usize| {
        nth(if own_at.is_some_and(|own| n >= own) {
            n.saturating_add(1)
        } else {
            n
        })
    };
    // No part may reach over this node, or its delegate would send the news back.
    let before = own_at.unwrap_or(0);
    let after = others.saturating_sub(before);
    let parts = fanout.min(others);
    let parts_before = if before == 0 {
        0
    } else if after == 0 {
        parts
    } else {
        let share = parts
            .saturating_mul(before)
            .checked_div(others)
            .unwrap_or(0);
        share.clamp(1, parts.saturating_sub(1).max(1))
    };
    let parts_after = parts.saturating_sub(parts_before).min(after);
    let mut delegations = SmallVec::new();
    let sides = [
        (0, before, parts_before.min(before)),
        (before, after, parts_after),
    ];
    for (offset, len, parts) in sides {
        for part in 0..parts {
            let bound = |part: usize| {
                offset.saturating_add(part.saturating_mul(len).checked_div(parts).unwrap_or(0))
            };
            let (start, end) = (bound(part), bound(part.saturating_add(1)));
            let pick = start.saturating_add(below(rng, end.saturating_sub(start)));
            if let (Some(to), Some(first), Some(last)) =
                (other(pick), other(start), other(end.saturating_sub(1)))
            {
                delegations.push(Delegation { to, first, last });
            }
        }
    }
    delegations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::hash::HashKey;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use siphasher::sip::SipHasher13;
    use std::collections::BTreeMap;
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

        /// Without loss a push reaches every member, each exactly once.
        #[test]
        fn a_push_tree_reaches_everybody_once(
            ids in proptest::collection::btree_set(any::<u64>(), 1..200),
            fanout in 2_usize..12, seed in any::<u64>(),
        ) {
            let table = table(ids.iter().copied());
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let root = NodeId::from_u64(*ids.iter().next().unwrap());
            let mut reached: BTreeMap<NodeId, usize> = BTreeMap::new();
            let mut open = std::vec![Delegation {
                to: root, first: NodeId::from_u64(1), last: NodeId::from_u64(0),
            }];
            while let Some(node) = open.pop() {
                *reached.entry(node.to).or_default() += 1;
                open.extend(delegate(&table, node.to, node.first, node.last, fanout, &mut rng));
            }
            prop_assert_eq!(reached.len(), ids.len());
            prop_assert!(reached.values().all(|times| *times == 1));
        }

        /// Whatever arc a receiver is handed, what it delegates is smaller.
        #[test]
        fn forged_arcs_shrink(
            ids in proptest::collection::btree_set(0_u64..64, 1..40),
            own in 0_u64..64, first in 0_u64..64, last in 0_u64..64, seed in any::<u64>(),
        ) {
            let table = table(ids.iter().copied());
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut open = std::vec![(0, Delegation {
                to: NodeId::from_u64(own),
                first: NodeId::from_u64(first),
                last: NodeId::from_u64(last),
            })];
            let mut sent = 0;
            while let Some((depth, at)) = open.pop() {
                prop_assert!(depth <= ids.len());
                for next in delegate(&table, at.to, at.first, at.last, 3, &mut rng) {
                    prop_assert!(next.to != at.to);
                    sent += 1;
                    open.push((depth + 1, next));
                }
            }
            prop_assert!(sent <= ids.len());
        }
    }
}
