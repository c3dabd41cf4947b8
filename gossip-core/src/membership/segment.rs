//! Segments of the id space: how a push tree divides the members.
//!
//! A node that serves a segment splits it into parts with about as many members each. It hands each part to a
//! member of the part, which does the same with it. The part that contains the node itself stays with the node. A
//! member in doubt relays nothing if another member of its part can: news of a death must not go by way of the
//! dead.
//!
//! The parts and their delegates follow from the segment, the tree and the members alone, so all nodes that know
//! the same members choose alike. Changes of many origins meet in one node, for the same segment of the same
//! tree, and go on together.
//!
//! # Invariant
//!
//! Every part is smaller than the segment that was split. So a push ends, even if its segment was forged.

use core::fmt;
use core::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::identity::NodeId;

/// How many members of a part are tried before one in doubt is taken. If half of a cluster is in doubt, all
/// of 32 are so once in four billion parts. If all of it is, the search would cost O(members).
const DRAWN: usize = 32;

/// The ids from `first` to `last`, both included. A forged segment whose `last` is smaller contains none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// A push tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    /// Its number.
    pub(crate) number: u8,
    /// The interval in which it stands. Another one has other delegates, so none bears it all.
    pub(crate) interval: u64,
}

impl Tree {
    /// The index of the member that serves a part, among so many.
    fn delegate(self, part: Segment, members: usize) -> usize {
        self.draw(members, &[part.first, part.last])
    }

    /// How far from itself in the order of ids a node looks for the one that it tells of its latest news, among so
    /// many others. It is as far for all nodes, so each is told by one.
    #[cfg(feature = "map")]
    pub(crate) fn distance(self, others: usize) -> usize {
        self.draw(others, &[]).saturating_add(1)
    }

    /// A number below `n`, or 0. It is drawn anew for each tree, interval and `purpose`, and is the same on all
    /// nodes.
    fn draw(self, n: usize, purpose: &[NodeId]) -> usize {
        let mut hasher = SipHasher13::new_with_keys(self.interval, u64::from(self.number));
        for id in purpose {
            hasher.write_u64(id.as_u64());
        }
        let wide = u64::try_from(n).unwrap_or(u64::MAX);
        let product = u128::from(hasher.finish()).saturating_mul(u128::from(wide));
        usize::try_from(product >> 64).unwrap_or(0)
    }
}

impl Segment {
    /// The whole id space.
    pub(crate) const ALL: Self = Self {
        first: NodeId::from_u64(0),
        last: NodeId::from_u64(u64::MAX),
    };

    /// A member alone.
    pub(crate) const fn only(id: NodeId) -> Self {
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

    /// `count` parts, each with about as many of the sorted `members`, which are all that lie in the segment.
    /// Each part is given with its members. There are at least as many members as parts.
    fn parts(self, members: &[NodeId], count: usize) -> impl Iterator<Item = (Self, &[NodeId])> {
        debug_assert!(count > 0 && count <= members.len(), "no part is empty");
        let bound = move |n: usize| {
            members
                .len()
                .saturating_mul(n)
                .checked_div(count)
                .unwrap_or(0)
        };
        (0..count).map(move |n| {
            let (start, end) = (bound(n), bound(n.saturating_add(1)));
            let begins = if n == 0 { None } else { members.get(start) };
            let ends = members.get(end).map(|next| next.as_u64().wrapping_sub(1));
            let part = Self {
                first: begins.copied().unwrap_or(self.first),
                last: ends.map_or(self.last, NodeId::from_u64),
            };
            (part, members.get(start..end).unwrap_or_default())
        })
    }
}

/// Divides a segment among those of the sorted `members` that lie in it, without `own`, into `fanout` parts. If it
/// contains no more than `fanout` members, each of them is served alone.
pub(crate) fn divide(
    members: &[NodeId],
    own: NodeId,
    segment: Segment,
    fanout: usize,
    tree: Tree,
    is_doubted: impl Fn(NodeId) -> bool,
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
    for (part, inside) in segment.parts(inside, fanout) {
        debug_assert!(part.width() < segment.width(), "so a push ends");
        if part.contains(own) {
            division.own = Some(part);
            continue;
        }
        let start = tree.delegate(part, inside.len());
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

/// The widest part that a tree hands to `own`, whoever begins it. `None` if it hands it no part but its own.
#[cfg(any(test, feature = "map"))]
pub(crate) fn served(
    members: &[NodeId],
    own: NodeId,
    fanout: usize,
    tree: Tree,
) -> Option<Segment> {
    let (mut segment, mut inside) = (Segment::ALL, members);
    while inside.len() > fanout {
        (segment, inside) = segment
            .parts(inside, fanout)
            .find(|(part, _)| part.contains(own))?;
        if inside.get(tree.delegate(segment, inside.len())) == Some(&own) {
            return Some(segment);
        }
    }
    None
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

    const fn tree(interval: u64) -> Tree {
        Tree {
            number: 0,
            interval,
        }
    }

    /// Follows a push to its end. How often each member was reached, and by how many hops at most.
    fn follow(
        members: &[NodeId],
        from: Delegation,
        fanout: usize,
        is_doubted: impl Fn(NodeId) -> bool,
        interval: u64,
    ) -> (BTreeMap<NodeId, u32>, u32) {
        let mut reached: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut open = std::vec![(from, 0)];
        let mut deepest = 0;
        while let Some((at, hops)) = open.pop() {
            *reached.entry(at.to).or_default() += 1;
            deepest = deepest.max(hops);
            let mut rest = Some(at.segment);
            while let Some(segment) = rest {
                let division = divide(members, at.to, segment, fanout, tree(interval), &is_doubted);
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
    fn the_parts_tile_the_segment_and_have_as_many_members_each() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let members = members((0..100).map(|_| rng.next_u64()));
        for (first, last) in [(0, u64::MAX), (1 << 62, 1 << 63), (u64::MAX / 2, u64::MAX)] {
            let segment = Segment {
                first: NodeId::from_u64(first),
                last: NodeId::from_u64(last),
            };
            let inside = segment.of(&members);
            for count in 2..12 {
                let parts: Vec<_> = segment.parts(inside, count).collect();
                assert_eq!(parts.len(), count);
                assert_eq!(parts.first().unwrap().0.first, segment.first);
                assert_eq!(parts.last().unwrap().0.last, segment.last);
                let adjoin =
                    |pair: &[(Segment, _)]| pair[0].0.last.as_u64() + 1 == pair[1].0.first.as_u64();
                assert!(parts.windows(2).all(adjoin));
                for (part, theirs) in parts {
                    assert_eq!(part.of(&members), theirs);
                    assert!(theirs.len() - inside.len() / count <= 1);
                }
            }
        }
    }

    #[test]
    fn all_nodes_choose_the_same_delegates_and_others_in_the_next_interval() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let members = members((0..100).map(|_| rng.next_u64()));
        let delegates = |own, interval| {
            let division = divide(&members, own, Segment::ALL, 10, tree(interval), |_| false);
            assert!(division.own.unwrap().contains(own));
            division.delegations
        };
        // Every delegate, with its part, as the others see it.
        let all = |interval| {
            let seen = members.iter().flat_map(|own| delegates(*own, interval));
            seen.map(|delegation| (delegation.segment, delegation.to))
                .collect::<BTreeMap<_, _>>()
        };
        let expected = all(1);
        assert_eq!(expected.len(), 10);
        let mut served_by_delegates = 0;
        for own in &members {
            let agrees = |seen: &Delegation| expected[&seen.segment] == seen.to;
            assert!(delegates(*own, 1).iter().all(agrees));
            let segment = served(&members, *own, 10, tree(1));
            let its = expected.iter().find(|(_, to)| *to == own);
            assert_eq!(segment, its.map(|(segment, _)| *segment));
            served_by_delegates += segment.map_or(0, |segment| segment.of(&members).len());
        }
        assert_eq!(served_by_delegates, members.len());
        assert_ne!(all(2), expected);
    }

    #[test]
    fn a_thousand_members_are_reached_in_three_hops() {
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
        assert_eq!((reached.len(), hops), (1000, 3));
    }

    #[test]
    fn if_all_members_are_in_doubt_few_of_them_are_tried() {
        let members = members((0..1000_u64).map(|n| n << 54));
        let looks = Cell::new(0);
        let is_doubted = |_| {
            looks.set(looks.get() + 1);
            true
        };
        let division = divide(&members, members[0], Segment::ALL, 10, tree(1), is_doubted);
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
