//! The sending end of a delta.
//!
//! A session remembers what its peer knew when it asked, and where the stream has come to. Each chunk is
//! made from the map as it is when the chunk is written. Sessions are few and may be dropped at any time:
//! the peer asks again, and the stream goes on where it was.
//!
//! Invariants:
//! - Each peer has three sessions at most. A peer that goes on with one of them also tells summaries, which may lead
//!   to others.
//! - The vector of a `known` session has the peer's hash.

use alloc::vec::Vec;

use super::Map;
use super::apply_order::Applied;
use super::chunk::{ChunkEnd, ChunkHead, Cursor, DeltaPiece};
use super::delta_codec::DeltaWriter;
use super::live_set::{LiveSetPart, push_died};
use super::logs::Origin;
use super::overhead;
use super::pull::{Pull, VectorItem};
use super::recent_runs::Wanted;
use super::slab::Held;
use super::version_vector::VersionVector;
use crate::identity::Generation;

/// The most sessions, and the most of one peer. The one that has not been used for the longest time makes room.
const SESSIONS: usize = 8;
const SESSIONS_OF_ONE: usize = 3;

/// What a request, or a summary, leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullReply {
    /// The peer lacks something and has asked for it: chunks are ready for it in the session of this number.
    pub serve: Option<u32>,
    /// The peer has something that this replica lacks: what to tell the peer when asking for it.
    pub ask: Option<Vec<VectorItem>>,
    /// The frontiers that were told do not explain the peer's hash.
    pub unexplained: bool,
    /// The peer goes on with a delta. Tells whether all that was sent of it has arrived.
    pub goes_on: Option<bool>,
}

/// The sessions of one replica.
#[derive(Clone, Debug, Default)]
pub struct DeltaSender {
    /// The one that has not been used for the longest time comes first.
    sessions: Vec<Session>,
    /// The number of the latest session.
    latest: u32,
}

#[derive(Clone, Debug)]
struct Session {
    peer: Origin,
    number: u32,
    /// What is known of the peer's frontiers.
    vector: VersionVector,
    /// The hash over the peer's frontiers, which `vector` has once the peer has told enough.
    hash: [u8; 16],
    prune_stamp: Generation,
    /// Whether `vector` is known to be the peer's.
    known: bool,
    basis: Basis,
    /// The live set that the peer needs first, and what has died since it was made.
    segments: Vec<LiveSetPart>,
    /// The number of this live set; 0 for none.
    live_set: u32,
    cursor: Cursor,
}

/// What tells the peer of writes that are dead and that nothing here replaces any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// That has to be found out.
    Unknown,
    /// Nothing has to: the peer was below no floor in this epoch.
    Contexts { epoch: u64 },
    /// A live set of so many parts.
    LiveSet {
        parts: usize,
        /// [`Map::unnoted`](Map) when it was made.
        unnoted: u64,
        /// How many writes had died up to the last that it tells of.
        died: u64,
    },
}

/// A live set is made anew when more parts than this, or than its own, tell what has died since.
const MOST_DIED: usize = 256;

impl DeltaSender {
    /// Takes in a peer's request, or its summary, and what it tells of its frontiers.
    pub fn on_pull(
        &mut self,
        map: &Map,
        peer: Origin,
        pull: &Pull,
        told: impl Iterator<Item = VectorItem> + Clone,
    ) -> PullReply {
        let goes_on = pull.session != 0 && told.clone().next().is_none();
        let is_same = |session: &Session| session.peer == peer && session.hash == pull.hash;
        if goes_on
            && let Some(mut session) =
                self.take_session(|session| session.is_with(peer, pull.session) && session.known)
        {
            let has_all = session.cursor == pull.cursor;
            session.go_to(pull.cursor);
            return self.serve(map, pull, session, Some(has_all), None);
        }
        if pull.session == 0
            && let Some(mut session) =
                self.take_session(|session| is_same(session) && session.known)
        {
            // A peer that asks anew may have lost what was sent, or be about to go on with it.
            session.go_to(pull.cursor);
            let ask = map.lacks_of(&session.vector, session.prune_stamp);
            let ask = ask.then(|| map.difference(&session.vector));
            return self.serve(map, pull, session, None, ask);
        }
        // The parts of a table may arrive in any order.
        if let Some(mut session) = self.take_session(|session| is_same(session) && !session.known) {
            session.vector.learn(map, told);
            return self.conclude(map, pull, session);
        }
        self.latest = self.latest.wrapping_add(1).max(1);
        let number = if pull.session == 0 {
            self.latest
        } else {
            pull.session
        };
        let mut session = Session {
            peer,
            number,
            vector: VersionVector::of(map),
            hash: pull.hash,
            prune_stamp: pull.prune_stamp,
            known: false,
            basis: Basis::Unknown,
            segments: Vec::new(),
            live_set: pull.cursor.live_set,
            cursor: pull.cursor,
        };
        if pull.hash == [0; 16] {
            // A peer that knows nothing need not tell so.
            let nothing = [VectorItem::Complete(None, None)];
            session.vector.learn(map, nothing.into_iter());
        } else {
            session.vector.learn(map, told);
        }
        self.conclude(map, pull, session)
    }

    /// Takes out the session that was used last of those that are wanted.
    fn take_session(&mut self, is_wanted: impl Fn(&Session) -> bool) -> Option<Session> {
        let found = self.sessions.iter().rposition(is_wanted)?;
        Some(self.sessions.remove(found))
    }

    /// Keeps a session, as the one that was used last.
    fn keep(&mut self, session: Session) {
        let is_of_peer = |other: &&Session| other.peer == session.peer;
        let of_peer = self.sessions.iter().filter(is_of_peer).count();
        if of_peer >= SESSIONS_OF_ONE {
            self.take_first_of(session.peer);
        } else if self.sessions.len() >= SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    fn take_first_of(&mut self, peer: Origin) {
        let first = self.sessions.iter().position(|other| other.peer == peer);
        if let Some(first) = first {
            self.sessions.remove(first);
        }
    }

    /// Goes on with a session whose peer is known.
    fn serve(
        &mut self,
        map: &Map,
        pull: &Pull,
        session: Session,
        goes_on: Option<bool>,
        ask: Option<Vec<VectorItem>>,
    ) -> PullReply {
        let serves = pull.ask && map.has_news_for(&session.vector, session.prune_stamp);
        let reply = PullReply {
            serve: serves.then_some(session.number),
            ask,
            unexplained: false,
            goes_on,
        };
        self.keep(session);
        reply
    }

    /// Decides what follows from a session's vector, and keeps the session if it is needed.
    fn conclude(&mut self, map: &Map, pull: &Pull, mut session: Session) -> PullReply {
        session.known = session.vector.hash().to_le_bytes() == pull.hash;
        session.prune_stamp = pull.prune_stamp;
        let mut reply = PullReply {
            serve: None,
            ask: None,
            unexplained: !session.known,
            goes_on: None,
        };
        if session.known {
            if map.lacks_of(&session.vector, session.prune_stamp) {
                reply.ask = Some(map.difference(&session.vector));
            }
            let serves = pull.ask && map.has_news_for(&session.vector, session.prune_stamp);
            reply.serve = serves.then_some(session.number);
        }
        if reply.serve.is_some() || reply.unexplained {
            self.keep(session);
        }
        reply
    }

    /// The versions that a peer lacks, as it has told. `None` if it lacks more than versions, or would not take
    /// them as runs. Then it needs a delta.
    #[must_use]
    pub fn lacking(&self, map: &Map, (peer, number): (Origin, u32)) -> Option<Vec<Wanted>> {
        let is_it = |session: &&Session| session.is_with(peer, number) && session.known;
        let session = self.sessions.iter().rfind(is_it)?;
        map.lacking(&session.vector, session.prune_stamp, peer)
    }

    /// Writes the next chunk of a session with a peer into `buffer`. After the `last` one the stream pauses until
    /// the peer asks again. Returns the length and what follows. `None` if there is no such session.
    pub fn write_chunk(
        &mut self,
        map: &Map,
        (peer, number): (Origin, u32),
        last: bool,
        buffer: &mut [u8],
    ) -> Option<(usize, ChunkEnd)> {
        let is_it = |session: &&mut Session| session.is_with(peer, number) && session.known;
        let session = self.sessions.iter_mut().rfind(is_it)?;
        session.write_chunk(map, last, buffer)
    }
}

impl Session {
    fn is_with(&self, peer: Origin, number: u32) -> bool {
        (self.peer, self.number) == (peer, number)
    }

    /// Makes the live set if the peer needs it and has none, or one that does not tell all that is dead.
    /// Otherwise adds what has died since the last time.
    fn update_live_set(&mut self, map: &Map) {
        debug_assert!(self.known, "the vector is the peer's");
        let died_since = match &self.basis {
            Basis::Contexts { epoch } if *epoch == map.epoch => return,
            Basis::LiveSet {
                parts,
                unnoted,
                died,
            } if *unnoted == map.unnoted
                && self.segments.len() <= parts.saturating_add(MOST_DIED.max(*parts)) =>
            {
                map.died.after(*died)
            }
            Basis::Unknown | Basis::Contexts { .. } | Basis::LiveSet { .. } => None,
        };
        if let (Some(dots), Basis::LiveSet { died, .. }) = (died_since, &mut self.basis) {
            push_died(&mut self.segments, dots);
            *died = map.died.count();
        } else if map.is_below_a_floor(&self.vector, self.prune_stamp) {
            self.make_live_set(map);
        } else {
            self.basis = Basis::Contexts { epoch: map.epoch };
        }
    }

    /// Makes the live set. What was told of an earlier one does not count any more.
    fn make_live_set(&mut self, map: &Map) {
        self.segments = map.live_set();
        self.basis = Basis::LiveSet {
            parts: self.segments.len(),
            unnoted: map.unnoted,
            died: map.died.count(),
        };
        self.live_set = self.live_set.max(self.cursor.live_set).saturating_add(1);
        self.cursor.live_set = self.live_set;
        self.cursor.segments = 0;
    }

    /// Goes on from a place in the stream, with the live set as it is now. The peer chooses the place.
    fn go_to(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        if cursor.live_set != self.live_set {
            self.cursor.live_set = self.live_set;
            self.cursor.segments = 0;
        }
    }

    fn write_chunk(
        &mut self,
        map: &Map,
        last: bool,
        buffer: &mut [u8],
    ) -> Option<(usize, ChunkEnd)> {
        self.update_live_set(map);
        let after = self.cursor;
        let mut writer = DeltaWriter::new(buffer);
        let head = |upto, end| ChunkHead {
            session: self.number,
            receiver: self.peer,
            after,
            upto,
            as_of: map.apply_order.latest(),
            prune_stamp: map.pruned_origins.prune_stamp(),
            end,
        };
        if !writer.put(&head(after, ChunkEnd::More)) {
            return None;
        }
        let mut cursor = after;
        let done = self.write_live_set(&mut cursor, &mut writer)
            && self.write_changes(map, &mut cursor, &mut writer);
        let end = match (done, last) {
            (true, _) => ChunkEnd::Complete,
            (false, true) => ChunkEnd::Pause,
            (false, false) => ChunkEnd::More,
        };
        writer.rewrite(&head(cursor, end));
        let len = writer.len();
        self.cursor = cursor;
        Some((len, end))
    }

    /// Writes what is left of the live set. Tells whether all of it is written.
    fn write_live_set(&self, cursor: &mut Cursor, writer: &mut DeltaWriter<'_>) -> bool {
        let told = usize::try_from(cursor.segments).unwrap_or(usize::MAX);
        for segment in self.segments.get(told..).unwrap_or_default() {
            if !writer.put_with_overhead(&segment.piece(), overhead::LIVE_SET_PART) {
                return false;
            }
            cursor.segments = cursor.segments.saturating_add(1);
        }
        true
    }

    /// Writes what is left of the apply order. Tells whether the stream has caught up.
    fn write_changes(&self, map: &Map, cursor: &mut Cursor, writer: &mut DeltaWriter<'_>) -> bool {
        let start = self.start(map).max(cursor.position);
        if start > cursor.position {
            (cursor.position, cursor.offset) = (start, 0);
        }
        let empty = writer.free();
        for (position, applied) in map.apply_order.after(cursor.position) {
            if position > cursor.position.saturating_add(1) {
                // The write that was told in part is dead, or stands at a later position.
                cursor.offset = 0;
            }
            let written = match applied {
                Applied::Frontier(log) => map.logs.at(log).is_none_or(|log| {
                    log.frontier <= self.vector.frontier(log.origin)
                        || writer.put_with_overhead(
                            &DeltaPiece::Frontier(log.to_frontier()),
                            overhead::LOG,
                        )
                }),
                Applied::Write(slot) => {
                    let held = map.slab.get(slot);
                    debug_assert!(held.is_some(), "a dropped write leaves a gap");
                    held.is_none_or(|held| {
                        let Some(origin) = map.origin_of(held) else {
                            return true;
                        };
                        held.version <= self.vector.frontier(origin)
                            || write_fragment(origin, held, cursor, empty, writer)
                    })
                }
            };
            if !written {
                if cursor.offset > 0 {
                    cursor.position = position.saturating_sub(1);
                }
                return false;
            }
            (cursor.position, cursor.offset) = (position, 0);
        }
        (cursor.position, cursor.offset) = (map.apply_order.latest(), 0);
        true
    }

    /// The position in the apply order before the first entry that the peer does not know.
    fn start(&self, map: &Map) -> u64 {
        map.logs
            .iter()
            .filter_map(|log| {
                let known = self.vector.frontier(log.origin);
                (known < log.frontier).then(|| log.applied_after(known))
            })
            .min()
            .unwrap_or_else(|| map.apply_order.latest())
    }
}

/// The fewest bytes of a write that are worth a piece of their own.
const FRAGMENT: usize = 64;

/// What a piece takes beyond the bytes of a write.
const PIECE_HEAD: usize = 1 + 16 + 5 + 5 + 3;

/// Writes a write, or its next fragment if no datagram holds the whole. Tells whether all of the write is
/// written. `empty` is how many bytes an empty chunk has for pieces.
fn write_fragment(
    origin: Origin,
    held: &Held,
    cursor: &mut Cursor,
    empty: usize,
    writer: &mut DeltaWriter<'_>,
) -> bool {
    let bytes: &[u8] = &held.bytes;
    let total = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let told = usize::try_from(cursor.offset).unwrap_or(usize::MAX);
    let rest = bytes.get(told..).unwrap_or_default();
    let room = writer.free().saturating_sub(PIECE_HEAD);
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
    let piece = DeltaPiece::Write {
        origin,
        total,
        offset: cursor.offset,
        bytes: part,
    };
    let whole = part.len() == bytes.len();
    let overhead = overhead::of_write(whole.then(|| held.write()).as_ref());
    if !writer.put_with_overhead(&piece, overhead) {
        return false;
    }
    let written = u32::try_from(part.len()).unwrap_or(u32::MAX);
    cursor.offset = cursor.offset.saturating_add(written);
    cursor.offset >= total
}
