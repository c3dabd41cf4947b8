//! Bodies: reading and writing a message and its items.
//!
//! A body is `sender | message | items…`, each part in its [canonical encoding](super::codec).
//!
//! A node reads a body whole before it acts on anything in it: what [`Datagram::decode`] returns is valid
//! to the last byte.

use postcard::take_from_bytes;

use super::codec::{self, Writer};
use super::message::{
    HAS_MAP, ITEM_KINDS, Item, MapSummary, Message, Sender, is_known, read_clock,
};
use crate::shared_map::replica::{read_chunk, read_pull, read_wanted};
use crate::time::UnixTime;

/// A decoded body. All of it has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) sender: Sender,
    pub(crate) message: Message,
    pub(crate) items: Items<'a>,
    /// What the check of the items has found.
    pub(crate) found: Found,
}

/// What a node needs to know of the items before it reads them one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// How many items of unknown kinds stand among them.
    pub(crate) skipped: u64,
    /// The token that the first item echoes.
    pub(crate) echo: Option<u32>,
    /// What the first item about the sender's shared map tells of it.
    pub(crate) map: Option<MapSummary>,
    /// What the wall clock of the sender shows.
    pub(crate) clock: Option<UnixTime>,
}

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It is a message of a kind that this version does not know.
    Unknown,
    /// It is no message at all.
    Malformed,
}

impl<'a> Datagram<'a> {
    /// Reads a body whole.
    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (sender, rest): (Sender, _) = codec::take(body).ok_or(DecodeError::Malformed)?;
        if rest.first().is_some_and(|kind| !is_known(*kind)) {
            return Err(DecodeError::Unknown);
        }
        let (message, rest) = codec::take(rest).ok_or(DecodeError::Malformed)?;
        let items = Items(rest);
        let nothing = Found::default();
        let found = match message {
            Message::MapPull => (HAS_MAP && read_pull(rest).is_some()).then_some(nothing),
            Message::MapChunk => (HAS_MAP && read_chunk(rest).is_some()).then_some(nothing),
            Message::MapWant => (HAS_MAP && read_wanted(rest).is_some()).then_some(nothing),
            Message::Exchange(_) | Message::Push(_) | Message::MapRuns => items.check(),
            Message::Heartbeat { .. }
            | Message::Ping { .. }
            | Message::Pong { .. }
            | Message::Claim { .. } => rest.is_empty().then_some(nothing),
            Message::Probe { .. } => rest.iter().all(|byte| *byte == 0).then_some(nothing),
        };
        Ok(Self {
            sender,
            message,
            items,
            found: found.ok_or(DecodeError::Malformed)?,
        })
    }
}

/// What follows the message: the items of an exchange or a push, read one after the other. Items of
/// unknown kinds are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'a>(&'a [u8]);

/// An item of a kind that this version does not know: the kind, and what it says.
pub(crate) type UnknownItem<'a> = (u8, &'a [u8]);

impl<'a> Items<'a> {
    /// All of it, as it came.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Reads all items. `None` if one of them is not valid.
    fn check(mut self) -> Option<Found> {
        let mut found = Found::default();
        let mut is_first = true;
        while let Some(kind) = self.0.first() {
            if (ITEM_KINDS..128).contains(kind) {
                self.0 = skip(self.0)?;
                found.skipped = found.skipped.saturating_add(1);
                continue;
            }
            let (item, rest): (Item<'_>, _) = codec::take(self.0)?;
            if !item.is_valid() {
                return None;
            }
            match item {
                Item::Echo(token) => found.echo = found.echo.or(is_first.then_some(token)),
                Item::MapSummary(summary) => found.map = found.map.or(Some(summary)),
                Item::Clock(bytes) => found.clock = found.clock.or(read_clock(bytes)),
                _ => {}
            }
            is_first = false;
            self.0 = rest;
        }
        Some(found)
    }
}

/// The bytes behind an item of an unknown kind.
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest): (UnknownItem<'_>, _) = codec::take(bytes)?;
    Some(rest)
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        while self.0.first().is_some_and(|kind| *kind >= ITEM_KINDS) {
            self.0 = skip(self.0)?;
        }
        if self.0.is_empty() {
            return None;
        }
        let read = take_from_bytes(self.0);
        debug_assert!(read.is_ok(), "Datagram::decode has checked every item");
        let (item, rest) = read.ok()?;
        self.0 = rest;
        Some(item)
    }
}

/// Where a body is written.
#[derive(Debug)]
pub(crate) struct Space<'b> {
    /// As much as the longest datagram has for a body.
    pub(crate) buffer: &'b mut [u8],
    /// So many bytes are filled with items. A single item may take more.
    pub(crate) fill: usize,
}

impl<'b> Space<'b> {
    /// All of a buffer.
    #[cfg(any(test, feature = "map"))]
    pub(crate) const fn all(buffer: &'b mut [u8]) -> Self {
        let fill = buffer.len();
        Self { buffer, fill }
    }
}

/// Writes a body item by item.
#[derive(Debug)]
pub(crate) struct Encoder<'b> {
    writer: Writer<'b>,
    /// The bytes of the head.
    head: usize,
    fill: usize,
}

impl<'b> Encoder<'b> {
    /// Begins a body. `None` if not even its head fits.
    pub(crate) fn new(space: Space<'b>, sender: Sender, message: Message) -> Option<Self> {
        let Space { buffer, fill } = space;
        let mut writer = Writer::new(buffer);
        let fits = writer.put(&(sender, message));
        let head = writer.len();
        fits.then_some(Self { writer, head, fill })
    }

    /// Writes the head of a body whose rest another function writes. Returns the length of the head, and
    /// the room behind it.
    #[cfg(feature = "map")]
    pub(crate) fn split(
        space: Space<'b>,
        sender: Sender,
        message: Message,
    ) -> Option<(usize, &'b mut [u8])> {
        let Space { buffer, fill } = space;
        let fill = fill.min(buffer.len());
        let buffer = buffer.get_mut(..fill)?;
        let len = Encoder::new(Space::all(&mut *buffer), sender, message)?.len();
        Some((len, buffer.get_mut(len..)?))
    }

    /// Replaces the head by one of the same length.
    pub(crate) fn rewrite_head(&mut self, sender: Sender, message: Message) {
        self.writer.rewrite(&(sender, message));
    }

    /// Appends an item if it fits: up to the fill, or behind the head into the whole buffer. Tells whether it does.
    pub(crate) fn item(&mut self, item: &Item<'_>) -> bool {
        debug_assert!(
            !matches!(item, Item::Delta(delta) if !delta.adds_up()),
            "peers drop a datagram whose deltas do not add up"
        );
        let before = self.writer.len();
        let fits = self.writer.put(item);
        if fits && self.writer.len() > self.fill && before > self.head {
            self.writer.truncate(before);
            return false;
        }
        fits
    }

    /// Fills the rest with zeros, up to the fill.
    pub(crate) fn pad(&mut self) {
        self.writer.pad(self.fill);
    }

    /// Bytes that are free for further items.
    pub(crate) const fn room(&self) -> usize {
        self.fill.saturating_sub(self.writer.len())
    }

    /// Bytes that are free for a single item behind the head.
    pub(crate) fn room_for_one(&self) -> usize {
        self.writer.room()
    }

    /// Whether no item has been written yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.writer.len() == self.head
    }

    /// Bytes that are written.
    pub(crate) const fn len(&self) -> usize {
        self.writer.len()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use crate::identity::{Generation, NodeId};
    use crate::membership::Region;
    use crate::wire::message::{Delta, ExchangeHead, Extent, ModeTag, Summary};

    pub(crate) const SENDER: Sender = Sender {
        id: NodeId::from_u64(7),
        generation: Generation::new(Stamp::from_bits(9)),
    };

    #[test]
    fn an_exchange_is_read_back_as_it_was_written() {
        let mut buffer = [0; 256];
        let head = Message::Exchange(ExchangeHead {
            leg: 1,
            mode: ModeTag::PushPull,
            extent: Extent::Whole,
            hash: [3; 16],
            prune_time: 5,
        });
        let mut encoder = Encoder::new(Space::all(&mut buffer), SENDER, head).unwrap();
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
        let head = Message::Exchange(ExchangeHead {
            leg: 1,
            mode: ModeTag::PushPull,
            extent: Extent::Whole,
            hash: [255; 16],
            prune_time: u64::MAX,
        });
        let len = Encoder::new(Space::all(&mut buffer), SENDER, head)
            .unwrap()
            .len();
        assert!(len + crate::wire::frame::HEADER + crate::wire::frame::TRAILER <= 64);
    }

    #[test]
    fn unknown_kinds_and_rubbish_are_told_apart() {
        let mut buffer = [0; 64];
        let len = Encoder::new(Space::all(&mut buffer), SENDER, Message::Ping { token: 1 })
            .unwrap()
            .len();
        assert!(Datagram::decode(&buffer[..len]).is_ok());
        assert_eq!(
            Datagram::decode(&buffer[..len + 1]).unwrap_err(),
            DecodeError::Malformed,
            "a ping carries no items"
        );
        // The greatest kind of one byte: no version knows it yet.
        buffer[16] = 127;
        assert_eq!(
            Datagram::decode(&buffer[..len]).unwrap_err(),
            DecodeError::Unknown
        );
        assert_eq!(
            Datagram::decode(&buffer[..10]).unwrap_err(),
            DecodeError::Malformed
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
        let head = Message::Exchange(ExchangeHead {
            leg: 2,
            mode: ModeTag::PushPull,
            extent: Extent::Whole,
            hash: [3; 16],
            prune_time: 5,
        });
        let mut encoder = Encoder::new(Space::all(&mut buffer), SENDER, head).unwrap();
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
