//! The taking end of a delta: where it waits until all of it has arrived.
//!
//! A part of a delta claims versions whose overwriters have not come. So nothing of it is applied,
//! or seen, before all of it is there; then drops, writes, frontiers and floors take effect together.
//! One delta is staged at a time. It may be dropped at any moment, and goes on with the replica that
//! began it, and no other: another one has applied its writes in another order.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::Map;
use super::changes::{self, Notice};
use super::delta::{Cursor, Extent, Head, LISTED, LOG, Piece, Pull, overhead};
use super::live_set::{Kept, Listing};
use super::logs::{Frontier, Log, Origin};
use super::slab::Slot;
use super::write::Write;
use crate::command::{Key, Value};
use crate::growth::make_room;
use crate::hlc::Stamp;
use crate::identity::Generation;

/// What a chunk has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept; more is on its way.
    Kept,
    /// It is kept, and more has to be asked for.
    Ask,
    /// The delta was complete, and is applied.
    Applied {
        /// The latest stamp in it: later ones must follow.
        latest: Stamp,
        /// The own log has been forgotten elsewhere, or written by another: it must be reopened.
        own: Own,
    },
    /// It does not go on where the delta stands; the delta waits.
    Elsewhere,
    /// It tells no lists, which would be needed by now; the delta is dropped.
    Outdated,
    /// It is from too far in the future; the delta is dropped.
    TooFarAhead(Origin, Stamp),
    /// The delta has outgrown the limit, and is dropped.
    TooLarge,
    /// It makes no sense; the delta is dropped.
    Broken,
}

/// How a replica's own log stands with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// As it should.
    Sound,
    /// It has been forgotten: what it holds must be written anew under a later generation.
    Forgotten,
    /// Somebody else has written under the same generation.
    Contested,
}

/// What a replica takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The latest stamp.
    pub stamp: Stamp,
    /// The most bytes of a delta, with what it takes to keep them until all have arrived. What is held
    /// and a delta are twice as much at most.
    pub bytes: usize,
    /// The most bytes that a chunk may make it hold beyond those of the chunk, which its sender keeps to.
    pub room: usize,
}

/// A delta that waits.
#[derive(Clone, Debug, Default)]
pub struct Staging {
    delta: Option<Delta>,
}

#[derive(Clone, Debug)]
struct Delta {
    peer: Origin,
    session: u32,
    cursor: Cursor,
    /// Where its sender stood when it wrote the last part.
    as_of: u64,
    segments: Vec<Kept>,
    writes: Vec<(Origin, Box<[u8]>)>,
    /// The beginning of a write that is told in parts: whose, of how many bytes.
    part: Option<(Origin, u32, Vec<u8>)>,
    frontiers: BTreeMap<Origin, Claimed>,
    forgotten: Generation,
    latest: Stamp,
    bytes: usize,
}

/// How far an origin will be known.
#[derive(Clone, Copy, Debug)]
struct Claimed {
    frontier: u64,
    floor: u64,
}

/// What a part of a write comes to.
enum Assembled {
    Whole(Box<[u8]>),
    Part,
    /// It goes on with another write than the one that was begun, or one that has changed since.
    Another,
}

impl Delta {
    fn new(peer: Origin, session: u32) -> Self {
        Self {
            peer,
            session,
            cursor: Cursor::default(),
            as_of: 0,
            segments: Vec::new(),
            writes: Vec::new(),
            part: None,
            frontiers: BTreeMap::new(),
            forgotten: Generation::ZERO,
            latest: Stamp::ZERO,
            bytes: 0,
        }
    }
}

impl Staging {
    /// With whom a delta is under way.
    #[must_use]
    pub fn peer(&self) -> Option<Origin> {
        self.delta.as_ref().map(|delta| delta.peer)
    }

    /// Whether a chunk of a peer belongs to the delta that waits, but further on than it has come.
    #[must_use]
    pub fn is_ahead(&self, peer: Origin, head: &Head) -> bool {
        let place = |at: &Cursor| (at.listing, at.segments, at.applied, at.offset);
        self.delta.as_ref().is_some_and(|delta| {
            (delta.peer, delta.session) == (peer, head.session)
                && place(&delta.cursor) < place(&head.after)
                && head.as_of >= delta.as_of
                && !delta.goes_on_with(head)
        })
    }

    /// Whether the delta that waits goes on with a chunk of its peer.
    #[must_use]
    pub fn goes_on_with(&self, head: &Head) -> bool {
        self.delta
            .as_ref()
            .is_some_and(|delta| delta.session == head.session && delta.goes_on_with(head))
    }

    /// How many bytes wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.delta.as_ref().map_or(0, |delta| delta.bytes)
    }

    /// Drops what waits.
    pub fn discard(&mut self) {
        self.delta = None;
    }

    /// The request that goes on with what waits, or begins.
    #[must_use]
    pub fn pull(&self, map: &Map, peer: Origin) -> Pull {
        let delta = self.delta.as_ref().filter(|delta| delta.peer == peer);
        let summary = map.summary();
        Pull {
            session: delta.map_or(0, |delta| delta.session),
            cursor: delta.map_or(Cursor::default(), |delta| delta.cursor),
            hash: summary.hash.to_le_bytes(),
            forgotten: summary.forgotten,
            ask: true,
        }
    }

    /// Takes in a chunk that is meant for `me`. Whatever is beyond `limit` is refused.
    pub fn accept<'a>(
        &mut self,
        map: &mut Map,
        me: Origin,
        peer: Origin,
        head: &Head,
        pieces: impl Iterator<Item = Piece<'a>>,
        limit: Limit,
    ) -> Outcome {
        if head.taker != me {
            return Outcome::Elsewhere;
        }
        let begins = head.after
            == Cursor {
                listing: head.after.listing,
                ..Cursor::default()
            };
        let alone = begins && head.extent == Extent::Complete;
        let mut delta = match self.delta.take() {
            Some(delta) if delta.peer == peer && delta.session == head.session => delta,
            // One that is complete in itself disturbs nothing.
            Some(other) if alone => {
                let mut delta = Delta::new(peer, head.session);
                delta.cursor = head.after;
                let outcome = delta.add(head, pieces, limit);
                self.delta = Some(other);
                return match outcome {
                    Outcome::Kept => delta.apply(map, limit),
                    outcome => outcome,
                };
            }
            Some(other) => {
                self.delta = Some(other);
                return Outcome::Elsewhere;
            }
            None if begins => Delta::new(peer, head.session),
            None => return Outcome::Elsewhere,
        };
        // One from before what has been taken in may claim what that has left out.
        if !delta.goes_on_with(head) || head.as_of < delta.as_of {
            self.delta = Some(delta);
            return Outcome::Elsewhere;
        }
        if delta.is_listed_anew_by(head) {
            delta.segments.clear();
            // They kill what was collected since their floors were told.
            for claimed in delta.frontiers.values_mut() {
                claimed.floor = claimed.frontier;
            }
        }
        let outcome = delta.add(head, pieces, limit);
        match (outcome, head.extent) {
            (Outcome::Kept, Extent::Complete) => delta.apply(map, limit),
            (Outcome::Kept, extent) => {
                self.delta = Some(delta);
                if extent == Extent::Pause {
                    Outcome::Ask
                } else {
                    Outcome::Kept
                }
            }
            (dropped, _) => dropped,
        }
    }
}

impl Delta {
    /// Whether a chunk begins where this delta has come to, be it with new lists.
    fn goes_on_with(&self, head: &Head) -> bool {
        let (at, after) = (&self.cursor, &head.after);
        let is_listed = (after.listing, after.segments) == (at.listing, at.segments);
        (after.applied, after.offset) == (at.applied, at.offset)
            && (is_listed || self.is_listed_anew_by(head))
    }

    /// Whether a chunk begins the lists anew.
    const fn is_listed_anew_by(&self, head: &Head) -> bool {
        head.after.listing > self.cursor.listing && head.after.segments == 0
    }

    /// Takes in what a chunk brings.
    fn add<'a>(
        &mut self,
        head: &Head,
        pieces: impl Iterator<Item = Piece<'a>>,
        limit: Limit,
    ) -> Outcome {
        let Limit {
            stamp: limit,
            bytes: max_bytes,
            mut room,
        } = limit;
        if head.forgotten.stamp() > limit {
            return Outcome::TooFarAhead(self.peer, head.forgotten.stamp());
        }
        self.forgotten = self.forgotten.max(head.forgotten);
        for piece in pieces {
            let origin = piece.origin();
            let began = origin.generation.stamp();
            if began > limit {
                return Outcome::TooFarAhead(origin, began);
            }
            let takes = match piece {
                Piece::Live(segment) => {
                    self.list(Kept::new(&segment));
                    LISTED
                }
                Piece::Gone { origin, upto } => {
                    self.list(Kept::gone(origin, upto));
                    LISTED
                }
                Piece::Frontier(Frontier {
                    origin,
                    frontier,
                    floor,
                }) => {
                    let claimed = Claimed { frontier, floor };
                    if self.frontiers.insert(origin, claimed).is_none() {
                        self.bytes = self.bytes.saturating_add(size_of::<Frontier>());
                    }
                    LOG
                }
                Piece::Write {
                    origin,
                    total,
                    offset,
                    bytes,
                } => {
                    self.bytes = self
                        .bytes
                        .saturating_add(bytes.len())
                        .saturating_add(size_of::<(Origin, Box<[u8]>)>());
                    let whole = match self.assemble(origin, total, offset, bytes) {
                        Assembled::Whole(whole) => Some(whole),
                        Assembled::Part => None,
                        Assembled::Another => return Outcome::Broken,
                    };
                    let write = whole.as_deref().map(Write::decode);
                    if write == Some(None) {
                        return Outcome::Broken;
                    }
                    let write = write.flatten();
                    let stamp = write.map_or(Stamp::ZERO, |write| write.stamp);
                    if stamp > limit {
                        return Outcome::TooFarAhead(origin, stamp);
                    }
                    self.latest = self.latest.max(stamp);
                    let takes = overhead(write.as_ref());
                    if let Some(whole) = whole {
                        make_room(&mut self.writes, 1);
                        self.writes.push((origin, whole));
                    }
                    takes
                }
            };
            let Some(rest) = room.checked_sub(takes) else {
                return Outcome::TooLarge;
            };
            room = rest;
            if self.bytes > max_bytes {
                return Outcome::TooLarge;
            }
        }
        (self.cursor, self.as_of) = (head.upto, head.as_of);
        Outcome::Kept
    }

    fn list(&mut self, kept: Kept) {
        self.bytes = self.bytes.saturating_add(kept.size());
        make_room(&mut self.segments, 1);
        self.segments.push(kept);
    }

    /// Puts the parts of a large write together.
    fn assemble(&mut self, origin: Origin, total: u32, offset: u32, bytes: &[u8]) -> Assembled {
        let total_bytes = usize::try_from(total).unwrap_or(usize::MAX);
        let part = self.part.take();
        if offset == 0 && bytes.len() >= total_bytes {
            return Assembled::Whole(bytes.into());
        }
        let mut read = match part {
            Some((other, size, read)) if offset > 0 && (other, size) == (origin, total) => read,
            _ => Vec::new(),
        };
        if u32::try_from(read.len()) != Ok(offset) {
            return Assembled::Another;
        }
        read.extend_from_slice(bytes);
        if read.len() >= total_bytes {
            return Assembled::Whole(read.into_boxed_slice());
        }
        self.part = Some((origin, total, read));
        Assembled::Part
    }

    /// All of it has arrived: drops, writes, frontiers, floors and D take effect together.
    fn apply(self, map: &mut Map, limit: Limit) -> Outcome {
        let own = map.own;
        // A delta may replace most of what is held, so there is room for both.
        if map.bytes().saturating_add(self.bytes) > limit.bytes.saturating_mul(2) {
            return Outcome::TooLarge;
        }
        let is_below =
            |(origin, claimed): (&Origin, &Claimed)| map.frontier(*origin) < claimed.floor;
        if self.cursor.listing == 0 && map.writes() > 0 && self.frontiers.iter().any(is_below) {
            // It was made for a replica that knew nothing, and this one has learned something since.
            return Outcome::Outdated;
        }
        let before = map.summary();
        let listing = (self.cursor.listing > 0).then(|| Listing::new(&self.segments));
        // Nobody knows more of the own log than it has written, be it that nothing of it lives.
        let claimed = self.frontiers.get(&own).map_or(0, |own| own.frontier);
        let listed = listing.as_ref().map_or(0, |listing| listing.upto(own));
        let contested = map.known(own) < claimed.max(listed);
        // What a refused log killed is claimed to be dead, but not the log that killed it.
        let mut unnamed = self.frontiers.keys().any(|origin| map.refuses(*origin));
        let skipped: BTreeSet<Origin> = self
            .frontiers
            .iter()
            .map(|(origin, claimed)| (*origin, claimed.frontier))
            .filter(|(origin, upto)| map.refuses(*origin) || map.is_buried(*origin, *upto))
            .map(|(origin, _)| origin)
            .collect();
        let mut dropped = Dropped::default();
        if let Some(listing) = &listing {
            dropped = map.drop_unlisted(listing, self.forgotten, contested);
            unnamed |= dropped.unnamed;
        }
        let mut standing = if contested {
            Own::Contested
        } else {
            dropped.own
        };
        let position = map.applied.latest();
        for (origin, claimed) in &self.frontiers {
            if claimed.frontier > map.known(*origin)
                && !skipped.contains(origin)
                && *origin != own
                && let Some(log) = map.open(*origin)
            {
                map.logs.mark(log, position);
            }
        }
        for (origin, bytes) in self.writes {
            let version = Write::decode(&bytes).map_or(0, |write| write.version);
            let claimed = self.frontiers.get(&origin).map_or(0, |c| c.frontier);
            let is_news = version > map.frontier(origin) && version <= claimed;
            let dead = listing
                .as_ref()
                .is_some_and(|listing| listing.is_dead(origin, version));
            if !is_news || dead || origin == own || skipped.contains(&origin) {
                continue;
            }
            if let Some(log) = map.logs.slot(origin) {
                map.merged = map.merged.saturating_add(1);
                map.insert(log, bytes);
            }
        }
        let mut collected = false;
        for (origin, claimed) in self.frontiers {
            if skipped.contains(&origin) || origin == own {
                continue;
            }
            if let Some(log) = map.logs.slot(origin) {
                map.raise(log, claimed.frontier);
                collected |= map
                    .logs
                    .raise_floor(log, claimed.floor.min(claimed.frontier));
            }
        }
        collected |= map.forgotten.raise(self.forgotten);
        if collected {
            map.epoch = map.epoch.saturating_add(1);
        }
        map.unnamed |= unnamed && (dropped.any || map.summary() != before);
        if map.unnamed && standing == Own::Sound {
            if map.is_outdated() {
                standing = Own::Forgotten;
            } else {
                map.name_forgotten();
            }
        }
        Outcome::Applied {
            latest: self.latest.max(self.forgotten.stamp()),
            own: standing,
        }
    }
}

/// What became of what a peer knew and did not list.
#[derive(Debug)]
struct Dropped {
    /// Whether anything was dropped.
    any: bool,
    /// A log was dropped of which more may have been known than the peer has ever known.
    unnamed: bool,
    own: Own,
}

impl Default for Dropped {
    fn default() -> Self {
        Self {
            any: false,
            unnamed: false,
            own: Own::Sound,
        }
    }
}

impl Map {
    /// Drops what a peer knew and does not list, and takes out of the vector what has left the peer's.
    /// What the peer cannot know to be dead is told. The own log is left alone where it is `contested`.
    fn drop_unlisted(
        &mut self,
        listing: &Listing,
        forgotten: Generation,
        contested: bool,
    ) -> Dropped {
        let own = self.own;
        let is_spared = |origin: Origin| contested && origin == own;
        let is_forgotten = |origin: Origin| {
            let unknown = !listing.knows(origin) && listing.grave(origin) == 0;
            unknown && origin.generation <= forgotten
        };
        let is_buried =
            |log: &Log| !listing.knows(log.origin) && log.frontier <= listing.grave(log.origin);
        let gone: Vec<Origin> = self
            .logs
            .iter()
            .filter(|log| is_forgotten(log.origin) || is_buried(log))
            .map(|log| log.origin)
            .filter(|origin| !is_spared(*origin))
            .collect();
        let mut unseen = Vec::new();
        let mut dead: Vec<Slot> = Vec::new();
        for (slot, held) in self.slab.slots() {
            let Some(origin) = self.origin_of(held) else {
                continue;
            };
            if is_spared(origin) {
                continue;
            }
            if listing.is_dead(origin, held.version) {
                dead.push(slot);
            } else if origin != own && is_forgotten(origin) {
                dead.push(slot);
                unseen.extend(self.unseen(origin, &held.write()));
            }
        }
        let mut dropped = Dropped {
            any: !dead.is_empty() || !gone.is_empty(),
            ..Dropped::default()
        };
        for slot in dead {
            // A tombstone that the peer has collected is collected here, too.
            let collected = self.slab.get(slot).and_then(|held| {
                held.write().dies_at()?;
                Some((held.log, held.version))
            });
            self.discard(slot);
            if let Some((log, version)) = collected {
                self.collected(log, version);
            }
        }
        for origin in gone {
            if !is_forgotten(origin) {
                self.bury(origin);
            } else if origin == own {
                dropped.own = Own::Forgotten;
            } else {
                dropped.unnamed = true;
                self.logs_remove(origin);
            }
        }
        for (origin, upto) in listing.graves() {
            if self.logs.slot(origin).is_none() && !is_spared(origin) {
                self.forgotten.bury(origin, upto);
            }
        }
        for notice in unseen {
            self.notices.push(notice);
        }
        dropped
    }

    /// What is told of a value that is dropped, though nobody is known to have replaced it.
    fn unseen(&self, origin: Origin, write: &Write<'_>) -> Option<Notice> {
        if self.is_dead(write) {
            return None;
        }
        Some(Notice::Dropped(Box::new(changes::Dropped {
            key: Key::new(write.key_text()).ok()?,
            dropped: changes::Version {
                writer: origin.id,
                stamp: write.stamp,
                value: Value::new(write.value?).ok(),
            },
        })))
    }
}
