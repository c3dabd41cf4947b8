//! Messages and the items that follow them.
//!
//! A body is `sender | message | items…`, each part postcard-encoded. Kinds of messages and items
//! are only ever appended. So that versions can mix during an upgrade, a message of an unknown kind is
//! dropped and counted, and an item of an unknown kind is skipped and counted: an item of the
//! twelfth kind or a later one is a kind, a length, and so many bytes.

use postcard::{take_from_bytes, to_slice};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::Mode;
use crate::identity::{Generation, NodeId};
use crate::membership::Region;
use crate::membership::segment::Segment;
use crate::shared_map::replica::{Run, VectorItem, read_chunk, read_pull};
use crate::state::entry::Entries;
use crate::wire::codec;

/// Who sent a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) id: NodeId,
    pub(crate) generation: Generation,
}

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// "I live." Sent to the ring neighbours every interval; the counter rises by one each time.
    Heartbeat { counter: u64 },
    /// "Do you live?"
    Ping { token: u32 },
    /// "I live", in answer to a ping.
    Pong { token: u32 },
    /// One leg of an exchange; items follow.
    Exchange(Exchange),
    /// News on its way down a push tree; deltas follow.
    Push(Push),
    /// To a node of the same name: "I have held it since my process started, then."
    Claim { since: Generation },
    /// "This is how far I know the shared map." A request of the map follows.
    MapPull,
    /// A part of a delta of the shared map follows.
    MapChunk,
}

/// Whether this node keeps a shared map. One without skips what is said of it unread.
const HAS_MAP: bool = cfg!(feature = "map");

/// How many kinds of messages this node knows; those of the map are the last.
const MESSAGE_KINDS: u8 = if HAS_MAP { 8 } else { 6 };

/// How many kinds of items this version knows. The eleven of the first version are known to everybody;
/// later ones, up to kind 127, have to tell how long they are.
pub(crate) const ITEM_KINDS: u8 = 11;

/// The head of one leg of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// 1 is the SYN, 2 the ACK, 3 the ACK2; further legs narrow down old differences.
    pub(crate) leg: u8,
    /// The mode of the node that sent the SYN.
    pub(crate) mode: ModeTag,
    /// Whether this datagram is the whole leg.
    pub(crate) extent: Extent,
    /// The sender's table hash at this moment.
    pub(crate) hash: [u8; 16],
    /// The second of Unix time up to which removed members are forgotten; 0 while none is.
    pub(crate) prune_time: u64,
}

/// Whether a datagram is all that its sender has to say in this leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Extent {
    /// It is.
    Whole,
    /// The leg has further datagrams.
    Part,
    /// The last of several.
    Last,
    /// The last datagram of a leg that leaves something out: ask again, or ask somebody else.
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

/// The head of a push: the receiver passes the deltas on to the members of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Push {
    /// Which of the parallel trees this is.
    pub(crate) tree: u8,
    /// The segment of the id space that the receiver serves.
    pub(crate) segment: Segment,
}

/// A part of an exchange or a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item<'a> {
    /// "This is how far I know this origin."
    Summary(Summary),
    /// "I know this origin so far; send me what follows." Frontier 0: "send me all of it."
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
    /// "You have asked me for this token, so I am where I say I am." Stands first in a SYN.
    Echo(u32),
    // What comes after this is written as a slice of bytes, so that who does not know it can skip it.
}

/// What a node tells of its shared map first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MapSummary {
    /// The sum over all frontiers.
    pub(crate) hash: [u8; 16],
    /// Unknown origins at or below it are refused.
    pub(crate) forgotten: Generation,
}

/// How far a node knows an origin, in eight bytes. Frontier 0: not at all.
///
/// Two nodes mostly know the same origins, so an origin is only hinted at: whoever knows it under
/// this generation finds it by the upper bits of its id and confirms it by `check`. Whoever does not
/// asks for what begins with these bits. A hint that misleads costs a log sent in vain, since
/// deltas name their origins in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The upper half of the origin's id.
    #[serde(with = "postcard::fixint::le")]
    pub(crate) prefix: u32,
    /// Of id and generation; see [`Salt::check`](crate::state::table_hash::Salt::check).
    #[serde(with = "postcard::fixint::le")]
    pub(crate) check: u16,
    pub(crate) frontier: u64,
}

/// The beginning of a claim that is still partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    /// The origin, and the version up to which its log has arrived.
    pub(crate) told: Summary,
    /// Who has collected tombstones above this has nothing that would belong to it.
    pub(crate) least_frontier: u64,
}

/// Entries of one origin's log in version order: all that live with versions in
/// `(after, upto]`, out of a log that is known up to `frontier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta<'a> {
    pub(crate) origin: NodeId,
    pub(crate) generation: Generation,
    pub(crate) after: u64,
    pub(crate) upto: u64,
    pub(crate) frontier: u64,
    /// Tombstones up to here may be missing.
    pub(crate) floor: u64,
    #[serde(serialize_with = "bytes")]
    pub(crate) entries: &'a [u8],
}

impl Delta<'_> {
    /// Whether the versions add up and the entries are well-formed.
    fn is_valid(&self) -> bool {
        self.after <= self.upto
            && self.upto <= self.frontier
            && self.floor <= self.frontier
            && Entries::check(self.entries, self.after, self.upto)
    }
}

/// Sub-hashes of a region: 4 bytes for each of its equal parts, in the order of the ids; see
/// [`Salt::digest`](crate::state::table_hash::Salt::digest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Split<'a> {
    pub(crate) region: Region,
    #[serde(serialize_with = "bytes")]
    pub(crate) digests: &'a [u8],
}

fn bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// A decoded datagram. All of it has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) sender: Sender,
    pub(crate) message: Message,
    pub(crate) items: Items<'a>,
    /// What the check of the items has found.
    pub(crate) found: Found,
}

/// What is wanted of the items of a datagram before they are read one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// How many items of unknown kinds stand among them.
    pub(crate) skipped: u64,
    /// The token that the first of them echoes.
    pub(crate) echo: Option<u32>,
    /// The first that tells of the sender's shared map.
    pub(crate) map: Option<MapSummary>,
}

/// Why a body is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A kind that this version does not know.
    Unknown,
    /// No message at all.
    Malformed,
}

impl<'a> Datagram<'a> {
    /// Reads a body whole; what it returns is valid to the last byte.
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, Unreadable> {
        let (sender, rest): (Sender, _) = codec::take(body).ok_or(Unreadable::Malformed)?;
        if rest.first().is_some_and(|kind| *kind >= MESSAGE_KINDS) {
            return Err(Unreadable::Unknown);
        }
        let (message, rest) = codec::take(rest).ok_or(Unreadable::Malformed)?;
        let items = Items(rest);
        let carries_items = matches!(message, Message::Exchange(_) | Message::Push(_));
        let nothing = Found::default();
        let found = match message {
            Message::MapPull => (HAS_MAP && read_pull(rest).is_some()).then_some(nothing),
            Message::MapChunk => (HAS_MAP && read_chunk(rest).is_some()).then_some(nothing),
            _ if rest.is_empty() => Some(nothing),
            _ if carries_items => items.check(),
            _ => None,
        };
        Ok(Self {
            sender,
            message,
            items,
            found: found.ok_or(Unreadable::Malformed)?,
        })
    }
}

/// The items of a datagram, read one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// All of them, as they came.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// An item of a kind that this version does not know: the kind, and what it says.
pub(crate) type Later<'a> = (u8, &'a [u8]);

impl Items<'_> {
    /// Reads all of them. `None` where one is not valid.
    fn check(mut self) -> Option<Found> {
        let mut found = Found::default();
        let mut is_first = true;
        while let Some(kind) = self.0.first() {
            if (ITEM_KINDS..128).contains(kind) {
                self.0 = skip(self.0)?;
                found.skipped = found.skipped.saturating_add(1);
                continue;
            }
            let (item, rest) = codec::take(self.0)?;
            let valid = match item {
                Item::Delta(delta) => delta.is_valid(),
                Item::Split(split) => split.region.is_valid(),
                Item::Complete(region) => region.is_valid(),
                Item::MapRun(run) => !HAS_MAP || run.is_valid(),
                Item::Echo(token) => {
                    found.echo = found.echo.or(is_first.then_some(token));
                    true
                }
                Item::MapSummary(summary) => {
                    found.map = found.map.or(Some(summary));
                    true
                }
                Item::Summary(_)
                | Item::Want(_)
                | Item::Resume(_)
                | Item::Removed(_)
                | Item::MapTold(_) => true,
            };
            is_first = false;
            if !valid {
                return None;
            }
            self.0 = rest;
        }
        Some(found)
    }
}

/// What stands behind an item of an unknown kind.
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest): (Later<'_>, _) = codec::take(bytes)?;
    Some(rest)
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        while self.0.first().is_some_and(|kind| *kind >= ITEM_KINDS) {
            self.0 = skip(self.0)?;
        }
        let (item, rest) = take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(item)
    }
}

/// Writes a body part by part into a buffer of fixed size.
#[derive(Debug)]
pub(crate) struct Encoder<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Encoder<'b> {
    /// Begins a body. `None` where not even its head fits.
    pub(crate) fn new(buffer: &'b mut [u8], sender: Sender, message: Message) -> Option<Self> {
        let mut encoder = Self { buffer, len: 0 };
        (encoder.put(&sender) && encoder.put(&message)).then_some(encoder)
    }

    /// Writes the head of a body whose rest is written elsewhere. Returns its length, and the room
    /// that is left.
    pub(crate) fn split(
        buffer: &'b mut [u8],
        sender: Sender,
        message: Message,
    ) -> Option<(usize, &'b mut [u8])> {
        let len = Encoder::new(&mut *buffer, sender, message)?.len();
        Some((len, buffer.get_mut(len..)?))
    }

    /// Replaces the head by one of the same length.
    pub(crate) fn rewrite_head(&mut self, sender: Sender, message: Message) {
        // The head fitted before.
        let _ = Encoder::new(self.buffer, sender, message);
    }

    /// Appends an item if it fits.
    pub(crate) fn item(&mut self, item: &Item<'_>) -> bool {
        self.put(item)
    }

    fn put(&mut self, part: &impl Serialize) -> bool {
        let Some(free) = self.buffer.get_mut(self.len..) else {
            return false;
        };
        match to_slice(part, free) {
            Ok(written) => {
                self.len = self.len.saturating_add(written.len());
                true
            }
            Err(_) => false,
        }
    }

    /// Bytes still free.
    pub(crate) fn room(&self) -> usize {
        self.buffer.len().saturating_sub(self.len)
    }

    /// Bytes written.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

/// The most bytes that a delta takes beyond its entries.
pub(crate) const DELTA_HEAD: usize = 1 + 8 + 8 + 4 * 10 + 5;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hlc::Stamp;

    pub(crate) const SENDER: Sender = Sender {
        id: NodeId::from_u64(7),
        generation: Generation::new(Stamp::from_bits(9)),
    };

    #[test]
    fn an_exchange_is_read_back_as_it_was_written() {
        let mut buffer = [0; 256];
        let head = Message::Exchange(Exchange {
            leg: 1,
            mode: ModeTag::PushPull,
            extent: Extent::Whole,
            hash: [3; 16],
            prune_time: 5,
        });
        let mut encoder = Encoder::new(&mut buffer, SENDER, head).unwrap();
        let summary = Summary {
            prefix: 7,
            check: 8,
            frontier: 300,
        };
        assert!(encoder.item(&Item::Summary(summary)));
        assert!(encoder.item(&Item::Complete(Region::ALL)));
        let len = encoder.len();
        let read = Datagram::decode(&buffer[..len]).unwrap();
        assert_eq!((read.sender, read.message), (SENDER, head));
        let items: std::vec::Vec<_> = read.items.collect();
        assert_eq!(items, [Item::Summary(summary), Item::Complete(Region::ALL)]);
    }

    #[test]
    fn a_bare_syn_fits_in_64_bytes_with_its_frame() {
        let mut buffer = [0; 256];
        let head = Message::Exchange(Exchange {
            leg: 1,
            mode: ModeTag::PushPull,
            extent: Extent::Whole,
            hash: [255; 16],
            prune_time: u64::MAX,
        });
        let len = Encoder::new(&mut buffer, SENDER, head).unwrap().len();
        assert!(len + crate::wire::frame::HEADER + crate::wire::frame::TRAILER <= 64);
    }

    #[test]
    fn unknown_kinds_and_rubbish_are_told_apart() {
        let mut buffer = [0; 64];
        let len = Encoder::new(&mut buffer, SENDER, Message::Ping { token: 1 })
            .unwrap()
            .len();
        assert!(Datagram::decode(&buffer[..len]).is_ok());
        assert_eq!(
            Datagram::decode(&buffer[..len + 1]).unwrap_err(),
            Unreadable::Malformed,
            "a ping carries no items"
        );
        buffer[16] = MESSAGE_KINDS;
        assert_eq!(
            Datagram::decode(&buffer[..len]).unwrap_err(),
            Unreadable::Unknown
        );
        assert_eq!(
            Datagram::decode(&buffer[..10]).unwrap_err(),
            Unreadable::Malformed
        );
    }

    #[test]
    fn an_item_of_a_later_version_is_skipped_and_the_rest_is_read() {
        let mut body = rich_body();
        let known: std::vec::Vec<_> = Datagram::decode(&body).unwrap().items.collect();
        let known = std::format!("{known:?}");
        let later = [ITEM_KINDS, 3, 0, 1, 2, 127, 0];
        // First, in the middle and last: behind the head, the delta and the end.
        let delta = body.len() - Datagram::decode(&body).unwrap().items.0.len();
        body.splice(delta..delta, later);
        body.extend(later);
        let read = Datagram::decode(&body).unwrap();
        assert_eq!(read.found.skipped, 4);
        assert_eq!(
            std::format!("{:?}", read.items.collect::<std::vec::Vec<_>>()),
            known
        );
        for cut in 1..=5 {
            let short = &body[..body.len() - 2 - cut];
            assert_eq!(
                Datagram::decode(short).is_ok(),
                cut == 5,
                "{cut} bytes less"
            );
        }
        let longer = [&body[..], &[128, 1, 0]].concat();
        assert!(Datagram::decode(&longer).is_err(), "no kind has two bytes");
    }

    /// A body with items of most kinds, for damage to be done to.
    pub(crate) fn rich_body() -> std::vec::Vec<u8> {
        let mut buffer = [0; 512];
        let head = Message::Exchange(Exchange {
            leg: 2,
            mode: ModeTag::PushPull,
            extent: Extent::Whole,
            hash: [3; 16],
            prune_time: 5,
        });
        let mut encoder = Encoder::new(&mut buffer, SENDER, head).unwrap();
        let mut run = std::vec::Vec::new();
        for (version, value) in [(3, None), (300, Some(&b"value"[..]))] {
            let (age, key) = (version * 100, &b"key"[..]);
            crate::state::entry::Entry {
                version,
                age,
                key,
                value,
            }
            .append_to(&mut run);
        }
        let delta = Delta {
            origin: SENDER.id,
            generation: SENDER.generation,
            after: 2,
            upto: 300,
            frontier: 70_000,
            floor: 1,
            entries: &run,
        };
        assert!(encoder.item(&Item::Delta(delta)));
        assert!(encoder.item(&Item::Removed(SENDER.generation)));
        assert!(encoder.item(&Item::Complete(Region::ALL)));
        let len = encoder.len();
        buffer[..len].to_vec()
    }
}
