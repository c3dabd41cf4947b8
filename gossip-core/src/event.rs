//! What the node tells the application, as plain data.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::command::{Key, Value};
use crate::hlc::Stamp;
use crate::identity::{Generation, Name, NodeId};
use crate::shared_map::replica::Version;

/// What [`Node::poll_event`](crate::Node::poll_event) returns.
///
/// The queue is bounded. When it overflows, what it held is replaced by one [`Event::Lagged`]; the
/// views of the node still tell the truth.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// This node has learned the table from its seeds, or found none that answers, and has
    /// announced itself.
    Joined {
        /// How many other live members it knows.
        members: usize,
    },
    /// A member can be counted on.
    MemberUp {
        /// The member.
        id: NodeId,
        /// Its name.
        name: Name,
        /// Where it is reached.
        address: SocketAddr,
        /// Its generation.
        generation: Generation,
        /// What brought it up.
        cause: UpCause,
        /// Its phi at this moment, where this node observes it.
        phi: Option<f64>,
        /// How many valid votes still stand against it, too few for a majority.
        votes: usize,
    },
    /// This node has heard nothing from a neighbour for suspiciously long and is probing it.
    MemberSuspected {
        /// The neighbour.
        id: NodeId,
        /// Its phi at this moment.
        phi: f64,
        /// How many valid votes of others stand against it already.
        votes: usize,
        /// Why now.
        reason: SuspicionReason,
    },
    /// A suspected neighbour has shown life.
    SuspicionCleared {
        /// The neighbour.
        id: NodeId,
    },
    /// A majority of a member's witnesses find it silent. Who they are,
    /// [`Node::votes`](crate::Node::votes) tells.
    MemberDown {
        /// The member.
        id: NodeId,
        /// Its generation.
        generation: Generation,
        /// Its phi, where this node observes it.
        phi: Option<f64>,
        /// How many valid votes stand against it, this node's own included.
        votes: usize,
        /// On whose word.
        reason: DownReason,
    },
    /// A member has left by its own announcement.
    MemberLeft {
        /// The member.
        id: NodeId,
        /// Its generation.
        generation: Generation,
    },
    /// A member that was down or had left was dropped from the table, here or by the peer from
    /// which this node has it. One that lives all the same returns in a newer generation.
    MemberRemoved {
        /// The member.
        id: NodeId,
        /// The name that it had.
        name: Name,
    },
    /// An attribute of a member changed.
    AttributeChanged {
        /// Whose attribute.
        id: NodeId,
        /// Its name.
        key: Key,
        /// Its new value, or `None` where it was deleted.
        value: Option<Value>,
    },
    /// Another node's [`Command::Broadcast`](crate::Command::Broadcast). Each is told once in the
    /// life of this process, and those of one writer in its order. One that this node did not learn
    /// before it expired is left out.
    Broadcast {
        /// Who wrote it.
        from: NodeId,
        /// The generation in which the writer's process began, whatever the process has raised its
        /// generation to since. Together with `from` and `number` it names this broadcast for ever. So
        /// an application that remembers the three can tell a broadcast that it handled before its own
        /// restart.
        incarnation_start: Generation,
        /// Its number among the broadcasts of that process: 1, 2, 3, …
        number: u64,
        /// What it is about.
        name: Key,
        /// What it says.
        payload: Value,
    },
    /// All live members show the same value of a watched attribute
    /// ([`Command::Watch`](crate::Command::Watch)).
    AgreementReached {
        /// Its name.
        key: Key,
        /// The value, or `None` where nobody has the attribute.
        value: Option<Value>,
    },
    /// Live members show different values of a watched attribute.
    AgreementLost {
        /// Its name.
        key: Key,
    },
    /// What is read under a key of the shared map has changed.
    MapChanged {
        /// The key.
        key: Key,
        /// What was read before.
        old: Option<Value>,
        /// What is read now.
        new: Option<Value>,
        /// Who wrote what brought it about.
        writer: NodeId,
        /// When, by the writer's clock.
        stamp: Stamp,
    },
    /// Writes of a key of the shared map did not know each other.
    Conflict {
        /// The key.
        key: Key,
        /// What stands now, the latest first: one, where the latest wins, and whatever is kept
        /// beside it; at most [`MAX_TOLD`](crate::map::MAX_TOLD) of it.
        standing: Vec<Version>,
        /// What has lost against a later one, the latest first, as many.
        lost: Vec<Version>,
    },
    /// A value of the shared map was dropped that nobody had replaced: its writer's log was forgotten
    /// by others while this node, or they, were away for longer than `forget_after`. A writer that
    /// lives writes it anew; of one that is gone this is the last trace.
    MapDropped {
        /// Which key.
        key: Key,
        /// What was dropped.
        dropped: Version,
    },
    /// This node holds every other member down: most likely it is itself cut off.
    Isolated,
    /// This node hears from another member again after [`Event::Isolated`].
    Rejoined,
    /// An older live node holds this node's name: this one has fallen silent, without a word to the
    /// others, who would take it for the other's.
    IdentityConflict {
        /// Where the older one is.
        address: SocketAddr,
    },
    /// A younger live node claims this node's name. This one keeps it.
    NameContested {
        /// Where the younger one is.
        address: SocketAddr,
    },
    /// A member's clock is further ahead than `max_clock_skew`: what it writes is refused until
    /// one of the two clocks is set right. Of this node itself: others remember a life of it that had a clock
    /// so far ahead, and do not hear this one until its clock has caught up or they have forgotten.
    ClockSkew {
        /// The member.
        id: NodeId,
        /// How far it is ahead of this node's wall clock.
        ahead: Duration,
    },
    /// A datagram of this cluster came under no key that this node holds, or in plaintext that it
    /// does not take. Told once, until this node's keys or their use change;
    /// [`Dropped`](crate::Dropped) counts the others.
    #[cfg(feature = "encryption")]
    EncryptionMismatch {
        /// Where it came from.
        address: SocketAddr,
    },
    /// The departure asked for by [`Command::Leave`](crate::Command::Leave) has been announced; the
    /// node is silent and may be dropped.
    LeaveCompleted,
    /// Events were lost because nobody took them in time: look at the views.
    Lagged,
}

/// Why a neighbour is suspected now and not earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspicionReason {
    /// Its phi has reached `phi_suspect`: by what its heartbeats have been like, so long a silence
    /// is improbable.
    Phi,
    /// Phi alone would grant more, but no silence is granted longer than the acceptable pause, two
    /// and a half intervals and five deviations: there are few samples yet, or wild ones.
    LongestSilence,
}

/// On whose word a member is held down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Its observers have voted: a majority of those who can be relied on find it silent.
    Votes,
    /// It does not answer this node, and nobody whom this node hears could speak for it: its
    /// observers are down or silent themselves, as across a split, or there are none.
    Silence,
}

/// What brought a member up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpCause {
    /// This node has not known it before.
    Joined,
    /// It was down and shows life again.
    Recovered,
    /// It runs under a newer generation.
    Restarted,
}
