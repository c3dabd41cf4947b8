//! The kinds of messages, and the kinds of items that follow them.
//!
//! A message says in its head what kind of datagram it is. The heads of an exchange and of a push are
//! followed by [`Item`]s.
//!
//! Kinds of messages and items are only ever appended, so that versions can mix during an upgrade:
//!
//! - A node drops and counts a message of an unknown kind.
//! - A node skips and counts an item of an unknown kind. An item of the twelfth kind or a later one is a
//!   kind, a length, and so many bytes.

use serde::{Deserialize, Serialize};

use super::codec;
use crate::config::Mode;
use crate::identity::{Generation, NodeId};
use crate::membership::Region;
use crate::membership::segment::Segment;
use crate::shared_map::replica::{Run, VectorItem};
use crate::state::entry::Entries;
use crate::time::UnixTime;

/// The node that sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) id: NodeId,
    pub(crate) generation: Generation,
}

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// "I am alive." A node sends it to its ring neighbours every interval. The counter rises by one each
    /// time.
    Heartbeat { counter: u64 },
    /// "Are you alive?"
    Ping { token: u32 },
    /// "I am alive", in answer to a ping.
    Pong { token: u32 },
    /// One leg of an exchange. Items follow.
    Exchange(ExchangeHead),
    /// News on its way down a push tree. Deltas follow.
    Push(PushHead),
    /// To a node of the same name: "I have held it since my process started, at this time."
    Claim { since: Generation },
    /// "This is how far I know the shared map." A request of the map follows.
    MapPull,
    /// A part of a delta of the shared map follows.
    MapChunk,
    /// "I lack these writes of the shared map." The versions follow.
    MapWant,
    /// Writes of the shared map that the receiver has asked for. Runs follow.
    MapRuns,
    /// "Has a datagram of this length arrived?" Zeros follow. The answer is a pong.
    Probe { token: u32 },
}

/// Whether this node keeps a shared map. A node without one skips unread what others say of theirs.
pub(super) const HAS_MAP: bool = cfg!(feature = "map");

/// Whether this node knows messages of this kind, the first byte of a message. A node without a shared map
/// knows no messages about it.
///
/// A kind that is appended to [`Message`] is added here. Otherwise every node would drop it as unknown.
pub(super) const fn is_known(kind: u8) -> bool {
    match kind {
        0..=5 | 10 => true,
        6..=9 => HAS_MAP,
        _ => false,
    }
}

/// How many kinds of items this version knows. Every node knows the eleven kinds of the first version. An
/// item of a later kind, up to kind 127, tells its length.
pub(crate) const ITEM_KINDS: u8 = 13;

/// The head of one leg of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExchangeHead {
    /// 1 is the SYN, 2 the ACK, 3 the ACK2. Further legs narrow down old differences.
    pub(crate) leg: u8,
    /// The mode of the node that sent the SYN.
    pub(crate) mode: ModeTag,
    /// Whether this datagram is the whole leg.
    pub(crate) extent: Extent,
    /// The sender's table hash at this moment.
    pub(crate) hash: [u8; 16],
    /// The second of Unix time up to which member tombstones are forgotten. 0 while none is forgotten.
    pub(crate) prune_time: u64,
}

/// How much of its leg a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Extent {
    /// It is the whole leg.
    Whole,
    /// The leg has further datagrams.
    Part,
    /// It is the last of several.
    Last,
    /// It is the last datagram of a leg that leaves something out: ask again, or ask another node.
    Truncated,
}

/// [`Mode`] on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ModeTag {
    Push,
    Pull,
    PushPull,
}

impl From<Mode> for ModeTag {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Push => Self::Push,
            Mode::Pull => Self::Pull,
            Mode::PushPull => Self::PushPull,
        }
    }
}

/// The head of a push. The receiver passes the deltas on to the members of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PushHead {
    /// The number of the tree, among those that run in parallel.
    pub(crate) tree: u8,
    /// The segment of the id space that the receiver serves.
    pub(crate) segment: Segment,
}

/// A part of an exchange or a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item<'a> {
    /// "This is how far I know this origin."
    Summary(Summary),
    /// "I know this origin so far. Send me what follows." With frontier 0: "Send me all of it."
    Want(Summary),
    /// "Here is what follows."
    #[serde(borrow)]
    Delta(Delta<'a>),
    /// "These are my hashes over the equal parts of this region."
    #[serde(borrow)]
    Split(Split<'a>),
    /// "This datagram names every origin that I hold in this region."
    Complete(Region),
    /// "I have removed you, as you are known under this generation."
    Removed(Generation),
    /// "This is my shared map."
    MapSummary(MapSummary),
    /// "This is how far I know this origin's writes of the shared map."
    MapTold(VectorItem),
    /// "Here are its latest writes."
    #[serde(borrow)]
    MapRun(Run<'a>),
    /// "I hold this origin's log so far, but not the rest that would let me use it."
    Resume(Resume),
    /// "You have asked me for this token, so I am where I say I am." It stands first in a SYN.
    Echo(u32),
    // Every later kind is written as a slice of bytes, so that a node that does not know it can skip it.
    /// "My table has no place for you." It says nothing more yet.
    #[serde(borrow, serialize_with = "codec::bytes")]
    Full(&'a [u8]),
    /// "My wall clock shows this": [`CLOCK`] bytes of Unix milliseconds in little-endian order.
    Clock(#[serde(serialize_with = "codec::bytes")] &'a [u8]),
}

/// The bytes of a time in [`Item::Clock`].
pub(crate) const CLOCK: usize = 6;

/// A time as [`Item::Clock`] tells it. Later than the year 10889 is that year.
pub(crate) fn write_clock(wall: UnixTime) -> [u8; CLOCK] {
    let millis = wall.as_millis().min((1 << 48) - 1);
    let [a, b, c, d, e, f, ..] = millis.to_le_bytes();
    [a, b, c, d, e, f]
}

/// The time that an [`Item::Clock`] tells.
pub(crate) fn read_clock(bytes: &[u8]) -> Option<UnixTime> {
    let [a, b, c, d, e, f] = <[u8; CLOCK]>::try_from(bytes).ok()?;
    let millis = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
    Some(UnixTime::from_millis(millis))
}

impl Item<'_> {
    /// Whether a node may act on the item. It may come from anywhere.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Delta(delta) => delta.is_valid(),
            Self::Split(split) => split.region.is_valid(),
            Self::Complete(region) => region.is_valid(),
            Self::MapRun(run) => !HAS_MAP || run.is_valid(),
            Self::Clock(bytes) => bytes.len() == CLOCK,
            Self::Summary(_)
            | Self::Want(_)
            | Self::Resume(_)
            | Self::Removed(_)
            | Self::Echo(_)
            | Self::Full(_)
            | Self::MapSummary(_)
            | Self::MapTold(_) => true,
        }
    }
}

/// What a node tells of its shared map first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MapSummary {
    /// The sum over all frontiers.
    pub(crate) hash: [u8; 16],
    /// The prune stamp: unknown origins at or below it are refused.
    pub(crate) forgotten: Generation,
}

/// How far a node knows an origin, in eight bytes. Frontier 0 means not at all.
///
/// Two nodes mostly know the same origins, so a summary only hints at its origin:
///
/// - A receiver that knows the origin under this generation finds it by the upper bits of its id, and
///   confirms it by `check`.
/// - A receiver that does not know it asks for everything that begins with these bits.
///
/// A hint that misleads costs a log that is sent in vain. It does no more harm, because deltas name their
/// origins in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The upper half of the origin's id.
    #[serde(with = "postcard::fixint::le")]
    pub(crate) prefix: u32,
    /// A check of id and generation. See [`Salt::check`](crate::state::table_hash::Salt::check).
    #[serde(with = "postcard::fixint::le")]
    pub(crate) check: u16,
    pub(crate) frontier: u64,
}

/// The beginning of a claim that has arrived in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    /// The origin, and the version up to which its log has arrived.
    pub(crate) told: Summary,
    /// The lowest frontier of the replicas that the beginning is from. A replica that has collected
    /// tombstones above it cannot continue the claim.
    pub(crate) least_frontier: u64,
}

/// Entries of one origin's log in version order: everything that lives with versions in `(after, upto]`,
/// out of a log that is known up to `frontier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta<'a> {
    pub(crate) origin: NodeId,
    pub(crate) generation: Generation,
    pub(crate) after: u64,
    pub(crate) upto: u64,
    pub(crate) frontier: u64,
    /// Tombstones up to here may be missing.
    pub(crate) floor: u64,
    #[serde(serialize_with = "codec::bytes")]
    pub(crate) entries: &'a [u8],
}

/// The most bytes that a delta takes beyond its entries.
pub(crate) const DELTA_HEAD: usize = 1 + 8 + 8 + 4 * 10 + 5;

impl Delta<'_> {
    /// Whether the versions add up and the entries are well-formed.
    fn is_valid(&self) -> bool {
        self.adds_up() && Entries::check(self.entries, self.after, self.upto)
    }

    /// Whether its versions are in order.
    pub(crate) const fn adds_up(&self) -> bool {
        self.after <= self.upto && self.upto <= self.frontier && self.floor <= self.frontier
    }
}

/// Sub-hashes of a region: 4 bytes for each of its equal parts, in the order of the ids. See
/// [`Salt::digest`](crate::state::table_hash::Salt::digest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Split<'a> {
    pub(crate) region: Region,
    #[serde(serialize_with = "codec::bytes")]
    pub(crate) digests: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a message is about the shared map.
    fn is_about_map(message: &Message) -> bool {
        match message {
            Message::MapPull | Message::MapChunk | Message::MapWant | Message::MapRuns => true,
            Message::Heartbeat { .. }
            | Message::Ping { .. }
            | Message::Pong { .. }
            | Message::Probe { .. }
            | Message::Exchange(_)
            | Message::Push(_)
            | Message::Claim { .. } => false,
        }
    }

    #[test]
    fn a_kind_is_known_if_there_is_a_message_of_it() {
        for kind in 0..=u8::MAX {
            // Zeros behind the kind make a message of whatever kind there is.
            let mut bytes = [0; 64];
            bytes[0] = kind;
            let message = codec::take::<Message>(&bytes).map(|(message, _)| message);
            let expected = message.is_some_and(|message| HAS_MAP || !is_about_map(&message));
            assert_eq!(is_known(kind), expected, "kind {kind}, {message:?}");
        }
    }
}
