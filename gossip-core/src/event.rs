//! What a node tells its application, as plain data.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::command::{Key, Value};
use crate::config::SettingsDigest;
use crate::hlc::Stamp;
use crate::identity::{Generation, Name, NodeId};
use crate::shared_map::replica::Version;

/// What a node tells its application. [`Node::poll_event`](crate::Node::poll_event) returns it.
///
/// The queue is bounded. When it overflows, one [`Event::Lagged`] replaces all that it held. The views of the
/// node still tell the truth.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// This node has announced itself. Only [`JoinCause::Learned`] says that it knows its cluster.
    ///
    /// Before that it tells of no other member. Members of which it hears later are told as
    /// [`Event::MemberUp`].
    Joined {
        /// How many other live members it knows.
        members: usize,
        /// Why it has announced itself now.
        cause: JoinCause,
    },
    /// A member is up: it can be counted on.
    MemberUp {
        /// The member.
        id: NodeId,
        /// Its name.
        name: Name,
        /// The address at which it is reached.
        address: SocketAddr,
        /// Its generation.
        generation: Generation,
        /// What brought it up.
        cause: UpCause,
        /// Its phi at this moment, if this node observes it.
        phi: Option<f64>,
        /// How many valid votes still stand against it. They are too few for a majority.
        votes: usize,
    },
    /// This node has heard nothing from a neighbour for suspiciously long, and probes it.
    MemberSuspected {
        /// The neighbour.
        id: NodeId,
        /// Its phi at this moment.
        phi: f64,
        /// How many valid votes of others stand against it already.
        votes: usize,
        /// Why it is suspected now.
        reason: SuspicionReason,
    },
    /// The suspicion of a neighbour is over, because it has shown life, is no neighbour any more, or was suspected
    /// while this process stood still. Each suspicion ends with this event, or with another one about the member.
    SuspicionCleared {
        /// The neighbour.
        id: NodeId,
    },
    /// A member is down in this node's view. [`Node::votes`](crate::Node::votes) tells which members vote
    /// against it.
    MemberDown {
        /// The member.
        id: NodeId,
        /// Its generation.
        generation: Generation,
        /// Its phi, if this node observes it.
        phi: Option<f64>,
        /// How many valid votes stand against it, this node's own included.
        votes: usize,
        /// On whose word this node finds it down.
        reason: DownReason,
    },
    /// A member has announced its departure.
    MemberLeft {
        /// The member.
        id: NodeId,
        /// Its generation.
        generation: Generation,
    },
    /// A member that was down or had left was removed, by this node or by a peer that told it so. If the
    /// member lives after all, it returns under a greater generation.
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
        /// Its new value, or `None` if it was deleted.
        value: Option<Value>,
    },
    /// Another node's [`Command::Broadcast`](crate::Command::Broadcast).
    ///
    /// A node tells each broadcast once while its process runs, and those of one writer in the writer's
    /// order. It leaves out a broadcast that it did not receive before it expired.
    Broadcast {
        /// The writer.
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
        /// The value, or `None` if no member has the attribute.
        value: Option<Value>,
    },
    /// Live members show different values of a watched attribute again.
    AgreementLost {
        /// Its name.
        key: Key,
    },
    /// A key of the shared map reads differently than before.
    MapChanged {
        /// The key.
        key: Key,
        /// What was read before.
        old: Option<Value>,
        /// What is read now.
        new: Option<Value>,
        /// The writer of the write that changed it.
        writer: NodeId,
        /// When that was written, by the writer's clock.
        stamp: Stamp,
    },
    /// A key of the shared map was written concurrently: the writers did not know of each other's writes.
    Conflict {
        /// The key.
        key: Key,
        /// The values that stand now, the latest first: the latest write, if it wins, and all siblings that
        /// are kept. At most [`MAX_CONFLICT_VERSIONS`](crate::map::MAX_CONFLICT_VERSIONS) of them.
        standing: Vec<Version>,
        /// The values that have lost against a later one, the latest first, at most as many.
        lost: Vec<Version>,
    },
    /// A value of the shared map was dropped although no write had replaced it: this node and others were
    /// apart for longer than `forget_after`, and the others have forgotten the log of its writer.
    ///
    /// A writer that lives writes the value anew. If the writer is gone, this event is the last trace of it.
    MapDropped {
        /// The key.
        key: Key,
        /// The value that was dropped.
        dropped: Version,
    },
    /// This node finds every other member down. Most likely it is cut off itself.
    Isolated,
    /// This node hears from another member again after [`Event::Isolated`].
    Rejoined,
    /// A live node that started earlier has this node's name. This node falls silent. It announces nothing,
    /// because the other members would take the announcement to be the other node's.
    IdentityConflict {
        /// The address of the other node.
        address: SocketAddr,
    },
    /// A live node that started later claims this node's name. This node keeps it.
    NameContested {
        /// The address of the other node.
        address: SocketAddr,
    },
    /// A stamp of a member lies further ahead of this node's wall clock than `max_clock_skew`. This node
    /// refuses what the member writes, until one of the two clocks is set right.
    ///
    /// If the member is this node itself: other nodes remember a process of this name whose clock was so far
    /// ahead. They do not accept this process until its clock has caught up, or until they have forgotten the
    /// earlier process.
    ///
    /// It is told once in sixty intervals for each member, and of 32 members at most. What is refused meanwhile is
    /// counted in [`Metrics::refused_skew`](crate::Metrics::refused_skew).
    ClockSkew {
        /// The member.
        id: NodeId,
        /// Where the member is reached, as far as that is known.
        address: Option<SocketAddr>,
        /// How far the stamp lies ahead of this node's wall clock.
        ahead: Duration,
    },
    /// This node's own wall clock differs from those of its peers by more than half of `max_clock_skew`. By the
    /// middle one of nine peers, so a few wrong clocks of others do not cause it.
    ///
    /// A node that is further ahead than `max_clock_skew` is refused by the others, and so is what it writes to the
    /// shared map. One that is so far behind refuses others. Set the clock right: a restart is not needed.
    OwnClockDeviates {
        /// By how much.
        by: ClockDeviation,
    },
    /// This node's own wall clock agrees with those of its peers again after [`Event::OwnClockDeviates`].
    OwnClockAgrees,
    /// A member was configured otherwise than this node, in a [setting that all members need the
    /// same](crate::Config#settings-that-all-members-need-the-same). The cluster works worse until all are alike. It is
    /// told once for each life of the member.
    SettingsDiffer {
        /// The member.
        id: NodeId,
        /// The digest of its settings.
        theirs: SettingsDigest,
        /// The digest of this node's.
        ours: SettingsDigest,
    },
    /// This node has no place for a member that lives: `max_members` others live or are down. It knows nothing of
    /// the member until one of them goes.
    ///
    /// Told at most once in 60 intervals. [`Metrics::refused_members`](crate::Metrics::refused_members) counts
    /// each refusal.
    TableFull {
        /// A member that found no place.
        id: NodeId,
        /// Its name.
        name: Name,
    },
    /// A member has no place for this node: its table holds `max_members` others that live or are down. To that
    /// member, and to those of its view, this node does not exist until one of them goes.
    ///
    /// Told at most once in 60 intervals.
    Refused {
        /// The member.
        id: NodeId,
        /// Its address.
        address: SocketAddr,
    },
    /// Datagrams longer than this do not arrive at an address: something on the way drops them. From now on this node sends
    /// it shorter ones. An attribute that needs a longer one does not get there from this node.
    PathNarrowed {
        /// The address.
        address: SocketAddr,
        /// The longest datagram that arrives, in bytes of UDP payload.
        longest: usize,
    },
    /// Datagrams of every length arrive at an address again after [`Event::PathNarrowed`].
    PathWidened {
        /// The address.
        address: SocketAddr,
    },
    /// A datagram of this cluster was encrypted under a key that this node does not hold, or it was plaintext
    /// and this node requires encryption.
    ///
    /// The node tells it once, and again after its keys or their use have changed.
    /// [`Dropped`](crate::Dropped) counts all such datagrams.
    #[cfg(feature = "encryption")]
    EncryptionMismatch {
        /// The address that the datagram came from.
        address: SocketAddr,
    },
    /// The node has announced its departure, as [`Command::Leave`](crate::Command::Leave) asked. It is silent
    /// and may be dropped.
    LeaveCompleted,
    /// Events were lost, because the application did not take them in time. Look at the views instead.
    Lagged,
}

/// Why a node has announced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinCause {
    /// It knows the members: one of them has the same table, or an answer has left it nothing to ask for.
    Learned,
    /// Members have answered, but what they brought leaves something open. The node goes on asking.
    Incomplete,
    /// It has no seeds, so it is the first of a cluster.
    NoSeeds,
    /// Nobody has answered. It may be the first of its cluster, or it does not reach its seeds. The node
    /// goes on asking them.
    NoAnswer,
}

/// Why a neighbour is suspected now and not earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspicionReason {
    /// Its phi has reached `phi_suspect`: given its past heartbeats, so long a silence is improbable.
    Phi,
    /// The silence exceeds `acceptable_pause`, 2.5 intervals and five deviations together, and what loss and
    /// patience with the neighbour add. Phi alone would tolerate it, because there are few samples yet, or
    /// samples that vary wildly.
    LongestSilence,
}

/// By how much a wall clock differs from those of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockDeviation {
    /// It shows a later time.
    Ahead(Duration),
    /// It shows an earlier time.
    Behind(Duration),
}

impl ClockDeviation {
    /// The deviation of a clock that is so many milliseconds ahead. A negative number means that it is behind.
    #[must_use]
    pub const fn of(ahead_ms: i64) -> Self {
        let by = Duration::from_millis(ahead_ms.unsigned_abs());
        if ahead_ms < 0 {
            Self::Behind(by)
        } else {
            Self::Ahead(by)
        }
    }
}

/// On whose word a member is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Its observers have voted: a majority of those that can be relied on find it silent.
    Votes,
    /// It does not answer this node, and no member that this node hears can speak for it: its observers are
    /// down or silent, as in a partition, or there are none.
    Silence,
}

/// What brought a member up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpCause {
    /// This node did not know it before.
    Joined,
    /// It was down, and it shows life again.
    Recovered,
    /// It runs under a greater generation.
    Restarted,
}
