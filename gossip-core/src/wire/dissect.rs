//! Datagrams taken apart, for people who watch the wire.
//!
//! A [`Dissection`] reads what a node would read. It prints a line for the message and one for each item. It
//! can also be written again. Since every number has only one form, that gives the same bytes.

mod text;

use alloc::vec::Vec;

use super::codec::{self, Bytes};
use super::datagram::{Datagram, DecodeError, UnknownItem};
use super::frame::{self, ClusterTag, HEADER, Refused, SEALED, TRAILER};
use super::message::{Delta, ITEM_KINDS, Item, Message};
use crate::identity::{Generation, NodeId};
use crate::shared_map::replica::{Run, Write, read_chunk, read_pull, read_wanted};
use crate::state::entry::Entries;

/// What a plaintext datagram says.
///
/// Its [`Display`](core::fmt::Display) has a line for the message, and indented lines for each item and for
/// each entry of a delta. Text from other nodes is escaped, and cut if it is long.
///
/// It shows what a node would read. Without the feature `map`, that is nothing of the shared map: messages of
/// the map are [`Unreadable::Unknown`], and writes of the map that travel with other news are left out.
///
/// ```
/// # use gossip_core::{Config, Dissection, Identity, Instant, Node, UnixTime};
/// # let mut config = Config::lan();
/// # config.seeds = vec!["10.0.0.2:7946".parse()?];
/// # let identity = Identity::new("a", "10.0.0.1:7946".parse()?)?;
/// # let wall = UnixTime::from_millis(1_767_225_600_000);
/// # let mut node = Node::new(config, identity, [7; 32], Instant::ORIGIN, wall)?;
/// # let mut buffer = [0; 1400];
/// let datagram = node.poll_transmit(Instant::ORIGIN, &mut buffer).unwrap().payload;
/// let read = Dissection::of(datagram)?;
/// assert_eq!(read.sender(), node.id());
/// println!("{read}"); // exchange 1 of … (SYN), push-pull, whole, …
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Dissection<'a> {
    tag: ClusterTag,
    datagram: Datagram<'a>,
}

/// Why a datagram cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is too short to be a datagram of this protocol.
    #[error("it is shorter than any datagram: give the whole UDP payload")]
    Short,
    /// It is of another version of the protocol, or of another protocol.
    #[error(
        "it is of version {0} of the protocol, or of another protocol: use a program that speaks it"
    )]
    Version(u8),
    /// It has flags that this version does not know.
    #[error("it has flags that this version does not know: use a later version")]
    Flags,
    /// Its checksum does not match.
    #[error("the checksum does not match: bytes are damaged or missing")]
    Damaged,
    /// It is encrypted.
    #[error("it is encrypted: only a node that has the key can read it")]
    Encrypted,
    /// It is a message of a kind that this version does not know.
    #[error("it is a message of a kind that this version does not know: use a later version")]
    Unknown,
    /// It is undamaged, but no node sends such a message.
    #[error("it is undamaged, but not a message: another program has made it")]
    Malformed,
}

impl<'a> Dissection<'a> {
    /// Takes a datagram of any cluster apart. O(n) in its length.
    ///
    /// # Errors
    /// [`Unreadable`] says why a node would drop it.
    pub fn of(datagram: &'a [u8]) -> Result<Self, Unreadable> {
        let tag = ClusterTag::in_(datagram).ok_or(Unreadable::Short)?;
        let flags = datagram.get(1).copied().unwrap_or_default();
        let body = frame::open(tag, usize::MAX, datagram).map_err(|refused| match refused {
            Refused::Length => Unreadable::Short,
            Refused::Version => Unreadable::Version(datagram.first().copied().unwrap_or_default()),
            _ if flags == SEALED => Unreadable::Encrypted,
            Refused::Flags => Unreadable::Flags,
            _ => Unreadable::Damaged,
        })?;
        let datagram = Datagram::decode(body).map_err(|error| match error {
            DecodeError::Unknown => Unreadable::Unknown,
            DecodeError::Malformed => Unreadable::Malformed,
        })?;
        Ok(Self { tag, datagram })
    }

    /// The node that the datagram names as its sender.
    #[must_use]
    pub const fn sender(&self) -> NodeId {
        self.datagram.sender.id
    }

    /// The sender's generation.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.datagram.sender.generation
    }

    /// Writes the datagram again, part by part. The result is the same bytes that were read.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let Datagram {
            sender,
            message,
            items,
            ..
        } = self.datagram;
        let mut body = Vec::new();
        codec::append(&mut body, &sender);
        codec::append(&mut body, &message);
        match message {
            Message::MapPull => {
                if let Some((pull, told)) = read_pull(items.bytes()) {
                    codec::append(&mut body, &pull);
                    told.for_each(|told| codec::append(&mut body, &told));
                }
            }
            Message::MapChunk => {
                if let Some((head, pieces)) = read_chunk(items.bytes()) {
                    codec::append(&mut body, &head);
                    pieces.for_each(|piece| codec::append(&mut body, &piece));
                }
            }
            Message::MapWant => {
                let wanted = read_wanted(items.bytes()).into_iter().flatten();
                wanted.for_each(|wanted| codec::append(&mut body, &wanted));
            }
            Message::Exchange(_) | Message::Push(_) | Message::MapRuns => {
                for item in AllItems(items.bytes()) {
                    item.append_to(&mut body);
                }
            }
            Message::Probe { .. } => body.extend(items.bytes()),
            Message::Heartbeat { .. }
            | Message::Ping { .. }
            | Message::Pong { .. }
            | Message::Claim { .. } => {}
        }
        let len = body.len();
        let mut datagram = [&[0; HEADER][..], &body, &[0; TRAILER]].concat();
        let sealed = frame::seal(self.tag, &mut datagram, len);
        debug_assert!(sealed.is_some(), "there is room for the frame");
        datagram
    }
}

/// The items of a datagram, including those that a node would skip.
struct AllItems<'a>(&'a [u8]);

enum AnyItem<'a> {
    Known(Item<'a>),
    Unknown(UnknownItem<'a>),
}

impl<'a> Iterator for AllItems<'a> {
    type Item = AnyItem<'a>;

    fn next(&mut self) -> Option<AnyItem<'a>> {
        let found;
        (found, self.0) = if *self.0.first()? < ITEM_KINDS {
            let (item, rest) = codec::take(self.0)?;
            (AnyItem::Known(item), rest)
        } else {
            let (item, rest) = codec::take(self.0)?;
            (AnyItem::Unknown(item), rest)
        };
        Some(found)
    }
}

impl AnyItem<'_> {
    /// Writes the item again. A run is written entry by entry.
    fn append_to(self, body: &mut Vec<u8>) {
        let mut run = Vec::new();
        match self {
            Self::Unknown(item) => codec::append(body, &item),
            Self::Known(Item::Delta(delta)) => {
                Entries::new(delta.entries).for_each(|entry| entry.append_to(&mut run));
                let entries = &run;
                codec::append(body, &Item::Delta(Delta { entries, ..delta }));
            }
            Self::Known(Item::MapRun(pushed)) => {
                for write in pushed.writes().filter_map(Write::decode) {
                    codec::append(&mut run, &Bytes(&write.encode()));
                }
                let writes = &run;
                codec::append(body, &Item::MapRun(Run { writes, ..pushed }));
            }
            Self::Known(item) => codec::append(body, &item),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "map")]
mod tests {
    use super::*;
    use crate::command::{Key, Policy};
    use crate::hlc::Stamp;
    use crate::shared_map::replica::{
        DeltaReceiver, DeltaSender, Map, Origin, Put, VectorItem, write_pull,
    };
    use crate::wire::datagram::tests::{SENDER, rich_body};
    use std::string::ToString;
    use std::vec;

    const CLUSTER: &str = "c";

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut datagram = [&[0; HEADER][..], body, &[0; TRAILER]].concat();
        frame::seal(ClusterTag::of(CLUSTER), &mut datagram, body.len()).unwrap();
        datagram
    }

    fn origin(id: u64) -> Origin {
        Origin {
            id: NodeId::from_u64(id),
            generation: Generation::new(Stamp::from_bits(1 << 20)),
        }
    }

    /// A body with this head. `write` writes what stands behind it.
    fn body(message: Message, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        let mut body = Vec::new();
        codec::append(&mut body, &SENDER);
        codec::append(&mut body, &message);
        let head = body.len();
        body.resize(head + 900, 0);
        let len = write(&mut body[head..]);
        body.truncate(head + len);
        body
    }

    /// An exchange, a push, a request of the map and a delta of it.
    fn bodies() -> [Vec<u8>; 4] {
        let (one, other) = (origin(1), origin(2));
        let mut map = Map::new(one, CLUSTER, 0);
        for (time, key) in (1..).zip(["a", "b", "a"]) {
            let put = Put::value(b"value", Policy::KeepSiblings);
            map.put(Stamp::from_bits(time << 20), &Key::new(key).unwrap(), put);
        }
        let mut run = vec![];
        let pushed = map.poll_push(900, 900, &mut run).map(Item::MapRun);
        let mut push = rich_body();
        codec::append(&mut push, &pushed.unwrap());
        let mut taker = Map::new(other, CLUSTER, 0);
        let put = Put::delete(Policy::LastWriteWins);
        taker.put(Stamp::from_bits(1 << 21), &Key::new("b").unwrap(), put);
        let pull = DeltaReceiver::default().pull(&taker, one);
        let mut told = vec![VectorItem::Complete(None, None)];
        told.extend(taker.frontiers_after(None));
        let request = body(Message::MapPull, |room| {
            write_pull(&pull, &told, room).unwrap().0
        });
        let mut serving = DeltaSender::default();
        let reply = serving.on_pull(&map, other, &pull, told.into_iter());
        let session = (other, reply.serve.unwrap());
        let delta = body(Message::MapChunk, |room| {
            serving.write_chunk(&map, session, true, room).unwrap().0
        });
        [rich_body(), push, request, delta]
    }

    #[test]
    fn all_kinds_are_taken_apart_and_printed() {
        let tell = |body: &[u8]| Dissection::of(&framed(body)).unwrap().to_string();
        let [exchange, push, request, delta] = bodies().map(|body| tell(&body));
        for (text, says) in [
            (&exchange, "exchange, leg 2 (ACK)"),
            (&exchange, "\n     300 \"key\" = \"value\""),
            (&push, "\n  writes of"),
            (&push, "\n       3 \"a\" = \"value\""),
            (&request, "request of the map"),
            (&delta, "\n  write of"),
            (&delta, "\n       2 \"b\" = \"value\""),
        ] {
            assert!(text.contains(says), "{says} in {text}");
        }
    }

    #[test]
    fn an_error_says_why_a_datagram_cannot_be_read() {
        let [exchange, ..] = bodies();
        let datagram = framed(&exchange);
        let changed = |at: usize, to: u8| {
            let mut datagram = datagram.clone();
            datagram[at] = to;
            Dissection::of(&datagram).unwrap_err()
        };
        assert_eq!(Dissection::of(b"short").unwrap_err(), Unreadable::Short);
        assert_eq!(changed(0, 9), Unreadable::Version(9));
        assert_eq!(changed(1, SEALED), Unreadable::Encrypted);
        assert_eq!(changed(20, 200), Unreadable::Damaged);
        let unread = |body: &[u8]| Dissection::of(&framed(body)).unwrap_err();
        assert_eq!(unread(&exchange[..20]), Unreadable::Malformed);
        assert_eq!(unread(&[120; 20]), Unreadable::Unknown);
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_the_same(
            which in 0..4_usize,
            damage in proptest::collection::vec((0..900_usize, proptest::num::u8::ANY, 0..3_u8), 0..4),
        ) {
            let mut body = bodies()[which].clone();
            for (at, byte, how) in damage {
                let at = at % body.len();
                match how {
                    0 => body[at] = byte,
                    // This makes a longer form of a number that ends here.
                    1 => {
                        body[at] |= 0x80;
                        body.insert(at + 1, 0);
                    }
                    _ => body.insert(at, byte),
                }
            }
            let datagram = framed(&body);
            if let Ok(read) = Dissection::of(&datagram) {
                proptest::prop_assert_eq!(read.write(), datagram);
            }
        }
    }
}
