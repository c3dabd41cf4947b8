//! What a delta consists of: chunks, each of which is a datagram's worth of pieces.
//!
//! A delta is a stream. Where the receiver needs it, the stream begins with the sender's live set. Then
//! come writes and frontiers in the sender's apply order, until the stream has caught up with the sender.
//! What has died since the live set was made is told in between.
//! A [`Cursor`] is a place in that stream. A chunk says where it begins and where it ends, so that a lost
//! chunk can be asked for again, and a chunk that arrives twice does no harm.

use postcard::take_from_bytes;
use serde::{Deserialize, Serialize};

use super::delta_codec::EncodedItems;
use super::logs::{Frontier, Origin};
use crate::identity::Generation;
use crate::wire::codec;

/// A place in a stream. Its encoding has a fixed length, so that the head of a chunk can be written last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The number of the sender's live set. 0 stands for none. The number rises each time the sender has
    /// to make the live set anew.
    #[serde(with = "postcard::fixint::le")]
    pub live_set: u32,
    /// How many parts of the live set have been told, with those that tell what has died since.
    #[serde(with = "postcard::fixint::le")]
    pub segments: u32,
    /// The position up to which the sender's apply order has been told.
    #[serde(with = "postcard::fixint::le")]
    pub position: u64,
    /// How many bytes of the next write have been told.
    #[serde(with = "postcard::fixint::le")]
    pub offset: u32,
}

impl Cursor {
    /// The place where every stream begins: the beginning of a live set, or of the apply order where no
    /// live set is told.
    #[must_use]
    pub(super) fn is_beginning(&self) -> bool {
        let live_set = self.live_set;
        *self
            == Self {
                live_set,
                ..Self::default()
            }
    }
}

/// What follows a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChunkEnd {
    /// Another chunk follows at once.
    More,
    /// Another chunk follows when the receiver asks for it.
    Pause,
    /// Nothing: the stream has caught up with its sender, and the delta is complete.
    Complete,
}

/// The head of a chunk. [`DeltaPiece`]s follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkHead {
    /// The sender's number for this stream.
    #[serde(with = "postcard::fixint::le")]
    pub session: u32,
    /// The origin for which the delta was made. A later incarnation of the same node must not apply it:
    /// it knows less than the earlier one that asked.
    pub receiver: Origin,
    /// Where the chunk begins.
    pub after: Cursor,
    /// Where the chunk ends.
    pub upto: Cursor,
    /// The latest position of the sender's apply order when it wrote the chunk. A chunk leaves out what
    /// was dead at that moment. So a chunk with an earlier `as_of` must not follow it: that one could
    /// claim to be complete without the write that replaced what is left out.
    pub as_of: u64,
    /// The sender's prune stamp.
    pub prune_stamp: Generation,
    /// What follows the chunk.
    pub end: ChunkEnd,
}

/// Which of an origin's versions in `(after, upto]` live, or have died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSegment<'a> {
    /// The origin.
    pub origin: Origin,
    /// The version before the first.
    pub after: u64,
    /// The last version.
    pub upto: u64,
    /// Pairs of varints: so many versions are not meant, so many are, and so on. Versions after the last pair
    /// are not meant.
    #[serde(serialize_with = "codec::bytes")]
    pub runs: &'a [u8],
}

impl LiveSegment<'_> {
    /// Whether everything that is meant lies within the segment.
    fn is_valid(&self) -> bool {
        let (mut read, mut rest) = (self.after, self.runs);
        while !rest.is_empty() {
            let Some(((dead, live), after)) = codec::take::<(u64, u64)>(rest) else {
                return false;
            };
            match read.checked_add(dead).and_then(|at| at.checked_add(live)) {
                Some(end) if end <= self.upto => (read, rest) = (end, after),
                _ => return false,
            }
        }
        read <= self.upto
    }

    /// The first and the last version of each run of versions that are meant, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let (mut read, mut rest) = (self.after, self.runs);
        core::iter::from_fn(move || {
            let ((skipped, meant), after) = take_from_bytes::<(u64, u64)>(rest).ok()?;
            let first = read.saturating_add(skipped).saturating_add(1);
            read = read.saturating_add(skipped).saturating_add(meant);
            rest = after;
            Some((first, read))
        })
    }
}

/// A piece of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeltaPiece<'a> {
    /// A part of the sender's live set.
    #[serde(borrow)]
    Live(LiveSegment<'a>),
    /// A write, or a fragment of a write that is too large for one datagram.
    Write {
        /// The origin of the write.
        origin: Origin,
        /// How many bytes the write has.
        total: u32,
        /// How many of them come before `bytes`.
        offset: u32,
        /// The bytes of this fragment.
        #[serde(serialize_with = "codec::bytes")]
        bytes: &'a [u8],
    },
    /// How far the sender knows an origin.
    Frontier(Frontier),
    /// The sender has pruned an origin: none of its versions up to this one lives. Belongs to the live
    /// set.
    Pruned {
        /// The origin.
        origin: Origin,
        /// The version.
        upto: u64,
    },
    /// Versions that lived when the live set was made, or came later, and have died since. Other versions in
    /// the segment may live.
    Died(LiveSegment<'a>),
}

impl DeltaPiece<'_> {
    /// The origin that the piece is about.
    pub(super) const fn origin(&self) -> Origin {
        match self {
            Self::Live(LiveSegment { origin, .. })
            | Self::Died(LiveSegment { origin, .. })
            | Self::Write { origin, .. }
            | Self::Frontier(Frontier { origin, .. })
            | Self::Pruned { origin, .. } => *origin,
        }
    }

    /// Whether the numbers of the piece fit together. The receiver checks the content of a write when it
    /// has all of its fragments.
    fn is_valid(&self) -> bool {
        match self {
            Self::Live(segment) | Self::Died(segment) => segment.is_valid(),
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
            Self::Pruned { .. } => true,
        }
    }
}

/// Reads the head of a chunk and its pieces, up to the last byte. `None` unless all of them are valid.
#[must_use]
pub fn read_chunk(bytes: &[u8]) -> Option<(ChunkHead, EncodedItems<'_, DeltaPiece<'_>>)> {
    let (head, rest) = codec::take(bytes)?;
    Some((head, EncodedItems::read(rest, DeltaPiece::is_valid)?))
}
