//! The store of all writes that a replica holds.
//!
//! A write stays in its slot while it is held. The writes of one key are linked to a list, which the key
//! index knows by its first write. The other links run through the free slots.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::logs::LogSlot;
use super::write::{Replaces, Write, key_of};
use crate::command::Policy;
use crate::growth::make_room;
use crate::hlc::Stamp;

/// A number for a held write that stays the same while the write is held.
pub(super) type WriteSlot = u32;

/// No slot: the end of a list.
pub(super) const NONE: WriteSlot = WriteSlot::MAX;

/// Slots stay below this number, so that the apply order can mark them with one bit.
const MAX: WriteSlot = 1 << 31;

/// A write that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The write, encoded as it travels. A free slot has none.
    pub(super) bytes: Box<[u8]>,
    pub(super) version: u64,
    /// Its position in the apply order.
    pub(super) position: u64,
    pub(super) log: LogSlot,
    /// The next write of the same key. In a free slot, the next free slot.
    pub(super) next: WriteSlot,
}

impl Held {
    /// The write. It was checked before it was held.
    pub(super) fn write(&self) -> Write<'_> {
        let write = postcard::from_bytes(&self.bytes);
        debug_assert!(write.is_ok(), "a held write was decoded before");
        write.unwrap_or(Write {
            key: &[],
            stamp: Stamp::ZERO,
            version: 0,
            policy: Policy::LastWriteWins,
            replaces: Replaces::Own,
            lifetime: None,
            value: None,
            context: &[],
        })
    }

    pub(super) fn key(&self) -> &[u8] {
        key_of(&self.bytes)
    }

    /// Its bytes, if it has no value.
    fn dead_bytes(&self) -> usize {
        match self.write().value {
            None => self.bytes.len(),
            Some(_) => 0,
        }
    }
}

/// All writes that are held.
#[derive(Clone, Debug)]
pub(super) struct Slab {
    held: Vec<Held>,
    free: WriteSlot,
    len: usize,
    bytes: usize,
    /// Bytes of the writes without a value.
    dead: usize,
}

impl Slab {
    pub(super) const fn new() -> Self {
        Self {
            held: Vec::new(),
            free: NONE,
            len: 0,
            bytes: 0,
            dead: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all writes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the writes without a value.
    pub(super) const fn dead_bytes(&self) -> usize {
        self.dead
    }

    pub(super) fn get(&self, slot: WriteSlot) -> Option<&Held> {
        self.held
            .get(usize::try_from(slot).ok()?)
            .filter(|held| !held.bytes.is_empty())
    }

    pub(super) fn get_mut(&mut self, slot: WriteSlot) -> Option<&mut Held> {
        self.held
            .get_mut(usize::try_from(slot).ok()?)
            .filter(|held| !held.bytes.is_empty())
    }

    /// Every slot in use.
    pub(super) fn slots(&self) -> impl Iterator<Item = (WriteSlot, &Held)> {
        (0..NONE)
            .zip(&self.held)
            .filter(|(_, held)| !held.bytes.is_empty())
    }

    /// Holds a write. `None` if there are too many.
    pub(super) fn insert(
        &mut self,
        bytes: Box<[u8]>,
        log: LogSlot,
        version: u64,
        position: u64,
    ) -> Option<WriteSlot> {
        debug_assert!(!bytes.is_empty(), "a slot without bytes is free");
        let held = Held {
            bytes,
            version,
            position,
            log,
            next: NONE,
        };
        let (size, dead) = (held.bytes.len(), held.dead_bytes());
        let slot = self.free;
        let slot = if let Some(place) = self.held.get_mut(usize::try_from(slot).ok()?) {
            debug_assert!(place.bytes.is_empty(), "a free slot holds nothing");
            self.free = place.next;
            *place = held;
            slot
        } else {
            let slot = WriteSlot::try_from(self.held.len())
                .ok()
                .filter(|slot| *slot < MAX)?;
            make_room(&mut self.held, 1);
            self.held.push(held);
            slot
        };
        self.len = self.len.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        self.dead = self.dead.saturating_add(dead);
        Some(slot)
    }

    /// Replaces the bytes of a held write by others of the same write, as when its context is trimmed.
    pub(super) fn rewrite(&mut self, slot: WriteSlot, bytes: Box<[u8]>) {
        let size = bytes.len();
        let Some(held) = self.get_mut(slot) else {
            debug_assert!(false, "only a held write is rewritten");
            return;
        };
        debug_assert_eq!(held.key(), key_of(&bytes), "a write keeps its key");
        let dead_before = held.dead_bytes();
        let old = core::mem::replace(&mut held.bytes, bytes).len();
        let dead = held.dead_bytes();
        debug_assert!(old <= self.bytes, "the bytes of every write are counted");
        self.bytes = self.bytes.saturating_sub(old).saturating_add(size);
        self.dead = self.dead.saturating_sub(dead_before).saturating_add(dead);
    }

    pub(super) fn remove(&mut self, slot: WriteSlot) -> Option<Held> {
        let free = self.free;
        let place = self.get_mut(slot)?;
        let vacant = Held {
            bytes: Box::default(),
            version: 0,
            position: 0,
            log: 0,
            next: free,
        };
        let held = core::mem::replace(place, vacant);
        self.free = slot;
        debug_assert!(
            self.len > 0 && held.bytes.len() <= self.bytes,
            "every held write is counted"
        );
        self.len = self.len.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(held.bytes.len());
        self.dead = self.dead.saturating_sub(held.dead_bytes());
        Some(held)
    }

    /// The writes of one key, from `first` on.
    pub(super) fn siblings(&self, first: WriteSlot) -> impl Iterator<Item = (WriteSlot, &Held)> {
        let mut next = first;
        core::iter::from_fn(move || {
            let slot = next;
            let held = self.get(slot);
            debug_assert!(held.is_some() || slot == NONE, "lists link held writes");
            next = held?.next;
            held.map(|held| (slot, held))
        })
    }

    /// Makes `next` the write that follows `slot` in the list of their key.
    pub(super) fn link(&mut self, slot: WriteSlot, next: WriteSlot) {
        debug_assert_ne!(slot, next, "a list does not run in a circle");
        let held = self.get_mut(slot);
        debug_assert!(held.is_some(), "only held writes are linked");
        if let Some(held) = held {
            held.next = next;
        }
    }

    /// Checks the counts. O(n).
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.slots().count(), self.len);
        let bytes = self.slots().map(|(_, held)| held.bytes.len());
        assert_eq!(bytes.sum::<usize>(), self.bytes);
        let dead = self.slots().map(|(_, held)| held.dead_bytes());
        assert_eq!(dead.sum::<usize>(), self.dead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(slab: &mut Slab, key: &[u8], version: u64) -> WriteSlot {
        let write = Write {
            key,
            stamp: Stamp::ZERO,
            version,
            policy: Policy::LastWriteWins,
            replaces: Replaces::Own,
            lifetime: None,
            value: None,
            context: &[],
        };
        slab.insert(write.encode(), 0, version, version).unwrap()
    }

    #[test]
    fn slots_are_used_again_and_the_counts_follow() {
        let mut slab = Slab::new();
        let slots: Vec<_> = (1..=10).map(|n| hold(&mut slab, b"key", n)).collect();
        for slot in &slots[3..6] {
            assert_eq!(slab.remove(*slot).unwrap().key(), b"key");
            assert!(slab.get(*slot).is_none() && slab.remove(*slot).is_none());
        }
        slab.check();
        assert_eq!(slab.len(), 7);
        for n in 11..=14 {
            hold(&mut slab, b"other", n);
        }
        slab.check();
        assert_eq!((slab.len(), slab.held.len()), (11, 11));
    }

    #[test]
    fn the_writes_of_a_key_are_linked_in_a_list() {
        let mut slab = Slab::new();
        let [a, b, c] = [1, 2, 3].map(|n| hold(&mut slab, b"key", n));
        slab.link(c, b);
        slab.link(b, a);
        let versions: Vec<u64> = slab.siblings(c).map(|(_, held)| held.version).collect();
        assert_eq!(versions, [3, 2, 1]);
        assert_eq!(slab.siblings(NONE).count(), 0);
    }
}
