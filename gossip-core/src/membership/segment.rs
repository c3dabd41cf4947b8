//! Segments of the id space: how a push tree divides the members.
//!
//! A node that serves a segment splits it into equal parts. It hands each part to a random member of the
//! part, which does the same with it. The part that contains the node itself stays with the node. A member
//! in doubt relays nothing if another member of its part can: news of a death must not go by way of the
//! dead.
//!
//! The bounds of the parts follow from the segment alone, so all nodes split alike. Changes of many origins
//! that reach one node for the same segment of the same tree go on together.
//!
//! # Invariant
//!
//! Every part is smaller than the segment that was split. So a push ends, even if its segment was forged.

use core::fmt;

use rand_core::Rng;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::identity::NodeId;
use crate::rng::below;

/// How many members of a part are tried before one in doubt is taken. If half of a cluster is in doubt, all
/// of 32 are so once in four billion parts. If all of it is, the search would cost O(members).
const DRAWN: usize = 32;

/// The ids from `first` to `last`, both included. A forged segment whose `last` is smaller contains none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    first: NodeId,
    last: NodeId,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

/// A segment and the member that is to serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delegation {
    pub(crate) to: NodeId,
    pub(crate) segment: Segment,
}

/// A segment that was divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Division {
    pub(crate) delegations: SmallVec<[Delegation; 16]>,
    /// The part that stays with the node that divides.
    pub(crate) own: Option<Segment>,
}

impl Segment {
    /// The whole id space.
    pub(crate) const ALL: Self = Self {
        first: NodeId::from_u64(0),
        last: NodeId::from_u64(u64::MAX),
    };

    const fn only(id: NodeId) -> Self {
        Self {
            first: id,
            last: id,
        }
    }

    fn contains(self, id: NodeId) -> bool {
        self.first <= id && id <= self.last
    }

    /// How many ids it contains.
    pub(crate) fn width(self) -> u128 {
        let (first, last) = (self.first.as_u64(), self.last.as_u64());
        last.checked_sub(first)
            .map_or(0, |by| u128::from(by).saturating_add(1))
    }

    /// The part of these members, which are sorted, that lies in the segment.
    fn of(self, members: &[NodeId]) -> &[NodeId] {
        let start = members.partition_point(|id| *id < self.first);
        let end = members.partition_point(|id| *id <= self.last);
        members.get(start..end).unwrap_or_default()
    }

    /// Whether no other of these sorted members than `own` lies in the segment.
    pub(crate) fn is_empty_but_for(self, own: NodeId, members: &[NodeId]) -> bool {
        self.of(members).iter().all(|id| *id == own)
    }

    /// `count` parts of about the same width, or fewer if the segment has fewer ids. Part `n` begins at
    /// `width * n / count`, computed without numbers that are wider than an id.
    fn parts(self, count: usize) -> impl Iterator<Item = Self> {
        let (first, last) = (self.first.as_u64(), self.last.as_u64());
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let (each, rest) = match last.checked_sub(first) {
            Some(by) if count > 0 => (by.div_euclid(count), by.rem_euclid(count).saturating_add(1)),
            _ => (0, 0),
        };
        let extra = move |n: u64| rest.saturating_mul(n).checked_div(count).unwrap_or(0);
        let bound = move |n: u64| {
            let by = each.wrapping_mul(n).wrapping_add(extra(n));
            first.wrapping_add(by)
        };
        (0..count).filter_map(move |n| {
            let next = n.saturating_add(1);
            // The bound after the last part may lie one beyond the greatest id, which wraps to 0.
            (each > 0 || extra(next) > extra(n)).then(|| Self {
                first: NodeId::from_u64(bound(n)),
                last: NodeId::from_u64(bound(next).wrapping_sub(1)),
            })
        })
    }
}

/// Divides a segment among those of the sorted `members` that lie in it, without `own`, into at most
/// `fanout` parts. If it contains no more than `fanout` members, each of them is served alone.
pub(crate) fn divide(
    members: &[NodeId],
    own: NodeId,
    segment: Segment,
    fanout: usize,
    is_doubted: impl Fn(NodeId) -> bool,
    rng: &mut impl Rng,
) -> Division {
    debug_assert!(fanout >= 2, "a segment must become smaller");
    let mut division = Division::default();
    let inside = segment.of(members);
    if inside.len() <= fanout {
        let alone = |to: &NodeId| Delegation {
            to: *to,
            segment: Segment::only(*to),
        };
        let others = inside.iter().filter(|id| **id != own);
        division.delegations = others.map(alone).collect();
        return division;
    }
    for part in segment.parts(fanout) {
        if part.contains(own) {
            division.own = Some(part);
            continue;
        }
        debug_assert!(part.width() < segment.width(), "so a push ends");
        let inside = part.of(inside);
        let start = below(rng, inside.len());
        debug_assert!(start <= inside.len());
        let (before, from) = inside.split_at(start.min(inside.len()));
        let mut drawn = from.iter().chain(before);
        let mut left = DRAWN;
        let takes = |id: &&NodeId| {
            left = left.saturating_sub(1);
            left == 0 || !is_doubted(**id)
        };
        if let Some(to) = drawn.find(takes).or(inside.first()) {
            division.delegations.push(Delegation {
                to: *to,
                segment: part,
            });
        }
    }
    division
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn members(ids: impl IntoIterator<Item = u64>) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = ids.into_iter().map(NodeId::from_u64).collect();
        members.sort_unstable();
        members
    }

    /// Follows a push to its end. How often each member was reached, and by how many hops at most.
    fn follow(
        members: &[NodeId],
        from: Delegation,
        fanout: usize,
        is_doubted: impl Fn(NodeId) -> bool,
        seed: u64,
    ) -> (BTreeMap<NodeId, u32>, u32) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut reached: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut open = std::vec![(from, 0)];
        let mut deepest = 0;
        while let Some((at, hops)) = open.pop() {
            *reached.entry(at.to).or_default() += 1;
            deepest = deepest.max(hops);
            let mut rest = Some(at.segment);
            while let Some(segment) = rest {
                let division = divide(members, at.to, segment, fanout, &is_doubted, &mut rng);
                assert!(division.delegations.len() <= fanout);
                for next in &division.delegations {
                    assert!(next.segment.width() < segment.width() || next.segment.width() == 1);
                    let alone = segment.of(members).len() <= fanout
                        || next.segment.of(members).iter().all(|id| is_doubted(*id));
                    assert!(
                        alone || !is_doubted(next.to),
                        "news goes by way of the dead"
                    );
                    open.push((*next, hops + 1));
                }
                rest = division.own;
                assert!(rest.is_none_or(|rest| rest.width() < segment.width()));
            }
        }
        (reached, deepest)
    }

    #[test]
    fn the_parts_tile_the_segment() {
        for (first, last) in [
            (0, u64::MAX),
            (7, 7),
            (7, 8),
            (3, 1000),
            (u64::MAX - 2, u64::MAX),
        ] {
            let segment = Segment {
                first: NodeId::from_u64(first),
                last: NodeId::from_u64(last),
            };
            for count in 1..12 {
                let parts: Vec<_> = segment.parts(count).collect();
                assert_eq!(parts.first().unwrap().first, segment.first);
                assert_eq!(parts.last().unwrap().last, segment.last);
                assert!(
                    parts
                        .windows(2)
                        .all(|pair| { pair[0].last.as_u64() + 1 == pair[1].first.as_u64() })
                );
                assert_eq!(
                    parts.iter().map(|part| part.width()).sum::<u128>(),
                    segment.width()
                );
                let wide = u128::try_from(count).unwrap();
                let bound = |n: u128| u128::from(first) + segment.width() * n / wide;
                let begins = (0..wide).filter(|n| bound(*n) < bound(n + 1)).map(bound);
                let first = |part: &Segment| u128::from(part.first.as_u64());
                assert!(begins.eq(parts.iter().map(first)));
            }
        }
    }

    #[test]
    fn a_thousand_members_are_reached_in_four_hops() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let members = members((0..1000).map(|_| rng.next_u64()));
        let to = members[0];
        let (reached, hops) = follow(
            &members,
            Delegation {
                to,
                segment: Segment::ALL,
            },
            10,
            |_| false,
            1,
        );
        assert_eq!((reached.len(), hops <= 4), (1000, true), "{hops}");
    }

    #[test]
    fn if_all_members_are_in_doubt_few_of_them_are_tried() {
        let members = members((0..1000_u64).map(|n| n << 54));
        let looks = Cell::new(0);
        let is_doubted = |_| {
            looks.set(looks.get() + 1);
            true
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let division = divide(&members, members[0], Segment::ALL, 10, is_doubted, &mut rng);
        assert_eq!(
            division.delegations.len(),
            9,
            "each part is served all the same"
        );
        assert!(looks.get() <= 9 * DRAWN, "{}", looks.get());
    }

    #[test]
    fn a_segment_without_other_members_is_empty() {
        let members = members([5, 7]);
        let id = NodeId::from_u64;
        let segment = |first, last| Segment {
            first: id(first),
            last: id(last),
        };
        assert!(segment(5, 6).is_empty_but_for(id(5), &members));
        assert!(segment(6, 6).is_empty_but_for(id(5), &members));
        assert!(!segment(5, 7).is_empty_but_for(id(5), &members));
        assert!(!segment(7, 7).is_empty_but_for(id(5), &members));
        assert!(!segment(5, 5).is_empty_but_for(id(6), &members));
    }

    proptest! {
        /// Without loss, a push reaches every member exactly once.
        #[test]
        fn a_push_tree_reaches_everybody_once(
            ids in proptest::collection::btree_set(any::<u64>(), 1..200),
            fanout in 2_usize..12, doubted in 1_u64..5, seed in any::<u64>(),
        ) {
            let members = members(ids.iter().copied());
            let to = NodeId::from_u64(*ids.iter().next().unwrap());
            let is_doubted = |id: NodeId| id.as_u64().is_multiple_of(doubted);
            let (reached, _) = follow(&members, Delegation { to, segment: Segment::ALL }, fanout, is_doubted, seed);
            prop_assert_eq!(reached.len(), ids.len());
            prop_assert!(reached.values().all(|times| *times == 1));
        }

        /// Whatever segment a peer forges, it causes no more messages than there are members.
        #[test]
        fn forged_segments_end(
            ids in proptest::collection::btree_set(0_u64..64, 1..40),
            own in 0_u64..64, first in 0_u64..64, last in 0_u64..64, seed in any::<u64>(),
        ) {
            let members = members(ids.iter().copied());
            let segment = Segment { first: NodeId::from_u64(first), last: NodeId::from_u64(last) };
            let (reached, _) = follow(&members, Delegation { to: NodeId::from_u64(own), segment }, 3, |_| false, seed);
            let sent: u32 = reached.values().sum();
            prop_assert!(usize::try_from(sent).unwrap() <= ids.len() + 1);
        }
    }
}
