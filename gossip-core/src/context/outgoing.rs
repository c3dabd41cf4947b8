//! Messages as intentions: what a machine wants said, and to whom.
//!
//! They are written when the caller polls, so that a datagram tells the state at the moment it leaves.

use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use crate::identity::{Generation, NodeId};
use crate::membership::Region;
use crate::membership::segment::Delegation;
#[cfg(feature = "map")]
use crate::shared_map::replica::{Origin, Run, VectorItem};
use crate::wire::message::ModeTag;
#[cfg(feature = "map")]
use alloc::sync::Arc;

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
    #[cfg(feature = "map")]
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

impl Outgoing {
    /// Whether periodic rounds repair what it would have.
    pub(crate) const fn is_repair(&self) -> bool {
        match self {
            Self::Answer(_) => true,
            #[cfg(feature = "map")]
            Self::Map(_) => true,
            _ => false,
        }
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

/// A message about the shared map.
#[cfg(feature = "map")]
#[derive(Debug)]
pub(crate) enum MapOutgoing {
    /// Chunks of a delta, so many.
    Chunks {
        to: SocketAddr,
        peer: Origin,
        left: u32,
    },
    /// A request that tells this much.
    Pull {
        to: SocketAddr,
        peer: Origin,
        told: Vec<VectorItem>,
    },
    /// The whole table after an origin; whether a delta is asked for.
    Table {
        to: SocketAddr,
        after: Option<Origin>,
        ask: bool,
    },
    /// A run on its way down a tree.
    Run {
        tree: u8,
        delegation: Delegation,
        run: SharedRun,
    },
}

/// A run that several messages carry.
#[cfg(feature = "map")]
#[derive(Clone, Debug)]
pub(crate) struct SharedRun {
    origin: Origin,
    after: u64,
    upto: u64,
    writes: Arc<[u8]>,
}

#[cfg(feature = "map")]
impl SharedRun {
    pub(crate) fn new(run: &Run<'_>) -> Self {
        Self {
            origin: run.origin,
            after: run.after,
            upto: run.upto,
            writes: run.writes.into(),
        }
    }

    pub(crate) fn run(&self) -> Run<'_> {
        Run {
            origin: self.origin,
            after: self.after,
            upto: self.upto,
            writes: &self.writes,
        }
    }
}
