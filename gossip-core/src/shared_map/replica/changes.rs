//! What a map tells of its changes.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::key_index::Place;
use super::slab::Slot;
use super::{Map, Origin, Write};
use crate::command::{Key, Policy, Value};
use crate::hlc::Stamp;
use crate::identity::NodeId;

/// Versions of either kind that a conflict tells, at most; [`Map::siblings`] has all that stand.
pub const MAX_TOLD: usize = 16;

/// One of the values that stand, or stood, under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Who wrote it.
    pub writer: NodeId,
    /// When.
    pub stamp: Stamp,
    /// What, or `None` for a delete.
    pub value: Option<Value>,
}

/// What [`Map::poll_notice`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// What `get` returns for a key has changed.
    Changed(Box<Changed>),
    /// A write and others did not know each other.
    Conflict(Box<Conflict>),
    /// A value was dropped because its log had been forgotten elsewhere.
    Dropped(Box<Dropped>),
    /// Notices were lost for want of room.
    Lagged,
}

/// What `get` returns for a key has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// Which key.
    pub key: Key,
    /// What it returned.
    pub old: Option<Value>,
    /// What it returns now.
    pub new: Option<Value>,
    /// Who wrote what brought it about.
    pub writer: NodeId,
    /// By the writer's clock.
    pub stamp: Stamp,
}

/// Writes of one key that did not know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// Which key.
    pub key: Key,
    /// What stands now, the latest first, at most [`MAX_TOLD`] of it.
    pub standing: Vec<Version>,
    /// What has lost by its stamp, as many.
    pub lost: Vec<Version>,
}

/// A value that was dropped, though nobody is known to have replaced it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Which key.
    pub key: Key,
    /// What it said, and who had written it.
    pub dropped: Version,
}

/// Notices that wait to be taken.
#[derive(Clone, Debug)]
pub(super) struct Notices {
    queue: VecDeque<Notice>,
    capacity: usize,
}

impl Notices {
    pub(super) const fn new(capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            capacity,
        }
    }

    /// Whether there is room. Nobody need prepare a notice that would be lost.
    pub(super) fn is_open(&self) -> bool {
        self.queue.len() < self.capacity
    }

    pub(super) fn push(&mut self, notice: Notice) {
        if self.is_open() {
            self.queue.push_back(notice);
        }
        if !self.is_open() {
            self.queue.clear();
            // Full again until they are taken.
            self.queue.resize(self.capacity.max(1), Notice::Lagged);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Notice> {
        let notice = self.queue.pop_front();
        if notice == Some(Notice::Lagged) {
            self.queue.clear();
        }
        notice
    }
}

impl Map {
    /// The next notice, if there is one.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop()
    }

    /// Tells what a write has changed.
    pub(super) fn tell(
        &mut self,
        key: Key,
        place: Option<Place>,
        slot: Slot,
        old: Option<Value>,
        (origin, stamp): (Origin, Stamp),
        concurrent: bool,
    ) {
        let first = place.map_or(slot, |place| self.order.first(place));
        if concurrent && let Some(conflict) = self.conflict(&key, first) {
            self.notices.push(Notice::Conflict(Box::new(conflict)));
        }
        let new = self
            .latest_of(first)
            .and_then(|reading| Value::new(reading.value).ok());
        self.tell_change(key.as_str().as_bytes(), old, new, origin, stamp);
    }

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
            self.notices.push(Notice::Changed(Box::new(Changed {
                key,
                old,
                new,
                writer: origin.id,
                stamp,
            })));
        }
    }

    /// The siblings of a key, those that stand and those that have lost by their stamp, the latest of
    /// each; nothing, where all are tombstones.
    fn conflict(&self, key: &Key, first: Slot) -> Option<Conflict> {
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

/// The latest of some writes, the latest first.
#[derive(Default)]
struct Latest<'a>(heapless::Vec<Sibling<'a>, MAX_TOLD>);

impl<'a> Latest<'a> {
    fn add(&mut self, sibling: Sibling<'a>) {
        let place = self.0.partition_point(|held| held.at() > sibling.at());
        if self.0.is_full() && place < MAX_TOLD {
            self.0.pop();
        }
        // Full of later ones.
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
