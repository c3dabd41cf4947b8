//! What a map tells of its changes.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::command::{Key, Value};
use crate::id::NodeId;
use crate::stamp::Stamp;

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

/// What [`Map::poll_notice`](super::Map::poll_notice) returns.
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
    /// What stands now, the latest first.
    pub standing: Vec<Version>,
    /// What has lost by its stamp.
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
