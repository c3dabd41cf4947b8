//! The receiving end of a delta: where chunks wait until all of the delta has arrived.
//!
//! A part of a delta claims versions whose replacements have not arrived yet. So nothing of it is applied,
//! or seen, before all of it is there.
//!
//! One delta waits at a time. It may be dropped at any moment. Only the replica that began it can go on
//! with it: another one has applied its writes in another order. Chunks are taken in the order of the
//! stream.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Map;
use super::chunk::{ChunkEnd, ChunkHead, Cursor, DeltaPiece};
use super::delta_apply::{Claim, ReceivedDelta, Unapplied};
use super::live_set::LiveSetPart;
use super::logs::{Frontier, Origin};
use super::overhead;
use super::pull::Pull;
use super::reopen::OwnLog;
use super::write::Write;
use crate::growth::make_room;
use crate::hlc::Stamp;

/// What a chunk has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkOutcome {
    /// It is kept, and more is on its way.
    Kept,
    /// It is kept, and more has to be asked for.
    Ask,
    /// The delta was complete, and has been applied.
    Applied {
        /// The latest stamp in it. Own writes must have later ones.
        latest: Stamp,
        /// How the own log stands. It must be reopened unless it is sound.
        own: OwnLog,
    },
    /// It does not go on where the delta stands, which goes on waiting.
    Elsewhere,
    /// It completes a delta without a live set, which this replica needs by now. The delta is dropped.
    Outdated,
    /// Something of this origin is from too far in the future. The delta is dropped.
    TooFarAhead(Origin, Stamp),
    /// The delta has outgrown the limits, and is dropped.
    TooLarge,
    /// Its pieces do not fit together. The delta is dropped.
    Broken,
}

/// The most that a replica accepts of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyLimits {
    /// The latest stamp.
    pub stamp: Stamp,
    /// The most bytes of a delta, with what it takes to keep it while it waits. The map and a delta
    /// together may have a third more.
    pub bytes: usize,
    /// The most bytes that a chunk may make the replica hold beyond those of the chunk. Senders keep to
    /// it.
    pub room: usize,
}

/// The delta that waits, if one does.
#[derive(Clone, Debug, Default)]
pub struct DeltaReceiver {
    delta: Option<StagedDelta>,
}

#[derive(Clone, Debug)]
struct StagedDelta {
    peer: Origin,
    session: u32,
    /// Where the next chunk begins.
    cursor: Cursor,
    /// The `as_of` of the last chunk.
    as_of: u64,
    /// The latest stamp in it.
    latest: Stamp,
    fragments: Option<Fragments>,
    content: ReceivedDelta,
}

/// The beginning of a write that arrives in fragments.
#[derive(Clone, Debug)]
struct Fragments {
    origin: Origin,
    /// How many bytes the write has.
    total: u32,
    bytes: Vec<u8>,
}

/// What a fragment of a write leads to.
enum Assembled {
    Whole(Box<[u8]>),
    Part,
    /// It belongs to another write than the one that was begun, or to one that has changed since.
    Another,
}

impl DeltaReceiver {
    /// The peer whose delta waits.
    #[must_use]
    pub fn peer(&self) -> Option<Origin> {
        self.delta.as_ref().map(|delta| delta.peer)
    }

    /// Whether a peer's chunk belongs to the delta that waits, but to a later place than it has come to.
    #[must_use]
    pub fn is_ahead(&self, peer: Origin, head: &ChunkHead) -> bool {
        let place = |at: &Cursor| (at.live_set, at.segments, at.position, at.offset);
        self.delta.as_ref().is_some_and(|delta| {
            (delta.peer, delta.session) == (peer, head.session)
                && place(&delta.cursor) < place(&head.after)
                && head.as_of >= delta.as_of
                && !delta.goes_on_with(head)
        })
    }

    /// Whether the delta that waits goes on with a chunk of its peer.
    #[must_use]
    pub fn goes_on_with(&self, head: &ChunkHead) -> bool {
        self.delta
            .as_ref()
            .is_some_and(|delta| delta.session == head.session && delta.goes_on_with(head))
    }

    /// How many bytes wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.delta.as_ref().map_or(0, |delta| delta.content.bytes)
    }

    /// Drops the delta that waits.
    pub fn discard(&mut self) {
        self.delta = None;
    }

    /// The request with which a peer's delta goes on, or begins.
    #[must_use]
    pub fn pull(&self, map: &Map, peer: Origin) -> Pull {
        let delta = self.delta.as_ref().filter(|delta| delta.peer == peer);
        let begin = map.summary().to_pull(true);
        delta.map_or(begin, |delta| Pull {
            session: delta.session,
            cursor: delta.cursor,
            ..begin
        })
    }

    /// Takes in a peer's chunk. `me` is this node as it is now. What is beyond the limits is refused.
    pub fn accept<'a>(
        &mut self,
        map: &mut Map,
        me: Origin,
        peer: Origin,
        head: &ChunkHead,
        pieces: impl Iterator<Item = DeltaPiece<'a>>,
        limits: ApplyLimits,
    ) -> ChunkOutcome {
        if head.receiver != me {
            return ChunkOutcome::Elsewhere;
        }
        let begins = head.after.is_beginning();
        let is_whole = begins && head.end == ChunkEnd::Complete;
        let mut delta = match self.delta.take() {
            Some(delta) if delta.peer == peer && delta.session == head.session => delta,
            // A chunk that is a delta by itself does not disturb the one that waits.
            Some(other) if is_whole => {
                let mut delta = StagedDelta::new(peer, head.session);
                delta.cursor = head.after;
                let outcome = delta.add(head, pieces, limits);
                self.delta = Some(other);
                return match outcome {
                    ChunkOutcome::Kept => delta.apply(map, limits),
                    outcome => outcome,
                };
            }
            Some(other) => {
                self.delta = Some(other);
                return ChunkOutcome::Elsewhere;
            }
            None if begins => StagedDelta::new(peer, head.session),
            None => return ChunkOutcome::Elsewhere,
        };
        // A chunk from before the last one may claim what the last one has left out as dead.
        if !delta.goes_on_with(head) || head.as_of < delta.as_of {
            self.delta = Some(delta);
            return ChunkOutcome::Elsewhere;
        }
        if delta.has_new_live_set(head) {
            delta.drop_live_set();
        }
        let outcome = delta.add(head, pieces, limits);
        match (outcome, head.end) {
            (ChunkOutcome::Kept, ChunkEnd::Complete) => delta.apply(map, limits),
            (ChunkOutcome::Kept, end) => {
                self.delta = Some(delta);
                if end == ChunkEnd::Pause {
                    ChunkOutcome::Ask
                } else {
                    ChunkOutcome::Kept
                }
            }
            (dropped, _) => dropped,
        }
    }
}

impl StagedDelta {
    fn new(peer: Origin, session: u32) -> Self {
        Self {
            peer,
            session,
            cursor: Cursor::default(),
            as_of: 0,
            latest: Stamp::ZERO,
            fragments: None,
            content: ReceivedDelta::default(),
        }
    }

    /// Whether a chunk begins where this delta has come to, with the same live set or a new one.
    fn goes_on_with(&self, head: &ChunkHead) -> bool {
        let (at, after) = (&self.cursor, &head.after);
        let is_same = (after.live_set, after.segments) == (at.live_set, at.segments);
        (after.position, after.offset) == (at.position, at.offset)
            && (is_same || self.has_new_live_set(head))
    }

    /// Whether a chunk begins a new live set.
    const fn has_new_live_set(&self, head: &ChunkHead) -> bool {
        head.after.live_set > self.cursor.live_set && head.after.segments == 0
    }

    /// Drops the live set, which the sender has made anew.
    fn drop_live_set(&mut self) {
        self.content.live_set.clear();
        self.claim_floors();
    }

    /// The sender has collected something since it told the floors. So the frontiers that it has told are
    /// floors now.
    fn claim_floors(&mut self) {
        for claim in self.content.claims.values_mut() {
            claim.floor = claim.frontier;
        }
    }

    /// Takes in a chunk. `Kept` unless something in it is refused.
    fn add<'a>(
        &mut self,
        head: &ChunkHead,
        pieces: impl Iterator<Item = DeltaPiece<'a>>,
        limits: ApplyLimits,
    ) -> ChunkOutcome {
        if head.prune_stamp.stamp() > limits.stamp {
            return ChunkOutcome::TooFarAhead(self.peer, head.prune_stamp.stamp());
        }
        self.content.prune_stamp = self.content.prune_stamp.max(head.prune_stamp);
        let mut room = limits.room;
        for piece in pieces {
            let origin = piece.origin();
            let began = origin.generation.stamp();
            if began > limits.stamp {
                return ChunkOutcome::TooFarAhead(origin, began);
            }
            let overhead = match self.add_piece(piece, limits.stamp) {
                Ok(overhead) => overhead,
                Err(refused) => return refused,
            };
            let Some(rest) = room.checked_sub(overhead) else {
                return ChunkOutcome::TooLarge;
            };
            room = rest;
            if self.content.bytes > limits.bytes {
                return ChunkOutcome::TooLarge;
            }
        }
        (self.cursor, self.as_of) = (head.upto, head.as_of);
        ChunkOutcome::Kept
    }

    /// Takes in a piece. Returns how many bytes it takes beyond its own.
    fn add_piece(&mut self, piece: DeltaPiece<'_>, limit: Stamp) -> Result<usize, ChunkOutcome> {
        match piece {
            DeltaPiece::Live(segment) => Ok(self.add_part(LiveSetPart::live(&segment))),
            DeltaPiece::Died(segment) => {
                self.claim_floors();
                Ok(self.add_part(LiveSetPart::died(&segment)))
            }
            DeltaPiece::Pruned { origin, upto } => {
                Ok(self.add_part(LiveSetPart::pruned(origin, upto)))
            }
            DeltaPiece::Frontier(Frontier {
                origin,
                frontier,
                floor,
            }) => {
                let claim = Claim { frontier, floor };
                if self.content.claims.insert(origin, claim).is_none() {
                    self.count_bytes(size_of::<Frontier>());
                }
                Ok(overhead::LOG)
            }
            DeltaPiece::Write {
                origin,
                total,
                offset,
                bytes,
            } => {
                self.count_bytes(bytes.len().saturating_add(size_of::<(Origin, Box<[u8]>)>()));
                match self.assemble(origin, total, offset, bytes) {
                    Assembled::Whole(whole) => self.add_write(origin, whole, limit),
                    Assembled::Part => Ok(overhead::of_write(None)),
                    Assembled::Another => Err(ChunkOutcome::Broken),
                }
            }
        }
    }

    fn add_part(&mut self, part: LiveSetPart) -> usize {
        self.count_bytes(part.size());
        make_room(&mut self.content.live_set, 1);
        self.content.live_set.push(part);
        overhead::LIVE_SET_PART
    }

    fn add_write(
        &mut self,
        origin: Origin,
        bytes: Box<[u8]>,
        limit: Stamp,
    ) -> Result<usize, ChunkOutcome> {
        let Some(write) = Write::decode(&bytes) else {
            return Err(ChunkOutcome::Broken);
        };
        if write.stamp > limit {
            return Err(ChunkOutcome::TooFarAhead(origin, write.stamp));
        }
        self.latest = self.latest.max(write.stamp);
        let overhead = overhead::of_write(Some(&write));
        make_room(&mut self.content.writes, 1);
        self.content.writes.push((origin, bytes));
        Ok(overhead)
    }

    const fn count_bytes(&mut self, bytes: usize) {
        self.content.bytes = self.content.bytes.saturating_add(bytes);
    }

    /// Puts the fragments of a large write together.
    fn assemble(&mut self, origin: Origin, total: u32, offset: u32, bytes: &[u8]) -> Assembled {
        let total_bytes = usize::try_from(total).unwrap_or(usize::MAX);
        let begun = self.fragments.take();
        if offset == 0 && bytes.len() >= total_bytes {
            return Assembled::Whole(bytes.into());
        }
        let mut read = match begun {
            Some(begun) if offset > 0 && (begun.origin, begun.total) == (origin, total) => {
                begun.bytes
            }
            _ => Vec::new(),
        };
        if u32::try_from(read.len()) != Ok(offset) {
            return Assembled::Another;
        }
        read.extend_from_slice(bytes);
        if read.len() >= total_bytes {
            return Assembled::Whole(read.into_boxed_slice());
        }
        self.fragments = Some(Fragments {
            origin,
            total,
            bytes: read,
        });
        Assembled::Part
    }

    /// Applies the delta: all of it has arrived.
    fn apply(mut self, map: &mut Map, limits: ApplyLimits) -> ChunkOutcome {
        let latest = self.latest.max(self.content.prune_stamp.stamp());
        self.content.has_live_set = self.cursor.live_set > 0;
        // A delta may replace most of what is held, so there is room for both.
        let limit = limits.bytes.saturating_add(limits.bytes.div_euclid(3));
        match map.apply_delta(self.content, limit) {
            Ok(own) => ChunkOutcome::Applied { latest, own },
            Err(Unapplied::TooLarge) => ChunkOutcome::TooLarge,
            Err(Unapplied::Outdated) => ChunkOutcome::Outdated,
        }
    }
}
