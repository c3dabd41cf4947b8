//! The hash index of the table: finds the record of an id.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::identity::NodeId;
use crate::membership::Record;

/// The position of a record in the slab.
pub(super) type Slot = u32;

/// Finds records by id. It hashes under a key that no peer knows, so that nobody can pick ids that collide.
///
/// Nothing depends on the order of the hash table: it is never iterated.
#[derive(Debug)]
pub(super) struct Index {
    slots: HashTable<Slot>,
    key: SipHasher13,
    collisions: u64,
}

impl Index {
    /// An empty index.
    pub(super) const fn new(key: SipHasher13) -> Self {
        Self {
            slots: HashTable::new(),
            key,
            collisions: 0,
        }
    }

    /// How many ids new ones were compared with in vain, over all time.
    pub(super) const fn collisions(&self) -> u64 {
        self.collisions
    }

    /// A hash of a text under the key of the index.
    pub(super) fn hash_text(&self, text: &str) -> u64 {
        self.key.hash(text.as_bytes())
    }

    /// The hash of an id under the key of the index.
    pub(super) fn hash(&self, id: NodeId) -> u64 {
        hash(&self.key, id)
    }

    /// The slot of the record of an id.
    pub(super) fn find(&self, records: &[Record], id: NodeId) -> Option<Slot> {
        let is_it = |slot: &Slot| id_at(records, *slot) == Some(id);
        self.slots.find(self.hash(id), is_it).copied()
    }

    /// Adds the record in a slot, whose id is not in the index.
    pub(super) fn add(&mut self, records: &[Record], slot: Slot) {
        let id = id_at(records, slot);
        debug_assert!(id.is_some(), "the record is there");
        let Some(id) = id else {
            return;
        };
        debug_assert_eq!(self.find(records, id), None, "each id is there once");
        let hash = self.hash(id);
        let collisions = &mut self.collisions;
        self.slots.find(hash, |_| {
            *collisions = collisions.saturating_add(1);
            false
        });
        self.insert(records, hash, slot);
    }

    /// Forgets all slots and adds those of these records.
    pub(super) fn rebuild(&mut self, records: &[Record]) {
        self.slots.clear();
        for (slot, record) in (0..).zip(records) {
            self.insert(records, self.hash(record.id), slot);
        }
    }

    fn insert(&mut self, records: &[Record], hash_of_slot: u64, slot: Slot) {
        let key = &self.key;
        // Only a table that grows asks for the hashes of what is there.
        self.slots.insert_unique(hash_of_slot, slot, |slot| {
            id_at(records, *slot).map_or(0, |id| hash(key, id))
        });
    }

    /// How many slots it holds.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

fn hash(key: &SipHasher13, id: NodeId) -> u64 {
    key.hash(&id.as_u64().to_le_bytes())
}

fn id_at(records: &[Record], slot: Slot) -> Option<NodeId> {
    let record = records.get(position(slot));
    debug_assert!(record.is_some(), "slots name records");
    Some(record?.id)
}

/// A slot as a position in the slab.
pub(super) fn position(slot: Slot) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use std::vec::Vec;

    /// The greatest number of ids in one of 256 places.
    fn most_in_one_place(key: &SipHasher13, ids: impl Iterator<Item = NodeId>) -> usize {
        let mut load = [0; 256];
        for id in ids {
            load[usize::try_from(hash(key, id) & 0xff).unwrap()] += 1;
        }
        load.into_iter().max().unwrap()
    }

    #[test]
    fn ids_that_collide_under_one_key_do_not_under_another() {
        // An attacker that knows the key of its own node picks ids that all fall into one place there.
        let (known, secret) = (
            SipHasher13::new_with_keys(1, 2),
            SipHasher13::new_with_keys(3, 4),
        );
        let ids = (0..).map(NodeId::from_u64);
        let crafted: Vec<_> = ids
            .filter(|id| hash(&known, *id) & 0xff == 0)
            .take(2_560)
            .collect();
        assert_eq!(most_in_one_place(&known, crafted.iter().copied()), 2_560);
        assert!(
            most_in_one_place(&secret, crafted.into_iter()) < 40,
            "ten on average"
        );
        // Ids that begin or end alike do not collide, either.
        for shift in [0, 32, 48] {
            let ids = (0..2_560_u64).map(|n| NodeId::from_u64(n << shift));
            assert!(most_in_one_place(&secret, ids) < 40, "ten on average");
        }
    }

    #[test]
    fn ids_picked_to_collide_are_counted() {
        let known = SipHasher13::new_with_keys(1, 2);
        // The seven bits that the index compares first, and where it begins to look.
        let place = |id: &NodeId| hash(&known, *id) & (0x7f << 57 | 0xff);
        let ids = (0..).map(NodeId::from_u64);
        let picked = ids.filter(|id| place(id) == 0).take(100);
        let records: Vec<_> = picked.map(|id| Record::new(id, Instant::ORIGIN)).collect();
        let collisions = |key| {
            let mut index = Index::new(key);
            (0..100).for_each(|slot| index.add(&records, slot));
            index.collisions()
        };
        let met = collisions(known);
        assert!(met > 4000, "nearly every id met every other: {met}");
        let met = collisions(SipHasher13::new_with_keys(8, 9));
        assert!(met < 100, "a secret key keeps them apart: {met}");
    }
}
