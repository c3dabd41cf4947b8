//! A ring of ids: who stands beside whom.
//!
//! Ids are hashes, so a ring is a random arrangement of its members. Two nodes with the same view
//! agree on every neighbourhood; where views differ, heartbeats or votes go to a few that do not
//! expect them, which costs coverage for a moment and nothing else.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::identity::NodeId;

/// A neighbourhood; 16 is the most that the configuration allows on one ring.
pub(crate) type Neighbours = SmallVec<[NodeId; 16]>;

/// How somebody stands on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It takes part.
    Live,
    /// It is down.
    Down,
}

/// Those who take part, and those who are down.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Both sorted.
    live: Vec<NodeId>,
    down: Vec<NodeId>,
}

/// Which way around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// The greater ids first.
    Ahead,
    /// The smaller ids first.
    Behind,
}

impl Ring {
    pub(crate) const fn new() -> Self {
        Self {
            live: Vec::new(),
            down: Vec::new(),
        }
    }

    /// Those who take part, in the order of their ids.
    pub(crate) fn live(&self) -> &[NodeId] {
        &self.live
    }

    /// Those who are down, in the order of their ids.
    pub(crate) fn down(&self) -> &[NodeId] {
        &self.down
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.down.is_empty()
    }

    /// Puts somebody in. Tells whether it was not there.
    pub(crate) fn insert(&mut self, part: Part, id: NodeId) -> bool {
        let list = self.list(part);
        let place = list.binary_search(&id);
        if let Err(at) = place {
            grow(list);
            list.insert(at, id);
        }
        place.is_err()
    }

    /// Takes somebody out. Tells whether it was there.
    pub(crate) fn remove(&mut self, part: Part, id: NodeId) -> bool {
        let list = self.list(part);
        let place = list.binary_search(&id);
        if let Ok(at) = place {
            list.remove(at);
        }
        place.is_ok()
    }

    const fn list(&mut self, part: Part) -> &mut Vec<NodeId> {
        match part {
            Part::Live => &mut self.live,
            Part::Down => &mut self.down,
        }
    }

    /// Whether somebody stands here in this way.
    pub(crate) fn contains(&self, part: Part, id: NodeId) -> bool {
        let list = match part {
            Part::Live => &self.live,
            Part::Down => &self.down,
        };
        list.binary_search(&id).is_ok()
    }

    /// The `k` members around `id`, half on each side, of those who take part and of those who are
    /// down and `count`; everybody where there are no more than that. Not sorted.
    pub(crate) fn around(
        &self,
        id: NodeId,
        k: usize,
        counts: impl Fn(NodeId) -> bool,
    ) -> Neighbours {
        let half = k.div_euclid(2);
        let side = |direction| {
            let all = self.walk(id, direction);
            let counting = all.filter(|(other, part)| *part == Part::Live || counts(*other));
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

    /// Whether two who take part are among the `k` around each other. O(log n).
    pub(crate) fn is_near(&self, one: NodeId, other: NodeId, k: usize) -> bool {
        let place = |id| self.live.binary_search(&id);
        let (Ok(one), Ok(other)) = (place(one), place(other)) else {
            // One of them does not take part: whoever asks should look closer.
            return true;
        };
        let apart = one.abs_diff(other);
        let around = self.live.len().saturating_sub(apart);
        apart.min(around) <= k.div_euclid(2)
    }

    /// Those who are down and whom `own` would observe if they were not: within reach of `k / 2`
    /// who take part on either side. Somebody has to go on voting against them when their old
    /// observers are gone, or a newcomer would take them for alive. The nearest, up to 16; not
    /// sorted.
    pub(crate) fn fallen_nearby(&self, own: NodeId, k: usize) -> Neighbours {
        let half = k.div_euclid(2);
        let mut found = Neighbours::new();
        for direction in [Direction::Ahead, Direction::Behind] {
            let mut live = 0_usize;
            for (id, part) in self.walk(own, direction) {
                match part {
                    Part::Live => live = live.saturating_add(1),
                    Part::Down if !found.contains(&id) => found.push(id),
                    Part::Down => {}
                }
                if live >= half || found.len() >= found.inline_size() {
                    break;
                }
            }
        }
        found
    }

    /// All others, the nearest in one direction first.
    fn walk(&self, from: NodeId, direction: Direction) -> Walk<'_> {
        Walk {
            from,
            direction,
            live: Side::new(&self.live, from),
            down: Side::new(&self.down, from),
        }
    }
}

/// Makes room for one more. By an eighth at a time: tables are large and many, and rarely grow.
pub(crate) fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().div_euclid(8).max(4));
    }
}

/// A walk around a ring, once.
struct Walk<'a> {
    from: NodeId,
    direction: Direction,
    live: Side<'a>,
    down: Side<'a>,
}

/// One of the two lists of a ring, as it is walked along.
struct Side<'a> {
    ids: &'a [NodeId],
    /// How many stand before the start, and whether the start stands among them itself.
    before: usize,
    own: usize,
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
    type Item = (NodeId, Part);

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
            down.map(|id| (id, Part::Down))
        } else {
            self.live.passed = self.live.passed.saturating_add(1);
            live.map(|id| (id, Part::Live))
        }
    }
}
