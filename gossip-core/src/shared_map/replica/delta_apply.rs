//! How a whole delta takes effect: dropped writes, new writes, frontiers, floors and the prune stamp
//! together.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Map;
use super::changes::{DroppedValue, MapChange, Version};
use super::live_set::{LiveSet, LiveSetPart};
use super::logs::{Origin, OriginLog};
use super::reopen::OwnLog;
use super::slab::WriteSlot;
use super::write::Write;
use crate::command::{Key, Value};
use crate::identity::Generation;

/// A delta of which everything has arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct ReceivedDelta {
    /// Whether the sender told its live set.
    pub(super) has_live_set: bool,
    pub(super) live_set: Vec<LiveSetPart>,
    pub(super) writes: Vec<(Origin, Box<[u8]>)>,
    pub(super) claims: BTreeMap<Origin, Claim>,
    pub(super) prune_stamp: Generation,
    /// Bytes of all that.
    pub(super) bytes: usize,
}

/// How far a delta claims to tell an origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) frontier: u64,
    pub(super) floor: u64,
}

/// Why a delta has not been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unapplied {
    /// The map and the delta together would be too large.
    TooLarge,
    /// The delta was made for a replica that knew nothing, so it has no live set. This replica has
    /// learned something since, and would need one.
    Outdated,
}

/// What has become of the writes that a peer knew and did not list.
#[derive(Debug)]
struct Dropped {
    /// Whether anything was dropped.
    any: bool,
    /// A log was dropped of which this replica may have known more than the peer ever did.
    owes_marker: bool,
    own: OwnLog,
}

impl Map {
    /// Applies a delta, unless the map and the delta together have more than `limit` bytes. Returns how
    /// the own log stands then.
    pub(super) fn apply_delta(
        &mut self,
        delta: ReceivedDelta,
        limit: usize,
    ) -> Result<OwnLog, Unapplied> {
        if self.bytes().saturating_add(delta.bytes) > limit {
            return Err(Unapplied::TooLarge);
        }
        let ReceivedDelta {
            mut claims, writes, ..
        } = delta;
        let is_below = |(origin, claim): (&Origin, &Claim)| self.frontier(*origin) < claim.floor;
        if !delta.has_live_set && self.writes() > 0 && claims.iter().any(is_below) {
            return Err(Unapplied::Outdated);
        }
        let before = self.summary();
        // What a delta leaves out as dead was never here, so it is not noted when it dies.
        self.unnoted = self.unnoted.saturating_add(1);
        let own = self.own;
        let live_set = (delta.has_live_set).then(|| LiveSet::new(&delta.live_set));
        // A peer that knows more of the own log than this replica has written, even if only that nothing
        // of it lives, knows it from another process.
        let claimed = claims.get(&own).map_or(0, |own| own.frontier);
        let listed = live_set.as_ref().map_or(0, |live_set| live_set.known(own));
        let is_contested = self.known(own) < claimed.max(listed);
        // What a refused log has replaced is dead at the peer and may live at others. This replica takes
        // over the first without the second, so it owes a marker.
        let mut owes_marker = claims.keys().any(|origin| self.refuses(*origin));
        claims.retain(|origin, claim| {
            *origin != own && !self.refuses(*origin) && !self.is_pruned(*origin, claim.frontier)
        });
        let mut standing = OwnLog::Sound;
        let mut dropped_any = false;
        if let Some(live_set) = &live_set {
            let dropped = self.drop_unlisted(live_set, delta.prune_stamp, is_contested);
            owes_marker |= dropped.owes_marker;
            (standing, dropped_any) = (dropped.own, dropped.any);
        }
        if is_contested {
            standing = OwnLog::Contested;
        }
        self.insert_claimed(writes, &claims, live_set.as_ref());
        self.raise_claimed(&claims, delta.prune_stamp);
        self.owes_marker |= owes_marker && (dropped_any || self.summary() != before);
        if self.owes_marker && standing == OwnLog::Sound {
            if self.is_outdated() {
                standing = OwnLog::Pruned;
            } else {
                self.write_prune_marker();
            }
        }
        Ok(standing)
    }

    /// Inserts those writes of a delta that are new and within its claims.
    fn insert_claimed(
        &mut self,
        writes: Vec<(Origin, Box<[u8]>)>,
        claims: &BTreeMap<Origin, Claim>,
        live_set: Option<&LiveSet>,
    ) {
        let position = self.apply_order.latest();
        for (origin, claim) in claims {
            if claim.frontier > self.known(*origin)
                && let Some(log) = self.open(*origin)
            {
                self.logs.mark(log, position);
            }
        }
        for (origin, bytes) in writes {
            let version = Write::decode(&bytes).map_or(0, |write| write.version);
            debug_assert!(version > 0, "the receiver has decoded every write");
            let claimed = claims.get(&origin).map_or(0, |claim| claim.frontier);
            let is_news = version > self.frontier(origin) && version <= claimed;
            let is_dead = live_set.is_some_and(|live_set| live_set.is_dead(origin, version));
            if is_news
                && !is_dead
                && let Some(log) = self.logs.slot(origin)
            {
                self.merged = self.merged.saturating_add(1);
                self.insert(log, bytes);
            }
        }
    }

    /// Raises frontiers, floors and the prune stamp to what a delta claims.
    fn raise_claimed(&mut self, claims: &BTreeMap<Origin, Claim>, prune_stamp: Generation) {
        let mut collected = false;
        for (origin, claim) in claims {
            if let Some(log) = self.logs.slot(*origin) {
                self.raise(log, claim.frontier);
                let floor = claim.floor.min(claim.frontier);
                collected |= self.logs.raise_floor(log, floor);
            }
        }
        collected |= self.pruned_origins.raise(prune_stamp);
        if collected {
            self.begin_epoch();
        }
    }

    /// Drops the writes that a peer knew and does not list, and takes out of the vector the logs that
    /// have left the peer's. Tells the application of values that the peer cannot know to be dead. Leaves
    /// the own log alone if it is contested.
    fn drop_unlisted(
        &mut self,
        live_set: &LiveSet,
        prune_stamp: Generation,
        is_contested: bool,
    ) -> Dropped {
        let own = self.own;
        let is_spared = |origin: Origin| is_contested && origin == own;
        let is_forgotten = |origin: Origin| {
            let is_unknown = !live_set.has_log(origin) && live_set.pruned_upto(origin) == 0;
            is_unknown && origin.generation <= prune_stamp
        };
        let is_pruned = |log: &OriginLog| {
            !live_set.has_log(log.origin) && log.frontier <= live_set.pruned_upto(log.origin)
        };
        let gone: Vec<Origin> = self
            .logs
            .iter()
            .filter(|log| is_forgotten(log.origin) || is_pruned(log))
            .map(|log| log.origin)
            .filter(|origin| !is_spared(*origin))
            .collect();
        let mut unseen = Vec::new();
        let mut dead: Vec<WriteSlot> = Vec::new();
        for (slot, held) in self.slab.slots() {
            let Some(origin) = self.origin_of(held) else {
                continue;
            };
            if is_spared(origin) {
                continue;
            }
            if live_set.is_dead(origin, held.version) {
                dead.push(slot);
            } else if origin != own && is_forgotten(origin) {
                dead.push(slot);
                unseen.extend(self.unseen(origin, &held.write()));
            }
        }
        let mut dropped = Dropped {
            any: !dead.is_empty() || !gone.is_empty(),
            owes_marker: false,
            own: OwnLog::Sound,
        };
        self.drop_dead(dead);
        for origin in gone {
            if !is_forgotten(origin) {
                self.prune_log(origin);
            } else if origin == own {
                dropped.own = OwnLog::Pruned;
            } else {
                dropped.owes_marker = true;
                self.remove_log(origin);
            }
        }
        for (origin, upto) in live_set.pruned_origins() {
            if self.logs.slot(origin).is_none() && !is_spared(origin) {
                self.pruned_origins.insert(origin, upto);
            }
        }
        for change in unseen {
            self.changes.push(change);
        }
        dropped
    }

    /// Drops these writes. What they replaced is told by nothing here any more, so they count as collected.
    fn drop_dead(&mut self, dead: Vec<WriteSlot>) {
        for slot in dead {
            let held = self.slab.get(slot);
            let collected = held.map(|held| (held.log, held.version));
            self.discard(slot);
            if let Some((log, version)) = collected {
                self.note_collected(log, version);
            }
        }
    }

    /// What the application is told of a value that is dropped, though no node is known to have replaced
    /// it.
    fn unseen(&self, origin: Origin, write: &Write<'_>) -> Option<MapChange> {
        if self.is_dead(write) {
            return None;
        }
        Some(MapChange::Dropped(Box::new(DroppedValue {
            key: Key::new(write.key_text()).ok()?,
            dropped: Version {
                writer: origin.id,
                stamp: write.stamp,
                value: Value::new(write.value?).ok(),
            },
        })))
    }
}
