//! The giving end of a delta.
//!
//! A session remembers what its peer knew when it asked, and where the stream has come to; the stream
//! itself is made from the map as it is when each chunk is written. Sessions are few and may be
//! dropped at any time: the peer asks again, and goes on where it was.

use alloc::vec::Vec;

use super::Map;
use super::apply_order::Change;
use super::delta::{Cursor, Extent, Head, LISTED, LOG, Piece, Pull, Told, Writer, overhead};
use super::live_set::Kept;
use super::logs::{Frontier, Origin};
use super::slab::Held;
use super::version_vector::{Summary, Vector};
use crate::identity::Generation;

/// The most peers that are served at a time. The one that has asked least lately makes room.
const SESSIONS: usize = 8;

/// What a request, or a summary, leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The peer lacks something, and chunks are ready for it.
    pub serve: bool,
    /// What to tell the peer when asking it, since it has what this replica lacks.
    pub ask: Option<Vec<Told>>,
    /// What was told does not explain the peer's hash.
    pub unexplained: bool,
}

/// The sessions of one replica.
#[derive(Clone, Debug, Default)]
pub struct Serving {
    /// Who asked least lately comes first.
    sessions: Vec<Session>,
    numbers: u32,
}

#[derive(Clone, Debug)]
struct Session {
    peer: Origin,
    number: u32,
    vector: Vector,
    /// The hash of the peer's vector, which this one comes to have once enough was told.
    hash: [u8; 16],
    forgotten: Generation,
    /// Whether the vector is known to be the peer's.
    known: bool,
    /// The map's epoch when the peer knew of every floor, or was told the lists.
    epoch: u64,
    segments: Vec<Kept>,
    /// Which lists these segments are.
    listing: u32,
    cursor: Cursor,
}

impl Serving {
    /// Takes in a peer's summary, or its request, and what it tells of its frontiers.
    pub fn on_pull(
        &mut self,
        map: &Map,
        peer: Origin,
        pull: &Pull,
        told: impl Iterator<Item = Told> + Clone,
    ) -> Verdict {
        let going_on = pull.session != 0 && told.clone().next().is_none();
        let found = self
            .sessions
            .iter()
            .position(|session| session.peer == peer);
        if let Some(mut session) = found.map(|at| self.sessions.remove(at)) {
            let same = session.known && session.hash == pull.hash;
            let begun = same && pull.session == 0;
            if going_on && session.known && session.number == pull.session || begun {
                // What the peer asks for anew it may have lost, or be about to go on with.
                session.go_to(pull.cursor);
                let ask = begun && map.lacks_of(&session.vector, session.forgotten);
                let verdict = Verdict {
                    serve: pull.ask && map.has_news_for(&session.vector, session.forgotten),
                    ask: ask.then(|| map.difference(&session.vector)),
                    unexplained: false,
                };
                self.sessions.push(session);
                return verdict;
            }
            // A table is told in several parts, in whatever order they arrive.
            if !session.known && session.hash == pull.hash {
                session.vector.learn(map, told);
                return self.conclude(map, pull, session);
            }
        }
        self.numbers = self.numbers.wrapping_add(1).max(1);
        let number = if pull.session == 0 {
            self.numbers
        } else {
            pull.session
        };
        let mut session = Session {
            peer,
            number,
            vector: Vector::of(map),
            hash: pull.hash,
            forgotten: pull.forgotten,
            known: false,
            epoch: 0,
            segments: Vec::new(),
            listing: pull.cursor.listing,
            cursor: pull.cursor,
        };
        if pull.hash == [0; 16] {
            // Who knows nothing need not list it.
            let nothing = [Told::Complete(None, None)];
            session.vector.learn(map, nothing.into_iter());
        } else {
            session.vector.learn(map, told);
        }
        self.conclude(map, pull, session)
    }

    fn conclude(&mut self, map: &Map, pull: &Pull, mut session: Session) -> Verdict {
        session.known = session.vector.hash().to_le_bytes() == pull.hash;
        session.forgotten = pull.forgotten;
        let mut verdict = Verdict {
            serve: false,
            ask: None,
            unexplained: !session.known,
        };
        if session.known {
            if map.lacks_of(&session.vector, session.forgotten) {
                verdict.ask = Some(map.difference(&session.vector));
            }
            verdict.serve = pull.ask && map.has_news_for(&session.vector, session.forgotten);
            session.begin(map);
        }
        if verdict.serve || verdict.unexplained {
            if self.sessions.len() >= SESSIONS {
                self.sessions.remove(0);
            }
            self.sessions.push(session);
        }
        verdict
    }

    /// Writes the next chunk for a peer into `buffer`; `last` makes it wait for the peer's request
    /// afterwards. Returns its length and what follows; nothing where there is no such session.
    pub fn write_chunk(
        &mut self,
        map: &Map,
        peer: Origin,
        last: bool,
        buffer: &mut [u8],
    ) -> Option<(usize, Extent)> {
        let session = self
            .sessions
            .iter_mut()
            .find(|session| session.peer == peer && session.known)?;
        session.write_chunk(map, last, buffer)
    }
}

impl Session {
    /// The peer's vector is known: decides whether it needs lists.
    fn begin(&mut self, map: &Map) {
        self.epoch = map.epoch;
        if map.is_below_a_floor(&self.vector, self.forgotten) {
            self.list(map);
        }
    }

    /// Makes the lists. What was told of earlier ones counts no more.
    fn list(&mut self, map: &Map) {
        self.segments = map.list();
        self.epoch = map.epoch;
        self.listing = self.listing.max(self.cursor.listing).saturating_add(1);
        self.cursor.listing = self.listing;
        self.cursor.segments = 0;
    }

    /// Goes on from a place in the stream, with the lists as they are now.
    fn go_to(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        if cursor.listing != self.listing {
            self.cursor.listing = self.listing;
            self.cursor.segments = 0;
        }
    }

    fn write_chunk(&mut self, map: &Map, last: bool, buffer: &mut [u8]) -> Option<(usize, Extent)> {
        if self.epoch != map.epoch {
            // Tombstones may have been collected that the peer has not been told of.
            self.epoch = map.epoch;
            if map.is_below_a_floor(&self.vector, self.forgotten) {
                self.list(map);
            }
        }
        let after = self.cursor;
        let mut writer = Writer::new(buffer);
        let head = |upto, extent| Head {
            session: self.number,
            taker: self.peer,
            after,
            upto,
            as_of: map.applied.latest(),
            forgotten: map.forgotten.upto(),
            extent,
        };
        if !writer.put(&head(after, Extent::More)) {
            return None;
        }
        let mut cursor = after;
        let done = self.write_segments(&mut cursor, &mut writer)
            && self.write_changes(map, &mut cursor, &mut writer);
        let extent = match (done, last) {
            (true, _) => Extent::Complete,
            (false, true) => Extent::Pause,
            (false, false) => Extent::More,
        };
        writer.rewrite(&head(cursor, extent));
        let len = writer.len();
        self.cursor = cursor;
        Some((len, extent))
    }

    /// Whether all of them are written.
    fn write_segments(&self, cursor: &mut Cursor, writer: &mut Writer<'_>) -> bool {
        let told = usize::try_from(cursor.segments).unwrap_or(usize::MAX);
        for segment in self.segments.get(told..).unwrap_or_default() {
            if !writer.put_taking(&segment.piece(), LISTED) {
                return false;
            }
            cursor.segments = cursor.segments.saturating_add(1);
        }
        true
    }

    /// Whether the stream has caught up.
    fn write_changes(&self, map: &Map, cursor: &mut Cursor, writer: &mut Writer<'_>) -> bool {
        let start = self.start(map).max(cursor.applied);
        if start > cursor.applied {
            (cursor.applied, cursor.offset) = (start, 0);
        }
        let empty = writer.room();
        for (position, change) in map.applied.after(cursor.applied) {
            if position > cursor.applied.saturating_add(1) {
                // What has been told in part is dead, or stands elsewhere.
                cursor.offset = 0;
            }
            let written = match change {
                Change::Frontier(log) => map.logs.at(log).is_none_or(|log| {
                    let frontier = Frontier {
                        origin: log.origin,
                        frontier: log.frontier,
                        floor: log.floor,
                    };
                    log.frontier <= self.vector.frontier(log.origin)
                        || writer.put_taking(&Piece::Frontier(frontier), LOG)
                }),
                Change::Write(slot) => map.slab.get(slot).is_none_or(|held| {
                    let Some(origin) = map.origin_of(held) else {
                        return true;
                    };
                    held.version <= self.vector.frontier(origin)
                        || write(origin, held, cursor, empty, writer)
                }),
            };
            if !written {
                if cursor.offset > 0 {
                    cursor.applied = position.saturating_sub(1);
                }
                return false;
            }
            (cursor.applied, cursor.offset) = (position, 0);
        }
        (cursor.applied, cursor.offset) = (map.applied.latest(), 0);
        true
    }

    /// Where in the order of application the first change stands that the peer does not know.
    fn start(&self, map: &Map) -> u64 {
        map.logs
            .iter()
            .filter_map(|log| {
                let known = self.vector.frontier(log.origin);
                (known < log.frontier).then(|| log.applied_after(known))
            })
            .min()
            .unwrap_or_else(|| map.applied.latest())
    }
}

/// The least bytes of a write that are worth a piece of their own.
const FRAGMENT: usize = 64;

/// What a piece takes beyond the bytes of a write.
const PIECE_HEAD: usize = 1 + 16 + 5 + 5 + 3;

/// Writes a write, or the next part of one that no datagram holds. Whether all of it is written.
fn write(
    origin: Origin,
    held: &Held,
    cursor: &mut Cursor,
    empty: usize,
    writer: &mut Writer<'_>,
) -> bool {
    let bytes: &[u8] = &held.bytes;
    let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let told = usize::try_from(cursor.offset).unwrap_or(usize::MAX);
    let rest = bytes.get(told..).unwrap_or_default();
    let room = writer.room().saturating_sub(PIECE_HEAD);
    let is_large = bytes.len().saturating_add(PIECE_HEAD) > empty;
    let part = match rest.get(..room) {
        Some(part) if rest.len() > room => {
            if !is_large || room < FRAGMENT {
                return false;
            }
            part
        }
        _ => rest,
    };
    let piece = Piece::Write {
        origin,
        total,
        offset: cursor.offset,
        bytes: part,
    };
    let whole = part.len() == bytes.len();
    let takes = overhead(whole.then(|| held.write()).as_ref());
    if !writer.put_taking(&piece, takes) {
        return false;
    }
    let written = u32::try_from(part.len()).unwrap_or(u32::MAX);
    cursor.offset = cursor.offset.saturating_add(written);
    cursor.offset >= total
}

/// A summary, as the request that it stands for.
#[must_use]
pub const fn pull_of(summary: Summary, ask: bool) -> Pull {
    Pull {
        session: 0,
        cursor: Cursor {
            listing: 0,
            segments: 0,
            applied: 0,
            offset: 0,
        },
        hash: summary.hash.to_le_bytes(),
        forgotten: summary.forgotten,
        ask,
    }
}
