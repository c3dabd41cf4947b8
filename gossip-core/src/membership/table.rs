//! The member table.
//!
//! Records live in a slab; a hash index finds them by id. `order` keeps the ids of all in order, and
//! the rings of the [`Datacenters`] those of members that take part or are down. They hold the ids
//! themselves, since they are searched all the time. Iteration follows them, so nothing ever depends
//! on the order of the hash table. The sum of all records' contributions is the table hash.
//!
//! Costs: looking up O(1); a change of a log O(1) beyond the log itself; a change of who is in the
//! lists O(log n) comparisons and one move of at most 20n bytes.

use alloc::vec::Vec;
use core::ops::Range;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::buckets::Buckets;
use super::datacenter::{Datacenters, Place};
use super::member::{Condition, Record};
use super::region::{Region, SPLIT_BITS};
use super::ring::{Part, Ring, grow};
use crate::identity::{Generation, NodeId};
use crate::state::log::{Claim, Log};
use crate::state::table_hash::HashKey;
use crate::time::Instant;

type Slot = u32;

/// All that a replica knows about members, itself included.
#[derive(Debug)]
pub(crate) struct Table {
    records: Vec<Record>,
    index: HashTable<Slot>,
    /// Keys the index, so that nobody can pick ids that collide in it.
    index_key: SipHasher13,
    /// How many ids new ones were compared with in vain.
    collisions: u64,
    order: Vec<NodeId>,
    /// Where the records of `order` are.
    slots: Vec<Slot>,
    datacenters: Datacenters,
    hash_key: HashKey,
    hash: u128,
    buckets: Buckets,
    state_bytes: usize,
    /// Who has changed since somebody asked, while somebody wants to know.
    changes: Option<Vec<NodeId>>,
}

/// Whether a table remembers which members change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    On,
    Off,
}

impl Table {
    /// An empty table. `index_key` must be unknown to the peers; `bridges` is how many a datacenter
    /// has.
    pub(crate) const fn new(hash_key: HashKey, index_key: SipHasher13, bridges: usize) -> Self {
        Self {
            records: Vec::new(),
            index: HashTable::new(),
            index_key,
            collisions: 0,
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

    /// Begins, or ceases, to remember which members change.
    pub(crate) fn track_changes(&mut self, tracking: Tracking) {
        match tracking {
            Tracking::On => {
                self.changes.get_or_insert_default();
            }
            Tracking::Off => self.changes = None,
        }
    }

    /// The members whose log or condition has changed since the last call; some more than once.
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

    pub(crate) const fn len(&self) -> usize {
        self.records.len()
    }

    /// The sum over all origins.
    pub(crate) const fn hash(&self) -> u128 {
        self.hash
    }

    /// Bytes of all logs.
    pub(crate) const fn state_bytes(&self) -> usize {
        self.state_bytes
    }

    /// What an origin known up to `frontier` contributes to the hash.
    pub(crate) fn contribution(&self, id: NodeId, generation: Generation, frontier: u64) -> u128 {
        self.hash_key.contribution(id, generation, frontier)
    }

    /// What this replica holds of an origin contributes to the hash.
    pub(crate) fn own_contribution(&self, id: NodeId) -> u128 {
        self.get(id).map_or(0, |record| {
            self.contribution(id, record.log.generation(), record.log.frontier())
        })
    }

    /// The hash over the origins of a region. O(members in it / members in a bucket).
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
            let log = &record.log;
            let own = self.contribution(record.id, log.generation(), log.frontier());
            sum.wrapping_add(own)
        })
    }

    /// The records of a region, ghosts included, in the order of their ids.
    pub(crate) fn region(&self, region: Region) -> impl ExactSizeIterator<Item = &Record> + Clone {
        let slots = self.slots.get(self.span(region)).unwrap_or_default();
        slots.iter().map(|slot| self.at(*slot))
    }

    fn span(&self, region: Region) -> Range<usize> {
        let start = self.order.partition_point(|id| *id < region.first());
        let end = self.order.partition_point(|id| *id <= region.last());
        start..end
    }

    /// The part of a region in which all of its records are, if that is one of its parts or smaller:
    /// ids that begin alike would otherwise take a leg for every five bits.
    pub(crate) fn crowded(&self, region: Region) -> Region {
        let narrow = match self.order.get(self.span(region)) {
            Some([first, .., last]) => Region::around(*first, *last),
            _ => region,
        };
        let is_deep = narrow.bits() >= region.bits().saturating_add(SPLIT_BITS);
        if is_deep { narrow } else { region }
    }

    /// All records in the order of their ids, ghosts included.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Record> + Clone {
        self.slots.iter().map(|slot| self.at(*slot))
    }

    /// How many ids new ones were compared with in vain, over all time.
    pub(crate) const fn collisions(&self) -> u64 {
        self.collisions
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

    /// Who is in which datacenter.
    pub(crate) const fn datacenters(&self) -> &Datacenters {
        &self.datacenters
    }

    /// Whether the members that observe one another across datacenters may have changed since the
    /// last call.
    pub(crate) fn take_regrouped(&mut self) -> bool {
        self.datacenters.take_regrouped()
    }

    /// The datacenter of a member.
    pub(crate) fn place(&self, id: NodeId) -> Place {
        self.get(id).map_or(Place::UNSAID, |record| record.place)
    }

    /// The members of its datacenter.
    pub(crate) fn home(&self, id: NodeId) -> &Ring {
        self.datacenters.ring(self.place(id))
    }

    /// Where an id stands, or would stand, among all.
    pub(crate) fn position(&self, id: NodeId) -> Result<usize, usize> {
        self.order.binary_search(&id)
    }

    /// The record at a position among all, in the order of the ids.
    pub(crate) fn record_at(&self, position: usize) -> Option<&Record> {
        self.slots.get(position).map(|slot| self.at(*slot))
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Record> {
        self.slot(id).map(|slot| self.at(slot))
    }

    /// Whether and how a member takes part.
    pub(crate) fn condition(&self, id: NodeId) -> Option<Condition> {
        self.get(id).map(|record| record.condition)
    }

    /// Whether a member takes part, as far as is known, and under this generation.
    pub(crate) fn is_live_under(&self, id: NodeId, generation: Generation) -> bool {
        self.get(id).is_some_and(|record| {
            record.condition == Condition::Live && record.log.generation() == generation
        })
    }

    /// The record to change where neither log nor condition are touched.
    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Record> {
        let slot = self.slot(id)?;
        self.records.get_mut(position(slot))
    }

    /// The record, made where there is none. A new one is live.
    pub(crate) fn ensure(&mut self, id: NodeId, now: Instant) {
        if self.add(id, now) {
            self.datacenters.enter(Place::UNSAID, Part::Live, id);
        }
    }

    /// Makes a record where there is none; it is in no datacenter yet. Tells whether there was none.
    fn add(&mut self, id: NodeId, now: Instant) -> bool {
        if self.slot(id).is_some() {
            return false;
        }
        let Ok(slot) = Slot::try_from(self.records.len()) else {
            return false;
        };
        grow(&mut self.records);
        self.records.push(Record::new(id, now));
        let hash = self.index_hash(id);
        let collisions = &mut self.collisions;
        self.index.find(hash, |_| {
            *collisions = collisions.saturating_add(1);
            false
        });
        let (records, key) = (&self.records, &self.index_key);
        self.index.insert_unique(hash, slot, |slot| {
            records
                .get(position(*slot))
                .map_or(0, |record| index_hash(key, record.id))
        });
        if let Err(at) = self.position(id) {
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

    /// Changes a log, keeping the hash true.
    pub(crate) fn change_log<R>(
        &mut self,
        id: NodeId,
        change: impl FnOnce(&mut Log) -> R,
    ) -> Option<R> {
        let before = self.own_contribution(id);
        let record = self.get_mut(id)?;
        let size = record.log.size();
        let result = change(&mut record.log);
        let grown = record.log.size();
        self.state_bytes = self.state_bytes.saturating_sub(size).saturating_add(grown);
        let after = self.own_contribution(id);
        let change = after.wrapping_sub(before);
        self.hash = self.hash.wrapping_add(change);
        self.buckets.add(id, change);
        self.relocate(id);
        self.note_change(id);
        Some(result)
    }

    /// Takes over a claim about a member, known or not. A new one is live.
    pub(crate) fn apply(&mut self, id: NodeId, now: Instant, claim: &Claim<'_>) {
        let is_new = self.add(id, now);
        self.change_log(id, |log| log.apply(claim));
        if is_new {
            // Only now, since the log has told where it is.
            self.datacenters.enter(self.place(id), Part::Live, id);
        }
    }

    /// A log has changed: its member may say that it is somewhere else.
    fn relocate(&mut self, id: NodeId) {
        let Some(record) = self.get(id) else {
            return;
        };
        let place = match record.datacenter() {
            None | Some("") => Place::UNSAID,
            Some(name) => {
                let [a, b, c, d, ..] = self.index_key.hash(name.as_bytes()).to_le_bytes();
                Place(u32::from_le_bytes([a, b, c, d]))
            }
        };
        let (from, part) = (record.place, part(record.condition));
        if place == from {
            return;
        }
        if let Some(part) = part
            && self.datacenters.ring(from).contains(part, id)
        {
            self.datacenters.travel(from, place, part, id);
        }
        if let Some(record) = self.get_mut(id) {
            record.place = place;
        }
    }

    /// Changes how a member counts. Tells whether that is new.
    pub(crate) fn set_condition(&mut self, id: NodeId, now: Instant, condition: Condition) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        let Some(record) = self.records.get_mut(position(slot)) else {
            return false;
        };
        let old = core::mem::replace(&mut record.condition, condition);
        if old == condition {
            return false;
        }
        record.since = now;
        let place = record.place;
        self.note_change(id);
        if let Some(part) = part(old) {
            self.datacenters.leave(place, part, id);
        }
        if let Some(part) = part(condition) {
            self.datacenters.enter(place, part, id);
        }
        true
    }

    /// Forgets the ghosts that are over. O(members).
    pub(crate) fn forget(&mut self, is_over: impl Fn(&Record) -> bool) {
        let is_over = |record: &Record| record.condition == Condition::Removed && is_over(record);
        let over: Vec<NodeId> = self.iter().filter(|r| is_over(r)).map(|r| r.id).collect();
        if over.is_empty() {
            return;
        }
        for id in &over {
            let change = self.own_contribution(*id).wrapping_neg();
            let size = self.get(*id).map_or(0, |record| record.log.size());
            self.hash = self.hash.wrapping_add(change);
            self.buckets.add(*id, change);
            self.state_bytes = self.state_bytes.saturating_sub(size);
            self.note_change(*id);
        }
        let stays = |id: &NodeId| over.binary_search(id).is_err();
        self.records.retain(|record| stays(&record.id));
        self.order.retain(stays);
        // What came after them has moved up.
        self.index.clear();
        let (records, key) = (&self.records, &self.index_key);
        let hash_at = |slot: &Slot| {
            let record = records.get(position(*slot));
            record.map_or(0, |record| index_hash(key, record.id))
        };
        for (slot, record) in (0..).zip(records) {
            let hash = index_hash(key, record.id);
            self.index.insert_unique(hash, slot, hash_at);
        }
        let slots = self.order.iter().filter_map(|id| self.slot(*id)).collect();
        self.slots = slots;
    }

    fn slot(&self, id: NodeId) -> Option<Slot> {
        self.index
            .find(self.index_hash(id), |slot| self.id_at(*slot) == id)
            .copied()
    }

    pub(crate) fn index_hash(&self, id: NodeId) -> u64 {
        index_hash(&self.index_key, id)
    }

    fn at(&self, slot: Slot) -> &Record {
        #[expect(
            clippy::indexing_slicing,
            reason = "slots are made by this table, and renumbered when it forgets"
        )]
        &self.records[position(slot)]
    }

    fn id_at(&self, slot: Slot) -> NodeId {
        self.at(slot).id
    }
}

/// How a member of a condition stands on its ring, if it does.
const fn part(condition: Condition) -> Option<Part> {
    match condition {
        Condition::Live => Some(Part::Live),
        Condition::Down => Some(Part::Down),
        Condition::Left | Condition::Removed => None,
    }
}

fn index_hash(key: &SipHasher13, id: NodeId) -> u64 {
    key.hash(&id.as_u64().to_le_bytes())
}

fn position(slot: Slot) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
