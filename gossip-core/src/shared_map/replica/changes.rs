//! What a map tells of its changes.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::key_index::KeyPlace;
use super::slab::WriteSlot;
use super::{Map, Origin, Write};
use crate::command::{Key, Policy, Value};
use crate::hlc::Stamp;
use crate::identity::NodeId;

/// The most versions in each list of a [`Conflict`]. [`Map::siblings`] has all that stand.
pub const MAX_CONFLICT_VERSIONS: usize = 16;

/// One of the values that stand, or stood, under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The node that wrote it.
    pub writer: NodeId,
    /// The time of the write, by the writer's clock.
    pub stamp: Stamp,
    /// The value, or `None` for a delete.
    pub value: Option<Value>,
}

/// What [`Map::poll_change`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapChange {
    /// What `get` returns for a key has changed.
    Value(Box<ValueChange>),
    /// A write and others did not know each other.
    Conflict(Box<Conflict>),
    /// A value was dropped because its log had been pruned and forgotten elsewhere.
    Dropped(Box<DroppedValue>),
    /// Changes were lost because there was no room for them.
    Lagged,
}

/// What `get` returns for a key has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValueChange {
    /// The key.
    pub key: Key,
    /// What it returned before.
    pub old: Option<Value>,
    /// What it returns now.
    pub new: Option<Value>,
    /// The node whose write, or whose dying write, made the change.
    pub writer: NodeId,
    /// The stamp of that write.
    pub stamp: Stamp,
}

/// Writes of one key that did not know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The key.
    pub key: Key,
    /// What stands now, the latest first, at most [`MAX_CONFLICT_VERSIONS`].
    pub standing: Vec<Version>,
    /// What has lost by its stamp, the latest first, at most [`MAX_CONFLICT_VERSIONS`].
    pub lost: Vec<Version>,
}

/// A value that was dropped, though no node is known to have replaced it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedValue {
    /// The key.
    pub key: Key,
    /// The value and its writer.
    pub dropped: Version,
}

/// Changes that wait to be polled.
///
/// When the queue overflows, [`MapChange::Lagged`] takes the place of everything in it. The queue then
/// counts as full until the application has polled that, so that nothing is prepared in vain.
#[derive(Clone, Debug)]
pub(super) struct ChangeQueue {
    queue: VecDeque<MapChange>,
    capacity: usize,
}

impl ChangeQueue {
    pub(super) const fn new(capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            capacity,
        }
    }

    /// Whether there is room. Otherwise a change need not be prepared.
    pub(super) fn is_open(&self) -> bool {
        self.queue.len() < self.capacity
    }

    pub(super) fn push(&mut self, change: MapChange) {
        if self.is_open() {
            self.queue.push_back(change);
        }
        if !self.is_open() {
            self.queue.clear();
            self.queue.resize(self.capacity.max(1), MapChange::Lagged);
        }
    }

    pub(super) fn pop(&mut self) -> Option<MapChange> {
        let change = self.queue.pop_front();
        if change == Some(MapChange::Lagged) {
            self.queue.clear();
        }
        change
    }
}

impl Map {
    /// The next change, if there is one.
    pub fn poll_change(&mut self) -> Option<MapChange> {
        self.changes.pop()
    }

    /// Tells what a write in this slot has changed. `place` is where its key was before, `old` is what was
    /// read then, and `concurrent` is whether the write has siblings of other origins.
    pub(super) fn tell(
        &mut self,
        key: Key,
        place: Option<KeyPlace>,
        slot: WriteSlot,
        old: Option<Value>,
        (origin, stamp): (Origin, Stamp),
        concurrent: bool,
    ) {
        let first = place.map_or(slot, |place| self.key_index.first(place));
        if concurrent && let Some(conflict) = self.conflict(&key, first) {
            self.changes.push(MapChange::Conflict(Box::new(conflict)));
        }
        let new = self
            .latest_of(first)
            .and_then(|reading| Value::new(reading.value).ok());
        self.tell_change(key.as_str().as_bytes(), old, new, origin, stamp);
    }

    /// Tells what is read of a key before and after a change, unless that is the same.
    pub(super) fn tell_change(
        &mut self,
        key: &[u8],
        old: Option<Value>,
        new: Option<Value>,
        origin: Origin,
        stamp: Stamp,
    ) {
        let key = core::str::from_utf8(key).ok().map(Key::new);
        if let Some(Ok(key)) = key
            && old != new
        {
            self.changes.push(MapChange::Value(Box::new(ValueChange {
                key,
                old,
                new,
                writer: origin.id,
                stamp,
            })));
        }
    }

    /// The siblings of a key: the latest of those that stand, and of those that have lost by their stamp.
    /// `None` if all of them are tombstones.
    fn conflict(&self, key: &Key, first: WriteSlot) -> Option<Conflict> {
        let mut standing = Latest::default();
        let mut lost = Latest::default();
        let mut winner: Option<Sibling<'_>> = None;
        let mut has_value = false;
        for (origin, write) in self.writes_of(first) {
            has_value |= write.value.is_some();
            let sibling = Sibling { origin, write };
            if write.policy == Policy::KeepSiblings {
                standing.add(sibling);
            } else if winner.is_none_or(|winner| winner.at() < sibling.at()) {
                winner
                    .replace(sibling)
                    .into_iter()
                    .for_each(|s| lost.add(s));
            } else {
                lost.add(sibling);
            }
        }
        winner.into_iter().for_each(|winner| standing.add(winner));
        has_value.then(|| Conflict {
            key: key.clone(),
            standing: standing.versions(),
            lost: lost.versions(),
        })
    }
}

/// One of the writes of a key.
#[derive(Clone, Copy)]
struct Sibling<'a> {
    origin: Origin,
    write: Write<'a>,
}

impl Sibling<'_> {
    const fn at(&self) -> (Stamp, Origin) {
        (self.write.stamp, self.origin)
    }
}

/// The latest of some writes, in order: the latest first.
#[derive(Default)]
struct Latest<'a>(heapless::Vec<Sibling<'a>, MAX_CONFLICT_VERSIONS>);

impl<'a> Latest<'a> {
    fn add(&mut self, sibling: Sibling<'a>) {
        let place = self.0.partition_point(|held| held.at() > sibling.at());
        if self.0.is_full() && place < MAX_CONFLICT_VERSIONS {
            self.0.pop();
        }
        // If there is no room left, all that are held are later.
        let _ = self.0.insert(place, sibling);
    }

    fn versions(&self) -> Vec<Version> {
        let version = |sibling: &Sibling<'_>| Version {
            writer: sibling.origin.id,
            stamp: sibling.write.stamp,
            value: sibling.write.value.and_then(|value| Value::new(value).ok()),
        };
        self.0.iter().map(version).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u64) -> MapChange {
        MapChange::Value(Box::new(ValueChange {
            key: Key::new("key").unwrap(),
            old: None,
            new: None,
            writer: NodeId::from_u64(n),
            stamp: Stamp::ZERO,
        }))
    }

    #[test]
    fn an_overflowing_queue_says_so_once_and_opens_when_that_is_polled() {
        let mut queue = ChangeQueue::new(3);
        (1..=2).for_each(|n| queue.push(change(n)));
        assert!(queue.is_open());
        queue.push(change(3));
        assert!(!queue.is_open());
        assert_eq!(queue.pop(), Some(MapChange::Lagged));
        assert_eq!(queue.pop(), None);
        queue.push(change(4));
        assert_eq!(queue.pop(), Some(change(4)));
    }

    #[test]
    fn a_queue_without_room_tells_only_that_it_lags() {
        let mut queue = ChangeQueue::new(0);
        queue.push(change(1));
        assert_eq!(queue.pop(), Some(MapChange::Lagged));
        assert_eq!(queue.pop(), None);
    }
}
