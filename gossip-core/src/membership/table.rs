//! The member table: all that a replica knows about members, itself included.
//!
//! Records live in a slab. A hash index finds a record by its id. `order` holds the ids of all records in
//! order, and the rings of the [`Datacenters`] those of the members that take part or are down. They hold
//! the ids themselves, because they are searched all the time.
//!
//! # Invariants
//!
//! - The index, `order` and `slots` name each record exactly once.
//! - A member is on the ring of its datacenter if and only if it is live or down, and counts there as it
//!   does in its record.
//! - The table hash is the sum of the contributions of all records, and each bucket that of its region.
//! - `state_bytes` is the sum of the sizes of all logs.
//! - Iteration follows `order`, so nothing depends on the order of the hash index.
//!
//! # Costs
//!
//! A look-up is O(1). A change of a log is O(1) beyond the log itself. A member that enters or leaves a list
//! costs O(log n) comparisons and one move of at most 20n bytes.

mod index;

use alloc::vec::Vec;
use core::ops::Range;

use siphasher::sip::SipHasher13;

use super::buckets::Buckets;
use super::datacenter::{Datacenters, Place};
use super::member::{Condition, Record, Told};
use super::region::{Region, SPLIT_BITS};
use super::ring::{Liveness, Ring};
use crate::growth::grow;
use crate::identity::{Generation, NodeId};
use crate::state::attribute::BRIDGE;
use crate::state::log::{Claim, Log};
use crate::state::table_hash::HashKey;
use crate::time::Instant;
use index::{Index, Slot, position};

/// All that a replica knows about members. See the [module](self).
#[derive(Debug)]
pub(crate) struct Table {
    records: Vec<Record>,
    index: Index,
    /// The ids of all records, sorted.
    order: Vec<NodeId>,
    /// Where the records of `order` are, in the same order.
    slots: Vec<Slot>,
    datacenters: Datacenters,
    hash_key: HashKey,
    hash: u128,
    buckets: Buckets,
    state_bytes: usize,
    /// The members that have changed since the last call of `take_changes`, while changes are tracked.
    changes: Option<Vec<NodeId>>,
}

/// Whether a table remembers which members change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    On,
    Off,
}

impl Table {
    /// An empty table. No peer may know `index_key`. `bridges` is how many a datacenter should have.
    pub(crate) const fn new(hash_key: HashKey, index_key: SipHasher13, bridges: usize) -> Self {
        Self {
            records: Vec::new(),
            index: Index::new(index_key),
            order: Vec::new(),
            slots: Vec::new(),
            datacenters: Datacenters::new(bridges),
            hash_key,
            hash: 0,
            buckets: Buckets::new(),
            state_bytes: 0,
            changes: None,
        }
    }

    /// Begins or ceases to remember which members change.
    pub(crate) fn track_changes(&mut self, tracking: Tracking) {
        match tracking {
            Tracking::On => {
                self.changes.get_or_insert_default();
            }
            Tracking::Off => self.changes = None,
        }
    }

    /// The members whose log or condition has changed since the last call. A member may occur more than
    /// once.
    pub(crate) fn take_changes(&mut self) -> Vec<NodeId> {
        self.changes
            .as_mut()
            .map(core::mem::take)
            .unwrap_or_default()
    }

    fn note_change(&mut self, id: NodeId) {
        if let Some(changes) = &mut self.changes {
            changes.push(id);
        }
    }

    /// How many records there are, tombstones included.
    pub(crate) const fn len(&self) -> usize {
        self.records.len()
    }

    /// The table hash: the sum of the contributions of all origins.
    pub(crate) const fn hash(&self) -> u128 {
        self.hash
    }

    /// The bytes of all logs.
    pub(crate) const fn state_bytes(&self) -> usize {
        self.state_bytes
    }

    /// What an origin known up to `frontier` contributes to the hash.
    pub(crate) fn contribution(&self, id: NodeId, generation: Generation, frontier: u64) -> u128 {
        self.hash_key.contribution(id, generation, frontier)
    }

    /// What this replica's log of an origin contributes to the hash.
    pub(crate) fn own_contribution(&self, id: NodeId) -> u128 {
        self.get(id)
            .map_or(0, |record| contribution_of(&self.hash_key, record))
    }

    /// The hash over the origins of a region. O(buckets in it), or O(members in it) if it is smaller than a
    /// bucket.
    pub(crate) fn region_hash(&self, region: Region) -> u128 {
        if let Some(buckets) = self.buckets.of(region) {
            return buckets
                .iter()
                .fold(0, |sum, bucket| bucket.wrapping_add(sum));
        }
        self.sum(region)
    }

    fn sum(&self, region: Region) -> u128 {
        self.region(region).fold(0_u128, |sum, record| {
            sum.wrapping_add(contribution_of(&self.hash_key, record))
        })
    }

    /// The records of a region in the order of their ids, tombstones included.
    pub(crate) fn region(&self, region: Region) -> impl ExactSizeIterator<Item = &Record> + Clone {
        debug_assert_eq!(self.slots.len(), self.order.len());
        let slots = self.slots.get(self.span(region)).unwrap_or_default();
        slots.iter().map(|slot| self.at(*slot))
    }

    fn span(&self, region: Region) -> Range<usize> {
        let start = self.order.partition_point(|id| *id < region.first());
        let end = self.order.partition_point(|id| *id <= region.last());
        start..end
    }

    /// The smallest region around all records of a region, if it is no larger than one of the region's
    /// parts; otherwise the region itself. Without it, ids that begin alike would take one leg of an
    /// exchange for every five bits that they share.
    pub(crate) fn crowded(&self, region: Region) -> Region {
        let narrow = match self.order.get(self.span(region)) {
            Some([first, .., last]) => Region::around(*first, *last),
            _ => region,
        };
        let is_deep = narrow.bits() >= region.bits().saturating_add(SPLIT_BITS);
        if is_deep { narrow } else { region }
    }

    /// All records in the order of their ids, tombstones included.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Record> + Clone {
        self.slots.iter().map(|slot| self.at(*slot))
    }

    /// How many ids new ones were compared with in vain, over all time.
    pub(crate) const fn collisions(&self) -> u64 {
        self.index.collisions()
    }

    /// How many members take part.
    pub(crate) const fn live_len(&self) -> usize {
        self.datacenters.live_len()
    }

    /// How many members are down.
    pub(crate) const fn down_len(&self) -> usize {
        self.datacenters.down_len()
    }

    /// The members that are down.
    pub(crate) fn down(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.datacenters.down()
    }

    /// Which members are in which datacenter.
    pub(crate) const fn datacenters(&self) -> &Datacenters {
        &self.datacenters
    }

    /// Whether other members may observe one another across datacenters than at the last call.
    pub(crate) fn take_regrouped(&mut self) -> bool {
        self.datacenters.take_regrouped()
    }

    /// The datacenter of a member.
    pub(crate) fn place(&self, id: NodeId) -> Place {
        self.get(id).map_or(Place::UNSAID, |record| record.place)
    }

    /// The ring of a member's datacenter.
    pub(crate) fn home(&self, id: NodeId) -> &Ring {
        self.datacenters.ring(self.place(id))
    }

    /// The position of an id among all records, or the position that it would take.
    pub(crate) fn position(&self, id: NodeId) -> Result<usize, usize> {
        self.order.binary_search(&id)
    }

    /// The record at a position, in the order of the ids.
    pub(crate) fn record_at(&self, position: usize) -> Option<&Record> {
        self.slots.get(position).map(|slot| self.at(*slot))
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Record> {
        self.slot(id).map(|slot| self.at(slot))
    }

    /// How a member counts, if it is known.
    pub(crate) fn condition(&self, id: NodeId) -> Option<Condition> {
        self.get(id).map(|record| record.condition)
    }

    /// Whether a member takes part under this generation, as far as this replica knows.
    pub(crate) fn is_live_under(&self, id: NodeId, generation: Generation) -> bool {
        self.get(id).is_some_and(|record| {
            record.condition == Condition::Live && record.log.generation() == generation
        })
    }

    /// The record, for changes of other fields than the log, the condition and the place.
    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Record> {
        let slot = self.slot(id)?;
        self.records.get_mut(position(slot))
    }

    /// Makes a record if there is none. The new member is live.
    pub(crate) fn ensure(&mut self, id: NodeId, now: Instant) {
        if self.add(id, now) {
            self.datacenters
                .enter(Place::UNSAID, Liveness::Live, id, false);
        }
    }

    /// Makes a record if there is none, and tells whether it did. The new member is in no datacenter yet.
    fn add(&mut self, id: NodeId, now: Instant) -> bool {
        if self.slot(id).is_some() {
            return false;
        }
        let slot = Slot::try_from(self.records.len());
        debug_assert!(slot.is_ok(), "max_members is far below");
        let Ok(slot) = slot else {
            return false;
        };
        grow(&mut self.records);
        self.records.push(Record::new(id, now));
        self.index.add(&self.records, slot);
        let found = self.position(id);
        debug_assert!(found.is_err(), "the index and the order name the same ids");
        if let Err(at) = found {
            grow(&mut self.order);
            grow(&mut self.slots);
            self.order.insert(at, id);
            self.slots.insert(at, slot);
        }
        if self.buckets.grow(self.order.len()) {
            for region in self.buckets.regions() {
                let sum = self.sum(region);
                self.buckets.add(region.first(), sum);
            }
        }
        true
    }

    /// Changes the log of a member, and all that follows from it: the hash, the bytes, the datacenter.
    pub(crate) fn change_log<R>(
        &mut self,
        id: NodeId,
        change: impl FnOnce(&mut Log) -> R,
    ) -> Option<R> {
        self.replace_log(id, |log| {
            let known = (log.generation(), log.frontier());
            let result = change(log);
            debug_assert!(
                known <= (log.generation(), log.frontier()),
                "a log never goes back"
            );
            result
        })
    }

    /// Changes the log of a member as [`change_log`](Self::change_log) does, and may put an earlier one in its place.
    pub(crate) fn replace_log<R>(
        &mut self,
        id: NodeId,
        change: impl FnOnce(&mut Log) -> R,
    ) -> Option<R> {
        let slot = self.slot(id)?;
        let record = self.records.get_mut(position(slot))?;
        let before = contribution_of(&self.hash_key, record);
        let size = record.log.size();
        let result = change(&mut record.log);
        debug_assert!(size <= self.state_bytes, "the log was counted");
        let grown = record.log.size();
        let after = contribution_of(&self.hash_key, record);
        self.state_bytes = self.state_bytes.saturating_sub(size).saturating_add(grown);
        self.add_to_hash(id, after.wrapping_sub(before));
        self.relocate(slot);
        self.note_change(id);
        Some(result)
    }

    /// What the index makes of an id.
    #[cfg(test)]
    pub(crate) fn index_hash(&self, id: NodeId) -> u64 {
        self.index.hash(id)
    }

    fn add_to_hash(&mut self, id: NodeId, change: u128) {
        self.hash = self.hash.wrapping_add(change);
        self.buckets.add(id, change);
    }

    /// Applies a claim about a member, known or not. A new member is live.
    pub(crate) fn apply(&mut self, id: NodeId, now: Instant, claim: &Claim<'_>) {
        let is_new = self.add(id, now);
        self.change_log(id, |log| log.apply(claim));
        if is_new {
            // Only now, because the log has told the datacenter.
            let (place, named) = self.get(id).map_or((Place::UNSAID, false), seat);
            self.datacenters.enter(place, Liveness::Live, id, named);
        }
    }

    /// A log has changed. If its member publishes another datacenter than before, it moves there. Whether it
    /// says that it is a bridge may have changed, too.
    fn relocate(&mut self, slot: Slot) {
        let record = self.at(slot);
        let place = match record.datacenter() {
            None | Some("") => Place::UNSAID,
            Some(name) => {
                let [a, b, c, d, ..] = self.index.hash_text(name).to_le_bytes();
                Place(u32::from_le_bytes([a, b, c, d]))
            }
        };
        let (id, from) = (record.id, seat(record));
        let to = (place, record.log.get(BRIDGE).is_some());
        if to == from {
            return;
        }
        // A new member is in no datacenter before its first log is applied.
        if let Some(liveness) = liveness(record.condition)
            && self.datacenters.ring(from.0).contains(liveness, id)
        {
            self.datacenters.travel(from, to, liveness, id);
        }
        if let Some(record) = self.records.get_mut(position(slot)) {
            (record.place, record.is_named) = to;
        }
    }

    /// Changes how a known member counts. Tells whether the condition is another one than before.
    pub(crate) fn set_condition(&mut self, id: NodeId, now: Instant, condition: Condition) -> bool {
        let record = self.get_mut(id);
        debug_assert!(record.is_some(), "only a known member has a condition");
        let Some(record) = record else {
            return false;
        };
        let old = core::mem::replace(&mut record.condition, condition);
        if old == condition {
            return false;
        }
        record.since = now;
        record.is_doubted = false;
        if condition == Condition::Removed {
            (record.told, record.returns) = (Told::Never, false);
        }
        let (place, named) = seat(record);
        self.note_change(id);
        if let Some(liveness) = liveness(old) {
            self.datacenters.leave(place, liveness, id, named);
        }
        if let Some(liveness) = liveness(condition) {
            self.datacenters.enter(place, liveness, id, named);
        }
        true
    }

    /// Drops the member tombstones that are over. O(members).
    pub(crate) fn prune(&mut self, is_over: impl Fn(&Record) -> bool) {
        let is_over = |record: &Record| record.condition == Condition::Removed && is_over(record);
        let over: Vec<NodeId> = self.iter().filter(|r| is_over(r)).map(|r| r.id).collect();
        if over.is_empty() {
            return;
        }
        for id in &over {
            let change = self.own_contribution(*id).wrapping_neg();
            let size = self.get(*id).map_or(0, |record| record.log.size());
            debug_assert!(size <= self.state_bytes, "the log was counted");
            self.state_bytes = self.state_bytes.saturating_sub(size);
            self.add_to_hash(*id, change);
            self.note_change(*id);
        }
        debug_assert!(over.is_sorted(), "iteration follows the ids");
        let stays = |id: &NodeId| over.binary_search(id).is_err();
        self.records.retain(|record| stays(&record.id));
        self.order.retain(stays);
        // The records after those that are gone have moved up.
        self.index.rebuild(&self.records);
        let slots = self.order.iter().filter_map(|id| self.slot(*id)).collect();
        self.slots = slots;
        debug_assert_eq!(self.slots.len(), self.records.len());
        debug_assert_eq!(self.order.len(), self.records.len());
    }

    fn slot(&self, id: NodeId) -> Option<Slot> {
        self.index.find(&self.records, id)
    }

    fn at(&self, slot: Slot) -> &Record {
        #[expect(
            clippy::indexing_slicing,
            reason = "slots are made by this table, and renumbered when it prunes"
        )]
        &self.records[position(slot)]
    }
}

/// What a record contributes to the table hash.
fn contribution_of(key: &HashKey, record: &Record) -> u128 {
    key.contribution(record.id, record.log.generation(), record.log.frontier())
}

/// In which datacenter a member counts, and whether as a named bridge.
const fn seat(record: &Record) -> (Place, bool) {
    (record.place, record.is_named)
}

/// How a member of this condition counts on its ring, if it is on one.
const fn liveness(condition: Condition) -> Option<Liveness> {
    match condition {
        Condition::Live => Some(Liveness::Live),
        Condition::Down => Some(Liveness::Down),
        Condition::Left | Condition::Removed => None,
    }
}

#[cfg(test)]
mod tests;
