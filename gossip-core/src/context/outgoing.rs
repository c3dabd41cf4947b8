//! Intentions: what a machine wants to be said, and to whom.
//!
//! An [`Outgoing`] is an intention. It becomes a [`Message`](crate::wire::message::Message) when the caller
//! polls it, so that the datagram tells the state at the moment at which it leaves.

use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use super::paths::Probe;
use crate::identity::{Generation, NodeId};
use crate::membership::Region;
use crate::membership::segment::Delegation;
#[cfg(feature = "map")]
use crate::shared_map::replica::{Origin, Run, VectorItem, Wanted};
use crate::wire::message::ModeTag;
#[cfg(feature = "map")]
use alloc::sync::Arc;

/// An intention: a message that is yet to be written.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// This node lives.
    Heartbeat { to: SocketAddr },
    /// Asks a member whether it lives.
    Ping { to: NodeId, token: u32 },
    /// Asks whether a datagram of a length arrives.
    Probe(Probe),
    /// Answers a ping or a probe.
    Pong { to: SocketAddr, token: u32 },
    /// A ping to a node that has yet to prove its address.
    Challenge { to: SocketAddr, token: u32 },
    /// Tells a node of the same name since when this node holds it.
    Claim { to: SocketAddr },
    /// Begins an exchange.
    Syn { to: SocketAddr },
    /// Begins an exchange anew, with a node that has asked for a proof of this node's address.
    Introduction { to: SocketAddr, token: u32 },
    /// A later leg of an exchange.
    Answer(Answer),
    /// News on its way down a tree, to the member that serves a segment.
    Push {
        tree: u8,
        delegation: Delegation,
        news: News,
    },
    /// A message about the shared map.
    #[cfg(feature = "map")]
    Map(MapOutgoing),
}

impl Outgoing {
    /// Whether the message is about who lives, and carries no state.
    pub(crate) const fn is_liveness(&self) -> bool {
        match self {
            Self::Heartbeat { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Challenge { .. } => true,
            Self::Claim { .. }
            | Self::Syn { .. }
            | Self::Introduction { .. }
            | Self::Answer(_)
            | Self::Probe(_)
            | Self::Push { .. } => false,
            #[cfg(feature = "map")]
            Self::Map(_) => false,
        }
    }

    /// Who is to receive it.
    pub(crate) const fn receiver(&self) -> Receiver {
        match self {
            Self::Heartbeat { to }
            | Self::Pong { to, .. }
            | Self::Challenge { to, .. }
            | Self::Claim { to }
            | Self::Syn { to }
            | Self::Introduction { to, .. }
            | Self::Probe(Probe { to, .. })
            | Self::Answer(Answer { to, .. }) => Receiver::At(*to),
            Self::Ping { to, .. } => Receiver::Member(*to),
            Self::Push { delegation, .. } => Receiver::Member(delegation.to),
            #[cfg(feature = "map")]
            Self::Map(message) => message.receiver(),
        }
    }

    /// Whether the receiver asks again where the message does not arrive, or is asked again.
    pub(crate) const fn is_repeated(&self) -> bool {
        match self {
            Self::Syn { .. } | Self::Introduction { .. } | Self::Answer(_) => true,
            #[cfg(feature = "map")]
            Self::Map(message) => !matches!(message, MapOutgoing::Push { .. }),
            Self::Heartbeat { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Challenge { .. }
            | Self::Claim { .. }
            | Self::Probe(_)
            | Self::Push { .. } => false,
        }
    }

    /// Whether periodic rounds repair what this message would have repaired.
    pub(crate) const fn is_repair(&self) -> bool {
        match self {
            Self::Answer(_) | Self::Probe(_) => true,
            #[cfg(feature = "map")]
            Self::Map(_) => true,
            Self::Heartbeat { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Challenge { .. }
            | Self::Claim { .. }
            | Self::Syn { .. }
            | Self::Introduction { .. }
            | Self::Push { .. } => false,
        }
    }
}

/// Who is to receive a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// Whoever is at this address.
    At(SocketAddr),
    /// A member, wherever it is when the message leaves.
    Member(NodeId),
}

/// Origins with news, and the version after which the entries of each are news.
pub(crate) type News = SmallVec<[(NodeId, u64); 2]>;

/// A leg after the SYN. It may take several datagrams.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) to: SocketAddr,
    pub(crate) leg: u8,
    pub(crate) mode: ModeTag,
    /// What remains to be said, the next thing last.
    pub(crate) plan: Vec<Planned>,
    /// How many datagrams of this leg have been sent.
    pub(crate) sent: u32,
    /// How many it may take.
    pub(crate) most: u32,
    /// Whether the plan leaves something out, because it would be too much.
    pub(crate) truncated: bool,
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    /// Tells how far this origin is known.
    Summary(NodeId),
    /// Asks for what follows of this origin.
    Want(NodeId),
    /// Asks for the whole log of an origin of which only the upper half of the id is known.
    WantUnknown(u32),
    /// Gives what follows a version of this origin; all of it if the floor has risen above the version.
    Delta { origin: NodeId, after: u64 },
    /// Gives what follows a version of this origin, even below the floor. The receiver holds the part
    /// before, and can tell from the floors whether the two belong together.
    Rest { origin: NodeId, after: u64 },
    /// Tells the sub-hashes of a region.
    Split(Region),
    /// Tells the receiver that its generation was removed here.
    Removed(Generation),
    /// Names all origins of a region.
    List(Region),
    /// Tells what the own wall clock shows.
    Clock,
    /// Tells the receiver that the table has no place for it.
    Full,
}

/// A message about the shared map.
#[cfg(feature = "map")]
#[derive(Debug)]
pub(crate) enum MapOutgoing {
    /// So many chunks of a delta, in the session with a peer that has this number.
    Chunks {
        to: SocketAddr,
        session: (Origin, u32),
        left: u32,
    },
    /// A request for a delta. It tells this much of the own knowledge.
    Pull {
        to: SocketAddr,
        peer: Origin,
        told: Vec<VectorItem>,
    },
    /// The whole version vector after an origin. It may ask for a delta.
    Table {
        to: SocketAddr,
        after: Option<Origin>,
        ask: bool,
    },
    /// Runs on their way down a tree, without so many of the first: these are sent.
    Push {
        tree: u8,
        delegation: Delegation,
        runs: Arc<[SharedRun]>,
        sent: usize,
    },
    /// How far this node has the runs of some origins.
    Told { to: NodeId, told: Vec<VectorItem> },
    /// Asks for versions that this node lacks.
    Want { to: SocketAddr, wanted: Vec<Wanted> },
    /// Runs that a peer has asked for, each as its origin and its last version, the next one last.
    Runs {
        to: SocketAddr,
        runs: Vec<(Origin, u64)>,
    },
}

#[cfg(feature = "map")]
impl MapOutgoing {
    /// Who is to receive it.
    pub(crate) const fn receiver(&self) -> Receiver {
        match self {
            Self::Chunks { to, .. }
            | Self::Pull { to, .. }
            | Self::Table { to, .. }
            | Self::Want { to, .. }
            | Self::Runs { to, .. } => Receiver::At(*to),
            Self::Push { delegation, .. } => Receiver::Member(delegation.to),
            Self::Told { to, .. } => Receiver::Member(*to),
        }
    }
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
    pub(crate) const fn new(origin: Origin, after: u64, upto: u64, writes: Arc<[u8]>) -> Self {
        Self {
            origin,
            after,
            upto,
            writes,
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
