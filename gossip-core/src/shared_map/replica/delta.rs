//! What travels between two replicas: requests, and deltas cut to datagrams.
//!
//! A request tells the asker's frontiers, or those of them that its peer cannot guess. A delta is a
//! stream: first, where they are needed, the lists of live versions; then writes and frontiers in the
//! order in which the sender applied them, until it has caught up. A [`Cursor`] is a place in that
//! stream. A chunk says from where to where it goes, so that what is lost is asked for again and what
//! comes twice does no harm.

use core::marker::PhantomData;

use postcard::take_from_bytes;
use serde::{Deserialize, Serialize};

use super::Map;
use super::live_set::Segment;
use super::logs::{Frontier, Origin};
use super::write::Write;
use crate::identity::Generation;
use crate::state::room::Room;
use crate::wire::codec;

/// A place in a stream. Of fixed length, so that the head of a chunk can be written last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which lists of live versions: 0 for none, and one more each time they have to be made anew.
    #[serde(with = "postcard::fixint::le")]
    pub listing: u32,
    /// How many segments of them have been told.
    #[serde(with = "postcard::fixint::le")]
    pub segments: u32,
    /// Up to where the sender's order of application has been told.
    #[serde(with = "postcard::fixint::le")]
    pub applied: u64,
    /// How many bytes of the next write have been told.
    #[serde(with = "postcard::fixint::le")]
    pub offset: u32,
}

/// Where a chunk stands in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// More follows at once.
    More,
    /// More follows when it is asked for.
    Pause,
    /// The stream has caught up with its sender: this is all.
    Complete,
}

/// The head of a chunk; [`Piece`]s follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The sender's number for this stream.
    #[serde(with = "postcard::fixint::le")]
    pub session: u32,
    /// For whom the delta was made. A life that has ended knew what the next one does not.
    pub taker: Origin,
    /// Where the chunk begins.
    pub after: Cursor,
    /// Where it ends.
    pub upto: Cursor,
    /// Where the sender's order of application stood when the chunk was written. What a chunk leaves
    /// out as dead was replaced up to there: it must not be followed by one that was written earlier,
    /// and may claim to be all.
    pub as_of: u64,
    /// The sender's stamp D.
    pub forgotten: Generation,
    /// What follows.
    pub extent: Extent,
}

/// A part of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece<'a> {
    /// Which versions live.
    #[serde(borrow)]
    Live(Segment<'a>),
    /// A write, or a part of one that is too large for a datagram.
    Write {
        /// Whose.
        origin: Origin,
        /// How many bytes it has.
        total: u32,
        /// Where among them these begin.
        offset: u32,
        /// These.
        #[serde(serialize_with = "codec::bytes")]
        bytes: &'a [u8],
    },
    /// How far the sender knows an origin.
    Frontier(Frontier),
    /// The sender has forgotten an origin. Nothing of it lives up to here.
    Gone {
        /// Which.
        origin: Origin,
        /// Up to which version.
        upto: u64,
    },
}

impl Piece<'_> {
    /// Whose log it is about.
    pub(super) const fn origin(&self) -> Origin {
        match self {
            Self::Live(Segment { origin, .. })
            | Self::Write { origin, .. }
            | Self::Frontier(Frontier { origin, .. })
            | Self::Gone { origin, .. } => *origin,
        }
    }

    /// Whether its numbers add up. What a write says is seen when all of it is there.
    fn is_valid(&self) -> bool {
        match self {
            Self::Live(segment) => segment.is_valid(),
            Self::Write {
                total,
                offset,
                bytes,
                ..
            } => u32::try_from(bytes.len())
                .ok()
                .and_then(|len| offset.checked_add(len))
                .is_some_and(|end| *offset < end && end <= *total),
            Self::Frontier(Frontier {
                frontier, floor, ..
            }) => floor <= frontier,
            Self::Gone { .. } => true,
        }
    }
}

/// Bytes that a list of live versions takes while it is staged, beyond those that say it.
pub(super) const LISTED: usize = 64;

/// Bytes that a log takes in a replica: itself, its place in the index, and its rise in the order of
/// application.
pub(super) const LOG: usize = 112;

/// Bytes that a write takes in a replica beyond its own: in the slab, in the order of its key, and in the
/// order of application.
const WRITE: usize = 80;

/// Bytes that one takes beyond that which will die, or is dead: when.
const MORTAL: usize = 48;

/// What a write takes in a replica beyond its bytes; one of which only a part is told, at most.
pub(super) fn overhead(write: Option<&Write<'_>>) -> usize {
    match write {
        Some(write) if write.dies_at().is_none() => WRITE,
        _ => WRITE.saturating_add(MORTAL),
    }
}

/// The head of a request; [`Told`]s follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The stream to go on with; 0 for a new one.
    pub session: u32,
    /// Where to go on.
    pub cursor: Cursor,
    /// The asker's hash.
    pub hash: [u8; 16],
    /// The asker's stamp D.
    pub forgotten: Generation,
    /// Whether a delta is asked for. If not, this is only told so that the peer can ask.
    pub ask: bool,
}

/// What an asker tells of its frontiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// How far it knows an origin; 0 for not at all.
    Frontier(Origin, u64),
    /// It has told everything that it knows of origins after the first of these, up to the second.
    Complete(Option<Origin>, Option<Origin>),
}

/// Reads the head of a request, and everything that it tells, to the last byte. O(n), as is
/// [`read_chunk`].
#[must_use]
pub fn read_pull(bytes: &[u8]) -> Option<(Pull, Items<'_, Told>)> {
    let (pull, rest) = codec::take(bytes)?;
    Some((pull, Items::read(rest, |_| true)?))
}

/// Writes a request that tells `told`, or as much of it as fits. Returns its length, and how much of
/// `told` is in it; nothing where not even the head fits.
#[must_use]
pub fn write_pull(pull: &Pull, told: &[Told], buffer: &mut [u8]) -> Option<(usize, usize)> {
    let mut writer = Writer::new(buffer);
    if !writer.put(pull) {
        return None;
    }
    let written = told.iter().take_while(|item| writer.put(item)).count();
    Some((writer.len(), written))
}

/// The most bytes of a frontier that is told.
const TOLD: usize = 1 + 16 + 10;

impl Map {
    /// Writes a request that tells all frontiers after an origin, or as many as fit. Returns its
    /// length, and where the next one begins if there has to be one.
    #[must_use]
    pub fn write_table(
        &self,
        pull: &Pull,
        after: Option<Origin>,
        buffer: &mut [u8],
    ) -> Option<(usize, Option<Origin>)> {
        let mut writer = Writer::new(buffer);
        if !writer.put(pull) {
            return None;
        }
        let fitting = writer
            .room()
            .saturating_sub(2 * TOLD)
            .div_euclid(TOLD)
            .max(1);
        let mut rest = self.tell_after(after).skip(fitting.saturating_sub(1));
        let last = rest.next().filter(|_| rest.next().is_some());
        let upto = match last {
            Some(Told::Frontier(origin, _)) => Some(origin),
            _ => None,
        };
        writer.put(&Told::Complete(after, upto));
        for told in self.tell_after(after).take(fitting) {
            writer.put(&told);
        }
        Some((writer.len(), upto))
    }
}

/// Reads the head of a chunk, and its pieces, to the last byte; all of them are valid.
#[must_use]
pub fn read_chunk(bytes: &[u8]) -> Option<(Head, Items<'_, Piece<'_>>)> {
    let (head, rest) = codec::take(bytes)?;
    Some((head, Items::read(rest, Piece::is_valid)?))
}

/// Items one after the other, the bytes of each after those of the one before.
#[derive(Clone, Debug)]
pub struct Items<'a, T> {
    bytes: &'a [u8],
    item: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a> + Serialize> Items<'a, T> {
    /// Reads valid items to the last byte, or none.
    fn read(bytes: &'a [u8], is_valid: impl Fn(&T) -> bool) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let item;
            (item, rest) = codec::take(rest)?;
            if !is_valid(&item) {
                return None;
            }
        }
        Some(Self {
            bytes,
            item: PhantomData,
        })
    }
}

impl<'a, T: Deserialize<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.bytes.is_empty() {
            return None;
        }
        let (item, rest) = take_from_bytes(self.bytes).ok()?;
        self.bytes = rest;
        Some(item)
    }
}

/// Writes parts into a buffer of fixed size.
#[derive(Debug)]
pub(super) struct Writer<'b> {
    parts: codec::Writer<'b>,
    /// What the parts will make their taker hold beyond their bytes.
    taken: usize,
}

impl<'b> Writer<'b> {
    pub(super) const fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            parts: codec::Writer::new(buffer),
            taken: 0,
        }
    }

    /// Appends a part that makes its taker hold so much beyond its bytes, if both fit.
    pub(super) fn put_taking(&mut self, part: &impl Serialize, takes: usize) -> bool {
        let before = self.len();
        let taken = self.taken.saturating_add(takes);
        if !self.put(part) {
            return false;
        }
        if taken > Room::of(self.len()).left() {
            self.parts.truncate(before);
            return false;
        }
        self.taken = taken;
        true
    }

    /// Appends a part if it fits.
    pub(super) fn put(&mut self, part: &impl Serialize) -> bool {
        self.parts.put(part)
    }

    /// Replaces the beginning by something of the same length.
    pub(super) fn rewrite(&mut self, part: &impl Serialize) {
        self.parts.rewrite(part);
    }

    pub(super) const fn len(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn room(&self) -> usize {
        self.parts.room()
    }
}
