//! What waits to be sent.
//!
//! Messages are queued as intentions and written when the caller polls, so that a datagram tells
//! the state at the moment it leaves, and news that came in between rides along. The queue is
//! bounded: when it is full, the oldest answer goes, since periodic rounds repair what it would
//! have.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use super::map::MapOutgoing;
use crate::identity::{Generation, NodeId};
use crate::membership::Region;
use crate::membership::segment::Delegation;
use crate::wire::message::ModeTag;

/// A message to be written.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Heartbeat {
        to: SocketAddr,
    },
    Ping {
        to: NodeId,
        token: u32,
    },
    Pong {
        to: SocketAddr,
        token: u32,
    },
    /// A ping to somebody who has yet to show that it is there.
    Challenge {
        to: SocketAddr,
        token: u32,
    },
    Claim {
        to: SocketAddr,
    },
    Syn {
        to: SocketAddr,
    },
    /// A SYN to somebody who has asked for a proof of the address first.
    Introduction {
        to: SocketAddr,
        token: u32,
    },
    Answer(Answer),
    Push {
        tree: u8,
        delegation: Delegation,
        news: News,
    },
    Map(MapOutgoing),
}

impl Outgoing {
    /// Whether it tells or asks who lives, and carries no state.
    pub(crate) const fn is_liveness(&self) -> bool {
        matches!(
            self,
            Self::Heartbeat { .. } | Self::Ping { .. } | Self::Pong { .. } | Self::Challenge { .. }
        )
    }
}

/// Origins with news, and the version from which each is told.
pub(crate) type News = SmallVec<[(NodeId, u64); 2]>;

/// A leg after the SYN. May take several datagrams.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) to: SocketAddr,
    pub(crate) leg: u8,
    pub(crate) mode: ModeTag,
    /// What remains to be said, the next thing last.
    pub(crate) plan: Vec<Planned>,
    /// Datagrams sent of this leg.
    pub(crate) sent: u32,
    /// Whether the plan leaves out what would be too much.
    pub(crate) truncated: bool,
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    /// Tell how far this origin is known.
    Summary(NodeId),
    /// Ask for what follows of this origin.
    Want(NodeId),
    /// Ask for all of an origin of which only the upper half of the id is known.
    WantUnknown(u32),
    /// Give what follows a version of this origin.
    Delta { origin: NodeId, after: u64 },
    /// Go on with a log of which this leg has given the part up to a version. The receiver can tell
    /// whether it may put the two together, the floor above the first one or not.
    Rest { origin: NodeId, after: u64 },
    /// Tell the sub-hashes of a region.
    Split(Region),
    /// Tell the receiver that its generation was removed here.
    Removed(Generation),
    /// Name all origins of a region.
    List(Region),
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Outgoing>,
    capacity: usize,
    dropped: u64,
}

impl Outbox {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            capacity,
            dropped: 0,
        }
    }

    /// Messages dropped because the queue was full.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: Outgoing) {
        if self.queue.len() >= self.capacity {
            self.dropped = self.dropped.saturating_add(1);
            let answer = self
                .queue
                .iter()
                .position(|old| matches!(old, Outgoing::Answer(_) | Outgoing::Map(_)));
            self.queue.remove(answer.unwrap_or(0));
        }
        self.queue.push_back(message);
    }

    /// Whether a table of the shared map, or the rest of one, waits for this address already: it is long.
    #[cfg(feature = "map")]
    pub(crate) fn holds_table_for(&self, address: SocketAddr) -> bool {
        let is_it = |message: &Outgoing| matches!(message, Outgoing::Map(MapOutgoing::Table { to, .. }) if *to == address);
        self.queue.iter().any(is_it)
    }

    /// Takes the next message.
    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_answer_first() {
        let to: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let answer = || {
            Outgoing::Answer(Answer {
                to,
                leg: 2,
                mode: ModeTag::Push,
                plan: Vec::new(),
                sent: 0,
                truncated: false,
            })
        };
        let mut outbox = Outbox::new(2);
        outbox.push(Outgoing::Pong { to, token: 1 });
        outbox.push(answer());
        outbox.push(Outgoing::Pong { to, token: 2 });
        assert!(matches!(
            outbox.pop(),
            Some(Outgoing::Pong { token: 1, .. })
        ));
        assert!(matches!(
            outbox.pop(),
            Some(Outgoing::Pong { token: 2, .. })
        ));
        assert_eq!((outbox.pop().is_none(), outbox.dropped()), (true, 1));
    }
}
