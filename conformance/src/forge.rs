//! Datagrams that no node would send, byte by byte: a writer of the wire format that shares nothing
//! with the core's own.
//!
//! Numbers are postcard's: varints, seven bits a byte, the lowest first. Ids, generations and region
//! prefixes are eight bytes, little-endian.

use crc::{CRC_32_ISCSI, Crc};
use gossip_core::Node;

/// Kinds of messages, in the order in which the core declares them.
pub mod message {
    /// "I am alive."
    pub const HEARTBEAT: u8 = 0;
    /// "Are you alive?"
    pub const PING: u8 = 1;
    /// "I am", with the token of the ping.
    pub const PONG: u8 = 2;
    /// One leg of an exchange.
    pub const EXCHANGE: u8 = 3;
    /// News on its way down a tree.
    pub const PUSH: u8 = 4;
    /// "I hold this name."
    pub const CLAIM: u8 = 5;
    /// A request for a delta of the shared map.
    pub const MAP_PULL: u8 = 6;
    /// A part of a delta of the shared map.
    pub const MAP_CHUNK: u8 = 7;
    /// A request for missing writes of the map.
    pub const MAP_WANT: u8 = 8;
    /// Writes of the map that were asked for.
    pub const MAP_RUNS: u8 = 9;
}

/// Kinds of items of legs and pushes, in the order in which the core declares them.
pub mod item {
    /// How far an origin is known.
    pub const SUMMARY: u8 = 0;
    /// A request for what follows of an origin.
    pub const WANT: u8 = 1;
    /// What follows of an origin.
    pub const DELTA: u8 = 2;
    /// Hashes over the equal parts of a region.
    pub const SPLIT: u8 = 3;
    /// "That is all I hold in this region."
    pub const COMPLETE: u8 = 4;
    /// "I have removed you."
    pub const REMOVED: u8 = 5;
    /// The hash of the shared map.
    pub const MAP_SUMMARY: u8 = 6;
    /// How far an origin of the shared map is known, or that no other is.
    pub const MAP_TOLD: u8 = 7;
    /// Writes of the shared map.
    pub const MAP_RUN: u8 = 8;
    /// "I hold the beginning of this claim."
    pub const RESUME: u8 = 9;
    /// A token that was asked for.
    pub const ECHO: u8 = 10;
    /// "My table has no place for you."
    pub const FULL: u8 = 11;
    /// What the sender's clock shows.
    pub const CLOCK: u8 = 12;
    /// The first kind that no node knows.
    pub const UNKNOWN: u8 = 13;
}

/// Kinds of what tells how far the shared map is known.
pub mod told {
    /// How far an origin is known.
    pub const FRONTIER: u8 = 0;
    /// Between two origins there is no other.
    pub const COMPLETE: u8 = 1;
}

/// Kinds of pieces of a delta of the shared map.
mod piece {
    pub(super) const LIVE: u8 = 0;
    pub(super) const WRITE: u8 = 1;
    pub(super) const FRONTIER: u8 = 2;
    pub(super) const PRUNED: u8 = 3;
}

/// Bytes of the frame before the body: version, flags, cluster tag.
pub const HEADER: usize = 6;
/// Bytes of the frame after the body: the checksum.
pub const TRAILER: usize = 4;

/// A body in a frame whose header is that of a real datagram of the cluster.
#[must_use]
pub fn framed(real: &[u8], body: &[u8]) -> Vec<u8> {
    let mut datagram = real.get(..HEADER).unwrap_or_default().to_vec();
    datagram.extend_from_slice(body);
    let checksum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&datagram);
    datagram.extend_from_slice(&checksum.to_le_bytes());
    datagram
}

/// The body of a real datagram.
#[must_use]
pub fn body(real: &[u8]) -> &[u8] {
    let end = real.len().saturating_sub(TRAILER);
    real.get(HEADER..end).unwrap_or_default()
}

/// Bytes of a body before its message: the sender's id and generation.
pub const SENDER: usize = 16;

/// The kind of message that a real datagram carries.
#[must_use]
pub fn kind(real: &[u8]) -> Option<u8> {
    body(real).get(SENDER).copied()
}

/// The token of a ping.
#[must_use]
pub fn token(ping: &[u8]) -> Option<&[u8]> {
    let is_ping = kind(ping) == Some(message::PING);
    is_ping.then(|| body(ping).get(SENDER + 1..)).flatten()
}

/// A body in the making.
#[derive(Clone, Debug, Default)]
pub struct Body(pub Vec<u8>);

/// How far an origin is known.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The origin's id.
    pub origin: u64,
    /// Its generation.
    pub generation: u64,
    /// The last version known.
    pub frontier: u64,
}

impl Known {
    /// A running node, as one who knows it up to a version.
    #[must_use]
    pub fn of(node: &Node, frontier: u64) -> Self {
        Self {
            origin: node.id().as_u64(),
            generation: node.generation().stamp().to_bits(),
            frontier,
        }
    }
}

impl Body {
    /// Begins with the sender.
    #[must_use]
    pub fn from(id: u64, generation: u64) -> Self {
        Self::default().fixed(id).fixed(generation)
    }

    /// A heartbeat.
    #[must_use]
    pub fn heartbeat(self, counter: u64) -> Self {
        self.byte(message::HEARTBEAT).varint(counter)
    }

    /// A ping.
    #[must_use]
    pub fn ping(self, token: u32) -> Self {
        self.byte(message::PING).varint(token.into())
    }

    /// The beginning of a pong: the token follows.
    #[must_use]
    pub fn pong(self) -> Self {
        self.byte(message::PONG)
    }

    /// The head of a whole leg in push-pull mode, from who has forgotten nobody.
    #[must_use]
    pub fn exchange(self, leg: u8, hash: u128) -> Self {
        let mut body = self.byte(message::EXCHANGE).byte(leg).byte(2).byte(0);
        body.0.extend_from_slice(&hash.to_le_bytes());
        body.byte(0)
    }

    /// In a leg: the sender's clock shows so many milliseconds of Unix time.
    #[must_use]
    pub fn clock(self, millis: u64) -> Self {
        let [a, b, c, d, e, f, ..] = millis.to_le_bytes();
        self.byte(item::CLOCK).bytes(&[a, b, c, d, e, f])
    }

    /// "I hold this name since then."
    #[must_use]
    pub fn claim(self, born: u64) -> Self {
        self.byte(message::CLAIM).fixed(born)
    }

    /// The head of a push down the first tree, for the whole id space.
    #[must_use]
    pub fn push(self) -> Self {
        self.byte(message::PUSH).byte(0).fixed(0).fixed(u64::MAX)
    }

    /// A write of the shared map: the last one wins, it replaces its origin's own, lives for ever, and
    /// knew of nothing.
    #[must_use]
    pub fn write(self, whose: Known, key: &[u8], value: Option<&[u8]>) -> Self {
        self.write_after(whose, key, value, &[])
    }

    /// The same of who knew the key's writes of these origins.
    #[must_use]
    pub fn write_after(
        self,
        whose: Known,
        key: &[u8],
        value: Option<&[u8]>,
        context: &[Known],
    ) -> Self {
        let context = context.iter().copied().fold(Self::default(), Self::known);
        let body = self.bytes(key).fixed(whose.generation);
        let body = body.varint(whose.frontier).byte(0).byte(0).byte(0);
        let body = match value {
            Some(value) => body.byte(1).bytes(value),
            None => body.byte(0),
        };
        body.bytes(&context.0)
    }

    /// Writes of the shared map, each with its length before it, up to a version.
    #[must_use]
    pub fn runs(self, whose: Known, after: u64, writes: &[u8]) -> Self {
        let body = self
            .byte(item::MAP_RUN)
            .fixed(whose.origin)
            .fixed(whose.generation);
        body.varint(after).varint(whose.frontier).bytes(writes)
    }

    /// One write of the shared map, with its version: the last of a run that begins at `after`.
    #[must_use]
    pub fn run(self, whose: Known, after: u64, key: &[u8]) -> Self {
        let write = Self::default().write(whose, key, Some(&[]));
        self.runs(whose, after, &Self::default().bytes(&write.0).0)
    }

    /// A request for a delta of the shared map, from who knows nothing of it.
    #[must_use]
    pub fn map_pull(self) -> Self {
        let body = self.byte(message::MAP_PULL).varint(0).cursor(0, 0);
        let body = body.fixed(0).fixed(0).fixed(0).byte(1);
        // "That is all."
        body.byte(told::COMPLETE).byte(0).byte(0)
    }

    /// A request for all writes of an origin of the shared map up to a version.
    #[must_use]
    pub fn map_want(self, known: Known) -> Self {
        self.byte(message::MAP_WANT).range(known, 0)
    }

    /// One more range of a request for missing writes: those after a version.
    #[must_use]
    pub fn range(self, known: Known, after: u64) -> Self {
        let body = self.fixed(known.origin).fixed(known.generation);
        body.varint(after).varint(known.frontier)
    }

    /// In a SYN or a push: how far an origin of the shared map is known.
    #[must_use]
    pub fn map_told(self, known: Known) -> Self {
        let body = self.byte(item::MAP_TOLD).byte(told::FRONTIER);
        body.known(known)
    }

    /// The head of an answer to a request for missing writes. Runs follow.
    #[must_use]
    pub fn map_runs(self) -> Self {
        self.byte(message::MAP_RUNS)
    }

    /// The head of a chunk of a delta of the shared map that goes on when it is asked to.
    #[must_use]
    pub fn map_chunk(self, taker: Known) -> Self {
        self.chunk(taker, 9, 0, 1)
    }

    /// The head of a chunk that is a whole delta of the shared map, with lists.
    #[must_use]
    pub fn map_delta(self, taker: Known) -> Self {
        self.chunk(taker, 10, 1, 2)
    }

    fn chunk(self, taker: Known, session: u8, listing: u8, extent: u8) -> Self {
        let body = self
            .byte(message::MAP_CHUNK)
            .byte(session)
            .byte(0)
            .byte(0)
            .byte(0);
        let body = body.fixed(taker.origin).fixed(taker.generation);
        let body = body.cursor(listing, 0).cursor(listing, 1);
        body.varint(1).fixed(0).byte(extent)
    }

    /// In a chunk: of these versions none lives.
    #[must_use]
    pub fn listed(self, known: Known) -> Self {
        let body = self
            .byte(piece::LIVE)
            .fixed(known.origin)
            .fixed(known.generation);
        body.varint(0).varint(known.frontier).bytes(&[])
    }

    /// In a chunk: a part of a write of so many bytes, from so many on.
    #[must_use]
    pub fn part(self, whose: Known, total: u32, offset: u32, bytes: &[u8]) -> Self {
        let body = self
            .byte(piece::WRITE)
            .fixed(whose.origin)
            .fixed(whose.generation);
        body.varint(total.into()).varint(offset.into()).bytes(bytes)
    }

    /// In a chunk: how far an origin is known.
    #[must_use]
    pub fn frontier(self, known: Known) -> Self {
        self.byte(piece::FRONTIER).known(known).varint(0)
    }

    /// In a chunk: an origin was forgotten, and nothing of it lives.
    #[must_use]
    pub fn gone(self, known: Known) -> Self {
        self.byte(piece::PRUNED).known(known)
    }

    /// A place in a stream of the shared map: so much of the order of application has been told.
    fn cursor(self, listing: u8, applied: u64) -> Self {
        let mut body = self.fixed(listing.into()).fixed(applied);
        body.0.extend_from_slice(&[0; 4]);
        body
    }

    /// The entries of an origin in `(after, upto]`.
    #[must_use]
    pub fn delta(self, known: Known, after: u64, upto: u64, floor: u64, entries: &[u8]) -> Self {
        let body = self
            .byte(item::DELTA)
            .fixed(known.origin)
            .fixed(known.generation);
        let body = body.varint(after).varint(upto).varint(known.frontier);
        body.varint(floor).bytes(entries)
    }

    /// "That is all I hold in this region."
    #[must_use]
    pub fn complete(self, prefix: u64, bits: u8) -> Self {
        self.byte(item::COMPLETE).fixed(prefix).byte(bits)
    }

    /// "I have removed you."
    #[must_use]
    pub fn removed(self, generation: u64) -> Self {
        self.byte(item::REMOVED).fixed(generation)
    }

    /// One entry of a log, to be put into a delta.
    #[must_use]
    pub fn entry(self, version: u64, age: u64, key: &[u8], value: Option<&[u8]>) -> Self {
        let body = self.varint(version).varint(age).bytes(key);
        match value {
            Some(value) => body.byte(1).bytes(value),
            None => body.byte(0),
        }
    }

    /// One vote, to be put into the value of the key `[4]`, of who has not removed its subject.
    #[must_use]
    pub fn ballot(self, subject: Known, age: u64) -> Self {
        self.known(subject).varint(age).byte(0)
    }

    /// How far an origin is known.
    #[must_use]
    pub fn known(self, known: Known) -> Self {
        let body = self.fixed(known.origin).fixed(known.generation);
        body.varint(known.frontier)
    }

    /// A byte.
    #[must_use]
    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// Eight bytes, little-endian.
    #[must_use]
    pub fn fixed(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// A number in as few bytes as it takes.
    #[must_use]
    pub fn varint(mut self, mut number: u64) -> Self {
        while number > 0x7f {
            self.0.push(low_seven(number) | 0x80);
            number >>= 7;
        }
        self.0.push(low_seven(number));
        self
    }

    /// A length, and so many bytes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut body = self.varint(crate::num::count(bytes.len()));
        body.0.extend_from_slice(bytes);
        body
    }
}

fn low_seven(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x7f
}
