//! One replica of the shared map: any node writes any key, on both sides of any partition.
//!
//! Every write is an entry in the log of its **origin** (a node under one generation). Its **dot**, the
//! pair (origin, version), identifies it for ever. A replica holds the writes that live. For each origin
//! it has a **frontier** (also called max version): it knows every version up to there, and a version that
//! it knows and does not hold is dead. The table of all frontiers is its version vector. A write carries
//! its **context**: the key's version vector as the writer knew it, which includes the contexts of
//! everything that the write replaces. A write that another write's context covers is dead. Writes of one
//! key that do not cover each other are **siblings**.
//!
//! This is an optimized observed-remove map without tombstones for replaced writes (Bieniusa et al.,
//! *An Optimized Conflict-free Replicated Set*, 2012) over dotted version vectors (Preguiça et al.,
//! *Dotted Version Vectors*, 2010). It travels as causal deltas (Almeida et al., *Delta State Replicated
//! Data Types*, 2018).
//!
//! # Rules
//!
//! 1. *Claims are atomic.* A delta waits in a [`DeltaReceiver`] until all of it has arrived. Then dropped
//!    writes, new writes, frontiers and floors take effect together. The sender streams a delta in the
//!    order in which it applied the writes. The delta ends when the stream has caught up with the sender.
//!    Only the same sender can continue it.
//! 2. *Delivery is causal.* A replica applies a pushed run only if the run is adjacent to its frontier and
//!    its frontiers cover the run's contexts. Otherwise the run waits among the recent runs.
//! 3. *Contexts are whole, or a floor stands for what they leave out.* A context names the writes that are
//!    replaced, and what these had replaced unless that is much. A replica that drops a write whose context
//!    lives on nowhere raises the floor of that write's log, as if it had collected a tombstone (rule 4).
//!    Dots of pruned origins are left out.
//! 4. *Tombstones* are writes like any other. They are collected a grace time after they were written, and
//!    earlier where they take the room of values. That raises their log's **floor** (also called last gc version).
//! 5. *Below a floor, the live set comes first.* A replica with a frontier below any floor of its peer is
//!    told, for every origin, which versions live. It drops what it holds at or below the peer's frontiers
//!    and does not find listed. The live set lists every origin, since a tombstone in one log kills writes
//!    in others. What dies after the live set was made is told after it.
//! 6. *A closed log stays* and is served like any other. When nothing in it lives any more, it is an
//!    **empty log**. After a long time, or when there are too many, an empty log leaves the version vector
//!    and becomes a **pruned origin**: nothing of it lives up to its frontier, and later versions are
//!    news. The replica that prunes it writes a **prune marker**: a version of its own log that holds
//!    nothing and raises its floor. Pruned origins are forgotten at last, too. Then the **prune stamp**
//!    rises to their generation. An unknown origin at or below the prune stamp that is not a pruned origin
//!    is refused, and what is held of it is dropped.
//!
//! # What is read
//!
//! Of the siblings written with [`LastWriteWins`], the one with the latest stamp is read; the origin
//! decides ties. The others stay, unread, until a write that has seen them replaces them. Siblings written
//! with [`KeepSiblings`] are all read. Which siblings there are depends only on what is known, so replicas
//! that know the same read the same. A tombstone that hides unread siblings is not collected, since they
//! would be read again. It is replaced by a tombstone that has seen them.
//!
//! # Parts
//!
//! [`Map`] is the replica. [`DeltaSender`] and [`DeltaReceiver`] are the two ends of a delta. A [`Run`] is
//! what is pushed, and [`RecentRuns`] keeps runs that wait or may be asked for. None of them knows of nodes, clocks or sockets.
//!
//! [`LastWriteWins`]: crate::Policy::LastWriteWins
//! [`KeepSiblings`]: crate::Policy::KeepSiblings

mod apply_order;
mod changes;
mod chunk;
mod correct;
mod delta_apply;
mod delta_codec;
mod delta_receiver;
mod delta_sender;
mod died;
mod gc;
mod insert;
mod key_index;
mod live_set;
mod logs;
mod overhead;
mod prune;
mod pruned_origins;
mod pull;
mod push;
mod put;
mod read;
mod recent_runs;
mod reopen;
mod slab;
mod version_vector;
mod write;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;

use smallvec::SmallVec;

use crate::state::table_hash::HashKey;
use crate::time::UnixTime;
use apply_order::ApplyOrder;
use changes::ChangeQueue;
use died::Died;
use key_index::KeyIndex;
use logs::{LogSlot, Logs, OriginLog};
use pruned_origins::PrunedOrigins;
use push::Unpushed;
use slab::{Held, Slab, WriteSlot};

pub use changes::{Conflict, DroppedValue, MAX_CONFLICT_VERSIONS, MapChange, ValueChange, Version};
pub use chunk::{ChunkEnd, ChunkHead, Cursor, DeltaPiece, LiveSegment, read_chunk};
pub use delta_codec::EncodedItems;
pub use delta_receiver::{ApplyLimits, ChunkOutcome, DeltaReceiver};
pub use delta_sender::{DeltaSender, PullReply};
pub use logs::{Frontier, Origin};
pub use prune::PruneLimits;
pub use pull::{Pull, VectorItem, read_pull, write_pull};
pub use push::{Pushed, Run};
pub use put::Put;
pub use read::Reading;
pub use recent_runs::{RecentRuns, Taken, Wanted, read_wanted, write_wanted};
pub use reopen::OwnLog;
pub use version_vector::ReplicaSummary;
pub use write::{CausalContext, ContextDots, Replaces, Write};

/// A replica of the map.
///
/// Invariants, outside of its methods:
/// - Every held write is at or below its log's frontier.
/// - An origin has a log or is a pruned origin, never both.
/// - Every held write is in the list of its key, at its position in the apply order, and counted by its
///   log.
/// - `deaths` has an entry for each held write that is dead or will die, and no other.
#[derive(Clone, Debug)]
pub struct Map {
    own: Origin,
    logs: Logs,
    slab: Slab,
    key_index: KeyIndex,
    apply_order: ApplyOrder,
    /// Writes that are dead or will expire: (when it dies, which).
    deaths: BTreeSet<(u64, WriteSlot)>,
    pruned_origins: PrunedOrigins,
    /// The replica has pruned, or lost, knowledge that no prune marker stands for yet: see
    /// [`pruned_origins`].
    owes_marker: bool,
    /// Rises with every floor and with the prune stamp. A peer that was below no floor in an earlier epoch may
    /// be below one now.
    epoch: u64,
    /// The writes that died last.
    died: Died,
    /// Rises whenever something dies that is not noted in `died`. A live set that was made before does not tell
    /// everything that is dead.
    unnoted: u64,
    /// How many logs have left the vector since contexts were trimmed.
    pruned_since_trim: usize,
    max_context: usize,
    wall: UnixTime,
    unpushed: Unpushed,
    changes: ChangeQueue,
    /// How many writes of others have been applied.
    merged: u64,
}

impl Map {
    /// An empty replica that writes under `own`. Keeps up to `changes` changes for the application.
    #[must_use]
    pub fn new(own: Origin, cluster: &str, changes: usize) -> Self {
        Self {
            own,
            logs: Logs::new(HashKey::of(cluster)),
            slab: Slab::new(),
            key_index: KeyIndex::new(),
            apply_order: ApplyOrder::new(),
            deaths: BTreeSet::new(),
            pruned_origins: PrunedOrigins::new(),
            owes_marker: false,
            epoch: 0,
            died: Died::default(),
            unnoted: 0,
            pruned_since_trim: 0,
            max_context: put::MAX_CONTEXT,
            wall: UnixTime::default(),
            unpushed: Unpushed::default(),
            changes: ChangeQueue::new(changes),
            merged: 0,
        }
    }

    /// Sets how many dots a context may have and yet name more than what is replaced. Any number is safe; tests
    /// use it to try all of them.
    pub const fn limit_contexts(&mut self, dots: usize) {
        self.max_context = dots;
    }

    /// The origin under which this replica writes.
    #[must_use]
    pub const fn own(&self) -> Origin {
        self.own
    }

    /// How many keys it holds, deleted ones included.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.key_index.len()
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

    /// How many of them are closed and hold nothing.
    #[must_use]
    pub const fn empty_logs(&self) -> usize {
        self.logs.empty()
    }

    /// Bytes of all writes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.slab.bytes()
    }

    /// Bytes of the writes without a value: tombstones, and what has expired.
    #[must_use]
    pub const fn dead_bytes(&self) -> usize {
        self.slab.dead_bytes()
    }

    /// How many writes of others have been applied.
    #[must_use]
    pub const fn merged(&self) -> u64 {
        self.merged
    }

    /// The origins that have been pruned and are remembered, each with the version up to which nothing of
    /// it lives.
    pub fn pruned_origins(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.pruned_origins.iter()
    }

    /// How far each origin is known, in the order of the origins.
    pub fn frontiers(&self) -> impl Iterator<Item = Frontier> {
        self.logs.iter().map(OriginLog::to_frontier)
    }

    /// How far an origin is known. A pruned origin is known up to the version up to which nothing lives.
    fn known(&self, origin: Origin) -> u64 {
        match self.logs.get(origin) {
            Some(log) => log.frontier,
            None => self.pruned_origins.upto(origin),
        }
    }

    /// The log of an origin. If there is none, it is made; the log of a pruned origin returns into the
    /// vector. `None` if there are too many logs.
    fn open(&mut self, origin: Origin) -> Option<LogSlot> {
        if let Some(log) = self.logs.slot(origin) {
            return Some(log);
        }
        let log = self.logs.ensure(origin)?;
        let upto = self.pruned_origins.remove(origin);
        self.logs.raise(log, upto);
        self.logs.raise_floor(log, upto);
        Some(log)
    }

    /// How far an origin's log is known; 0 if it has none.
    #[must_use]
    pub fn frontier(&self, origin: Origin) -> u64 {
        self.logs.frontier(origin)
    }

    /// Every write that is held, with its origin, in no particular order.
    pub fn held(&self) -> impl Iterator<Item = (Origin, Write<'_>)> {
        self.slab
            .slots()
            .filter_map(|(_, held)| Some((self.origin_of(held)?, held.write())))
    }

    /// Whether others would refuse the own log, so that it must be reopened under a later generation
    /// before this replica writes.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.refuses(self.own)
    }

    /// The origin of a held write.
    fn origin_of(&self, held: &Held) -> Option<Origin> {
        self.logs.at(held.log).map(|log| log.origin)
    }

    /// Whether an origin is unknown and may have been pruned and forgotten, here or elsewhere.
    fn refuses(&self, origin: Origin) -> bool {
        self.pruned_origins.may_have_forgotten(origin) && self.logs.slot(origin).is_none()
    }

    /// A floor or the prune stamp has risen, for another reason than the deaths that are noted. Live sets that
    /// were made before this moment may not tell everything that is dead.
    const fn begin_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.unnoted = self.unnoted.saturating_add(1);
    }

    /// Checks the invariants of the whole replica. O(n log n).
    #[cfg(test)]
    fn check(&self) {
        self.logs.check();
        self.slab.check();
        self.key_index.check(&self.slab);
        let mut held = alloc::collections::BTreeMap::<LogSlot, u32>::new();
        let mut deaths = BTreeSet::new();
        for (slot, write) in self.slab.slots() {
            let log = self.logs.at(write.log).unwrap();
            assert_eq!(
                self.logs.slot(log.origin),
                Some(write.log),
                "the log exists"
            );
            assert!(write.version <= log.frontier, "what is held is known");
            let applied = self.apply_order.at(write.position);
            assert_eq!(applied, Some(apply_order::Applied::Write(slot)));
            let place = self.key_index.find(&self.slab, write.key()).unwrap();
            let siblings = self.slab.siblings(self.key_index.first(place));
            assert_eq!(siblings.filter(|(other, _)| *other == slot).count(), 1);
            *held.entry(write.log).or_default() += 1;
            deaths.extend(write.write().dies_at().map(|at| (at, slot)));
        }
        assert_eq!(deaths, self.deaths);
        let mut risen = 0;
        for log in self.logs.iter() {
            let slot = self.logs.slot(log.origin).unwrap();
            assert_eq!(log.held, held.get(&slot).copied().unwrap_or(0));
            assert_eq!(self.pruned_origins.upto(log.origin), 0, "pruned, or a log");
            if log.position > 0 {
                risen += 1;
                let applied = self.apply_order.at(log.position);
                assert_eq!(applied, Some(apply_order::Applied::Frontier(slot)));
            }
        }
        self.apply_order.check(self.slab.len() + risen);
    }
}

/// Dots of a version vector: for each origin, a version.
type DotList = SmallVec<[(Origin, u64); 4]>;
