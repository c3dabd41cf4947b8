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
//! Of siblings written with [`LastWriteWins`] the one with the latest stamp is read, ties
//! decided by the origin; the others stay, unread, until a write that has seen them replaces them.
//! Siblings with [`KeepSiblings`] are all read. Which siblings there are depends only on what
//! is known, so replicas that know the same read the same. A tombstone that hides unread siblings is
//! not collected but replaced, by a tombstone that has seen them: otherwise they would be read again.
//!
//! # Parts
//!
//! [`Map`] is the replica. [`Serving`] and [`Staging`] are the two ends of a delta, [`Run`] is what is
//! pushed. None of them knows of nodes, clocks or sockets.
//!
//! [`LastWriteWins`]: crate::Policy::LastWriteWins
//! [`KeepSiblings`]: crate::Policy::KeepSiblings

mod apply_order;
mod changes;
mod delta;
mod delta_receiver;
mod delta_sender;
mod gc;
mod insert;
mod key_index;
mod live_set;
mod logs;
mod pruned_origins;
mod push;
mod put;
mod read;
mod slab;
mod version_vector;
mod write;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;

use smallvec::SmallVec;

use crate::state::table_hash::HashKey;
use crate::time::UnixTime;
use apply_order::Applied;
use changes::Notices;
use key_index::Order;
use logs::{LogSlot, Logs};
use pruned_origins::Forgotten;
use push::Unpushed;
use slab::{Held, Slab, Slot};

pub use changes::{Changed, Conflict, Dropped, MAX_TOLD, Notice, Version};
pub use delta::{
    Cursor, Extent, Head, Items, Piece, Pull, Told, read_chunk, read_pull, write_pull,
};
pub use delta_receiver::{Limit, Outcome, Own, Staging};
pub use delta_sender::{Serving, Verdict, pull_of};
pub use gc::Memory;
pub use live_set::Segment;
pub use logs::{Frontier, Origin};
pub use push::{Pushed, Run};
pub use put::Put;
pub use read::Reading;
pub use version_vector::Summary;
pub use write::{Context, Dots, Replaces, Write};

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

    /// Whether the own log must be reopened under a later generation before it is written: others
    /// would refuse it.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.refuses(self.own)
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
