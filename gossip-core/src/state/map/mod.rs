//! The shared map: any node writes any key, on both sides of any partition.
//!
//! Every write is an entry in the log of its **origin** (a node under one generation) and has a
//! name for ever, its **dot**: (origin, version). A replica holds the writes that live, and for each
//! origin a **frontier**: it knows everything up to there, and what it knows and does not hold is
//! dead. The table of frontiers is its version vector. A write carries its **context**: the key's
//! version vector as the writer knew it, with the contexts of all that it replaces. A write that is
//! covered by another one's context is dead; those that are not are **siblings**.
//!
//! # Rules
//!
//! 1. *Claims are atomic.* A delta waits in [`Staging`] until all of it has arrived; then drops,
//!    writes, frontiers and floors take effect together. It is streamed in the order in which the
//!    sender applied it, ends when the stream has caught up with the sender, and is resumed with
//!    the same sender only.
//! 2. *Delivery is causal.* A pushed run is applied only where it is adjacent to the frontier and the
//!    frontiers cover its contexts; otherwise the receiver pulls.
//! 3. *Contexts are whole.* They include the contexts of what is replaced; only dots of forgotten
//!    origins are left out.
//! 4. *Tombstones* are writes like any other, collected a grace time after they were written, which
//!    raises their log's **floor**.
//! 5. *Below a floor, lists first.* A replica whose frontier lies below any floor of its peer is told,
//!    for every origin, which versions live: what it holds, at or below the peer's frontiers, and does
//!    not find listed is dead. Every origin, since a tombstone in one log kills in others.
//! 6. *A closed log stays*, served like any other. When nothing in it lives any more it is a **ghost**;
//!    after a long time, or when there are too many, a ghost leaves the version vector and becomes a
//!    **grave**: nothing of it lives up to here, and what lies beyond is news. Who takes a log out of
//!    its vector **names** what it knew of it: by a version of its own log that holds nothing and
//!    raises the floor. At last graves are forgotten, too, and the stamp D rises to their generation:
//!    an unknown origin at or below D that has no grave is refused, and what is held of it dropped.
//!
//! # What is read
//!
//! Of siblings written with [`Policy::LastWriteWins`] the one with the latest stamp is read, ties
//! decided by the origin; the others stay, unread, until a write that has seen them replaces them.
//! Siblings with [`Policy::KeepSiblings`] are all read. Which siblings there are depends only on what
//! is known, so replicas that know the same read the same. A tombstone that hides unread siblings is
//! not collected but replaced, by a tombstone that has seen them: otherwise they would be read again.
//!
//! # Parts
//!
//! [`Map`] is the replica. [`Serving`] and [`Staging`] are the two ends of a delta, [`Run`] is what is
//! pushed. None of them knows of nodes, clocks or sockets.

mod applied;
mod collect;
mod delta;
mod forgotten;
mod listing;
mod notice;
mod order;
mod origin;
mod push;
mod serving;
mod slab;
mod staging;
mod vector;
mod write;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Reverse;

use smallvec::SmallVec;

use crate::command::{Key, Policy, Value};
use crate::sort::sort_by_key;
use crate::stamp::Stamp;
use crate::state::hash::HashKey;
use crate::time::UnixTime;
use applied::{Applied, Change};
use forgotten::Forgotten;
use notice::Notices;
use order::{Order, Place};
use origin::{LogSlot, Logs};
use push::Unpushed;
use slab::{Held, Slab, Slot};

pub use collect::Memory;
pub use delta::{
    Cursor, Extent, Head, Items, Piece, Pull, Told, read_chunk, read_pull, write_pull,
};
pub use listing::Segment;
pub use notice::{Changed, Conflict, Dropped, Notice, Version};
pub use origin::{Frontier, Origin};
pub use push::{Pushed, Run};
pub use serving::{Serving, Verdict, pull_of};
pub use staging::{Limit, Outcome, Own, Staging};
pub use vector::Summary;
pub use write::{Context, Dots, Replaces, Write};

/// The most bytes that a write takes beyond its key, its value and its context.
const WRITE_HEAD: usize = 48;

/// A replica of the map.
#[derive(Clone, Debug)]
pub struct Map {
    own: Origin,
    logs: Logs,
    slab: Slab,
    order: Order,
    applied: Applied,
    /// Writes that are dead or will die by themselves: (since when, which).
    mortal: BTreeSet<(u64, Slot)>,
    forgotten: Forgotten,
    /// What it knows of forgotten logs has no name yet: see [`forgotten`].
    unnamed: bool,
    /// Rises with every floor and with D: lists of live versions made before may not tell all.
    epoch: u64,
    /// How many origins were forgotten since contexts were pruned.
    unpruned: usize,
    wall: UnixTime,
    unpushed: Unpushed,
    notices: Notices,
    /// How many writes of others have been applied.
    merged: u64,
}

/// A value that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Who wrote it.
    pub writer: Origin,
    /// When, by the writer's clock.
    pub stamp: Stamp,
    /// What becomes of it when somebody else writes the key without knowing it.
    pub policy: Policy,
}

/// What a local write says.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The value, or `None` to delete.
    pub value: Option<&'a [u8]>,
    /// What becomes of it when somebody else writes the key without knowing it.
    pub policy: Policy,
    /// Milliseconds after the stamp at which it dies by itself.
    pub lifetime: Option<u64>,
}

impl<'a> Put<'a> {
    /// A value that stays.
    #[must_use]
    pub const fn value(value: &'a [u8], policy: Policy) -> Self {
        Self {
            value: Some(value),
            policy,
            lifetime: None,
        }
    }

    /// A tombstone.
    #[must_use]
    pub const fn delete(policy: Policy) -> Self {
        Self {
            value: None,
            policy,
            lifetime: None,
        }
    }
}

impl Map {
    /// An empty replica that writes under `own`. Holds up to `notices` notices.
    #[must_use]
    pub fn new(own: Origin, cluster: &str, notices: usize) -> Self {
        Self {
            own,
            logs: Logs::new(HashKey::of(cluster)),
            slab: Slab::new(),
            order: Order::new(),
            applied: Applied::new(),
            mortal: BTreeSet::new(),
            forgotten: Forgotten::new(),
            unnamed: false,
            epoch: 0,
            unpruned: 0,
            wall: UnixTime::default(),
            unpushed: Unpushed::default(),
            notices: Notices::new(notices),
            merged: 0,
        }
    }

    /// Whose log this replica writes.
    #[must_use]
    pub const fn own(&self) -> Origin {
        self.own
    }

    /// How many keys it holds, deleted ones included.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.order.len()
    }

    /// How many writes it holds, tombstones included.
    #[must_use]
    pub const fn writes(&self) -> usize {
        self.slab.len()
    }

    /// How many logs it knows.
    #[must_use]
    pub fn logs(&self) -> usize {
        self.logs.len()
    }

    /// How many of them are ghosts.
    #[must_use]
    pub const fn ghosts(&self) -> usize {
        self.logs.ghosts()
    }

    /// Bytes of all writes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.slab.bytes()
    }

    /// How many writes of others have been applied.
    #[must_use]
    pub const fn merged(&self) -> u64 {
        self.merged
    }

    /// The origins that have left the vector, each up to where nothing of it lives.
    pub fn graves(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.forgotten.graves()
    }

    /// How far each origin is known, in the order of the origins.
    pub fn frontiers(&self) -> impl Iterator<Item = Frontier> {
        self.logs.iter().map(|log| Frontier {
            origin: log.origin,
            frontier: log.frontier,
            floor: log.floor,
        })
    }

    /// How far an origin is known, be it only that nothing of it lives.
    fn known(&self, origin: Origin) -> u64 {
        match self.logs.get(origin) {
            Some(log) => log.frontier,
            None => self.forgotten.grave(origin),
        }
    }

    /// The log of an origin, taken back into the vector or made where there is none.
    fn open(&mut self, origin: Origin) -> Option<LogSlot> {
        if let Some(log) = self.logs.slot(origin) {
            return Some(log);
        }
        let log = self.logs.ensure(origin)?;
        let upto = self.forgotten.exhume(origin);
        self.logs.raise(log, upto);
        self.logs.raise_floor(log, upto);
        Some(log)
    }

    /// How far an origin is known.
    #[must_use]
    pub fn frontier(&self, origin: Origin) -> u64 {
        self.logs.frontier(origin)
    }

    /// Every write that is held, with its origin, in no order that means anything.
    pub fn held(&self) -> impl Iterator<Item = (Origin, Write<'_>)> {
        self.slab
            .slots()
            .filter_map(|(_, held)| Some((self.logs.at(held.log)?.origin, held.write())))
    }

    /// What is read under a key: the latest where there are several.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Reading<'_>> {
        self.siblings(key).into_iter().next()
    }

    /// Everything that is read under a key, the latest first.
    #[must_use]
    pub fn siblings(&self, key: &[u8]) -> SmallVec<[Reading<'_>; 2]> {
        match self.order.find(&self.slab, key) {
            Ok(place) => self.read(self.order.first(place)),
            Err(_) => SmallVec::new(),
        }
    }

    /// The keys that begin with `prefix`, in order, each with what is read under it.
    pub fn prefix<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a str, Reading<'a>)> + 'a {
        let (Ok(start) | Err(start)) = self.order.find(&self.slab, prefix);
        self.order
            .from(start)
            .map_while(move |first| {
                let key = self.slab.get(first)?.key();
                key.starts_with(prefix).then_some((key, first))
            })
            .filter_map(|(key, first)| {
                let key = core::str::from_utf8(key).ok()?;
                Some((key, self.read(first).into_iter().next()?))
            })
    }

    /// What is read of the siblings that begin with `first`, the latest first.
    fn read(&self, first: Slot) -> SmallVec<[Reading<'_>; 2]> {
        let mut readings: SmallVec<[Reading<'_>; 2]> = SmallVec::new();
        let mut last: Option<((Stamp, Origin), Write<'_>)> = None;
        for (origin, write) in self.writes_of(first) {
            match write.policy {
                Policy::KeepSiblings => readings.extend(self.reading(origin, &write)),
                Policy::LastWriteWins => {
                    let at = (write.stamp, origin);
                    if last.as_ref().is_none_or(|(latest, _)| *latest < at) {
                        last = Some((at, write));
                    }
                }
            }
        }
        if let Some(((_, origin), write)) = last {
            readings.extend(self.reading(origin, &write));
        }
        if readings.len() > 1 {
            sort_by_key(&mut readings, |reading| {
                Reverse((reading.stamp, reading.writer))
            });
        }
        readings
    }

    fn reading<'a>(&self, writer: Origin, write: &Write<'a>) -> Option<Reading<'a>> {
        if self.is_dead(write) {
            return None;
        }
        Some(Reading {
            value: write.value?,
            writer,
            stamp: write.stamp,
            policy: write.policy,
        })
    }

    /// Whether it is a tombstone, or has died by itself.
    fn is_dead(&self, write: &Write<'_>) -> bool {
        write
            .dies_at()
            .is_some_and(|at| write.value.is_none() || at <= self.wall.as_millis())
    }

    fn writes_of(&self, first: Slot) -> impl Iterator<Item = (Origin, Write<'_>)> {
        self.slab
            .siblings(first)
            .filter_map(|(_, held)| Some((self.logs.at(held.log)?.origin, held.write())))
    }

    /// Whether the own log must be reopened under a later generation before it is written: others
    /// would refuse it.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.refuses(self.own)
    }

    /// Writes a key: replaces everything that is known of it. `stamp` must be later than every
    /// stamp seen. Returns the version.
    pub fn put(&mut self, stamp: Stamp, key: &Key, put: Put<'_>) -> u64 {
        let key = key.as_str().as_bytes();
        let place = self.order.find(&self.slab, key);
        let dots = match place {
            Ok(place) => self.context_of(self.order.first(place), Replaces::Own, |_| true),
            Err(_) => Dotted::new(),
        };
        self.append(stamp, (key, place), put, Replaces::Own, &dots)
    }

    /// How many values are read under a key, and how large a write of it would be, in bytes at most.
    #[must_use]
    pub fn weigh(&self, key: &Key, value: Option<&[u8]>) -> (usize, usize) {
        let key = key.as_str().as_bytes();
        let (siblings, context) = match self.order.find(&self.slab, key) {
            Ok(place) => {
                let first = self.order.first(place);
                let dots = self.context_of(first, Replaces::Own, |_| true);
                (self.read(first).len(), dots.len())
            }
            Err(_) => (0, 0),
        };
        let size = context
            .saturating_mul(26)
            .saturating_add(key.len())
            .saturating_add(value.map_or(0, <[u8]>::len))
            .saturating_add(WRITE_HEAD);
        (siblings, size)
    }

    /// The version vector of those of a key's writes that are to be replaced.
    fn context_of(
        &self,
        first: Slot,
        replaces: Replaces,
        chosen: impl Fn(&Write<'_>) -> bool,
    ) -> Dotted {
        let mut dots = Dotted::new();
        let mut note = |origin: Origin, version: u64| {
            let implied = origin == self.own && replaces == Replaces::Own;
            if implied || self.refuses(origin) {
                return;
            }
            match dots.iter_mut().find(|(other, _)| *other == origin) {
                Some((_, upto)) => *upto = version.max(*upto),
                None => dots.push((origin, version)),
            }
        };
        for (origin, write) in self.writes_of(first) {
            if chosen(&write) {
                for (origin, version) in Context(write.context) {
                    note(origin, version);
                }
                note(origin, write.version);
            }
        }
        dots
    }

    /// One more write of the own log, of a key that is at this place, or would be.
    fn append(
        &mut self,
        stamp: Stamp,
        (key, place): (&[u8], Result<Place, Place>),
        put: Put<'_>,
        replaces: Replaces,
        dots: &Dotted,
    ) -> u64 {
        let version = self.known(self.own).saturating_add(1);
        let context = Context::encode(dots);
        let write = Write {
            key,
            stamp,
            version,
            policy: put.policy,
            replaces,
            lifetime: put.lifetime,
            value: put.value,
            context: &context,
        };
        let Some(log) = self.open(self.own) else {
            return version;
        };
        self.logs.mark(log, self.applied.latest());
        self.insert_at(place, log, write.encode());
        self.raise(log, version);
        self.unpushed.written(version);
        version
    }

    /// Takes in a write that is above its log's frontier, unless something held replaces it.
    fn insert(&mut self, log: LogSlot, bytes: Box<[u8]>) {
        let place = self.order.find(&self.slab, write::key_of(&bytes));
        self.insert_at(place, log, bytes);
    }

    /// The same, where the place of its key is known.
    fn insert_at(&mut self, place: Result<Place, Place>, log: LogSlot, bytes: Box<[u8]>) {
        let Some(origin) = self.logs.at(log).map(|log| log.origin) else {
            return;
        };
        let Ok(write) = postcard::from_bytes::<Write<'_>>(&bytes) else {
            return;
        };
        let (version, dies) = (write.version, write.dies_at());
        let mut replaced: SmallVec<[Slot; 2]> = SmallVec::new();
        let mut collected: SmallVec<[(LogSlot, u64); 2]> = SmallVec::new();
        let mut concurrent = false;
        if let Ok(place) = place {
            for (slot, held) in self.slab.siblings(self.order.first(place)) {
                let Some(other) = self.origin_of(held) else {
                    continue;
                };
                let same = held.log == log && held.version == version;
                let held_write = held.write();
                if same || held_write.replaces(other, origin, version) {
                    return;
                }
                if write.replaces(origin, other, held.version) {
                    // Its writer had collected what it replaces: what that had replaced it does not
                    // tell, as if it had been collected here.
                    let carries =
                        |(other, upto)| write.replaces(origin, other, upto) || self.refuses(other);
                    if !Context(held_write.context).into_iter().all(carries) {
                        collected.push((held.log, held.version));
                    }
                    replaced.push(slot);
                } else {
                    concurrent |= held.log != log;
                }
            }
        }
        let told = self.notices.is_open().then(|| {
            let key = Key::new(write.key_text()).ok();
            let old = place.ok().and_then(|place| self.first_value(place));
            (key, old, write.stamp)
        });
        let Some(slot) = self.slab.insert(bytes, log, version, 0) else {
            return;
        };
        let place = match place {
            Err(place) => {
                self.order.insert(&self.slab, place, slot);
                None
            }
            Ok(place) => {
                self.order.add(&mut self.slab, place, slot);
                for slot in replaced {
                    self.unlink(place, slot, (log, version));
                }
                Some(place)
            }
        };
        for (log, version) in collected {
            self.collected(log, version);
        }
        self.logs.hold(log);
        if let Some(at) = dies {
            self.mortal.insert((at, slot));
        }
        self.append_change(Change::Write(slot));
        if let Some((Some(key), old, stamp)) = told {
            self.tell(key, place, slot, old, (origin, stamp), concurrent);
        }
    }

    /// Adds to the order of application, and keeps its gaps few.
    fn append_change(&mut self, change: Change) {
        self.place_change(change);
        for _ in 0..2 {
            let Some(eldest) = self.applied.turn_over() else {
                return;
            };
            self.place_change(eldest);
        }
    }

    fn place_change(&mut self, change: Change) {
        let position = self.applied.push(change);
        match change {
            Change::Write(slot) => {
                if let Some(held) = self.slab.get_mut(slot) {
                    held.applied = position;
                }
            }
            Change::Frontier(log) => {
                let before = self.logs.set_applied(log, position);
                self.applied.vacate(before);
            }
        }
    }

    /// Raises a frontier, and puts that in the order of application.
    fn raise(&mut self, log: LogSlot, frontier: u64) {
        if self.logs.raise(log, frontier) {
            self.append_change(Change::Frontier(log));
        }
    }

    /// Takes a write out that another one replaces.
    fn unlink(&mut self, place: Place, slot: Slot, by: (LogSlot, u64)) -> bool {
        let own = self.logs.slot(self.own);
        if let Some(held) = self.slab.get(slot)
            && Some(held.log) == own
        {
            let by = (Some(by.0) == own).then_some(by.1);
            self.unpushed.replaced(held.version, by);
        }
        let gone = self.order.take(&mut self.slab, place, slot);
        self.drop_write(slot);
        gone
    }

    /// What a write had replaced is told by no other: whoever does not know it needs the lists.
    fn collected(&mut self, log: LogSlot, version: u64) {
        if self.logs.raise_floor(log, version) {
            self.epoch = self.epoch.saturating_add(1);
        }
    }

    fn drop_write(&mut self, slot: Slot) {
        let Some(held) = self.slab.remove(slot) else {
            return;
        };
        self.applied.vacate(held.applied);
        self.logs.release(held.log);
        if let Some(at) = held.write().dies_at() {
            self.mortal.remove(&(at, slot));
        }
    }

    /// Takes a write out by its slot alone.
    fn discard(&mut self, slot: Slot) {
        let Some(key) = self.slab.get(slot).map(|held| held.key().to_vec()) else {
            return;
        };
        let Ok(place) = self.order.find(&self.slab, &key) else {
            return;
        };
        let told = self.notices.is_open().then(|| self.first_value(place));
        let author = self.slab.get(slot).and_then(|held| {
            let origin = self.logs.at(held.log)?.origin;
            Some((origin, held.write().stamp))
        });
        // As if replaced by another's: it cannot be pushed any more.
        let gone = self.unlink(place, slot, (LogSlot::MAX, 0));
        if let (Some(old), Some((origin, stamp))) = (told, author) {
            let new = if gone { None } else { self.first_value(place) };
            self.tell_change(&key, old, new, origin, stamp);
        }
    }

    fn first_value(&self, place: Place) -> Option<Value> {
        let readings = self.read(self.order.first(place));
        Value::new(readings.first()?.value).ok()
    }

    /// Tells what a write has changed.
    fn tell(
        &mut self,
        key: Key,
        place: Option<Place>,
        slot: Slot,
        old: Option<Value>,
        (origin, stamp): (Origin, Stamp),
        concurrent: bool,
    ) {
        let first = place.map_or(slot, |place| self.order.first(place));
        if concurrent && let Some(conflict) = self.conflict(&key, first) {
            self.notices.push(Notice::Conflict(Box::new(conflict)));
        }
        let new = self
            .read(first)
            .first()
            .and_then(|reading| Value::new(reading.value).ok());
        self.tell_change(key.as_str().as_bytes(), old, new, origin, stamp);
    }

    fn tell_change(
        &mut self,
        key: &[u8],
        old: Option<Value>,
        new: Option<Value>,
        origin: Origin,
        stamp: Stamp,
    ) {
        let key = core::str::from_utf8(key).ok().map(Key::new);
        if let Some(Ok(key)) = key
            && old != new
        {
            self.notices.push(Notice::Changed(Box::new(Changed {
                key,
                old,
                new,
                writer: origin.id,
                stamp,
            })));
        }
    }

    /// The siblings of a key, sorted into those that stand and those that have lost by their stamp;
    /// nothing, where all are tombstones.
    fn conflict(&self, key: &Key, first: Slot) -> Option<Conflict> {
        let mut writes: Vec<(Origin, Write<'_>)> = self.writes_of(first).collect();
        sort_by_key(&mut writes, |(origin, write)| {
            Reverse((write.stamp, *origin))
        });
        let mut conflict = Conflict {
            key: key.clone(),
            standing: Vec::new(),
            lost: Vec::new(),
        };
        let mut has_winner = false;
        let mut has_value = false;
        for (origin, write) in writes {
            has_value |= write.value.is_some();
            let version = Version {
                writer: origin.id,
                stamp: write.stamp,
                value: write.value.and_then(|value| Value::new(value).ok()),
            };
            if write.policy == Policy::LastWriteWins && core::mem::replace(&mut has_winner, true) {
                conflict.lost.push(version);
            } else {
                conflict.standing.push(version);
            }
        }
        has_value.then_some(conflict)
    }

    /// The next notice, if there is one.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop()
    }

    /// The origin of a held write.
    fn origin_of(&self, held: &Held) -> Option<Origin> {
        self.logs.at(held.log).map(|log| log.origin)
    }

    /// Whether an origin is unknown and may have been forgotten, here or elsewhere.
    fn refuses(&self, origin: Origin) -> bool {
        self.forgotten.may_include(origin) && self.logs.slot(origin).is_none()
    }
}

/// Dots of a version vector: of each origin, up to a version.
type Dotted = SmallVec<[(Origin, u64); 4]>;
