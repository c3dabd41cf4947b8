//! Where the writes are.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::logs::LogSlot;
use super::write::{Replaces, Write, key_of};
use crate::command::Policy;
use crate::growth::make_room;
use crate::hlc::Stamp;

/// A number for a held write that stays the same while it is held.
pub(super) type Slot = u32;

/// No slot.
pub(super) const NONE: Slot = Slot::MAX;

/// Slots stay below this, so that the order of application can mark them with one bit.
const MAX: Slot = 1 << 31;

/// A write that is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// In the bytes in which it travels.
    pub(super) bytes: Box<[u8]>,
    pub(super) version: u64,
    /// Where it stands in the order of application.
    pub(super) applied: u64,
    pub(super) log: LogSlot,
    /// The next write of the same key; or, in the list of free slots, the next of those.
    pub(super) next: Slot,
}

impl Held {
    /// The write. What is held was checked.
    pub(super) fn write(&self) -> Write<'_> {
        postcard::from_bytes(&self.bytes).unwrap_or(Write {
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
}

/// All writes that are held.
#[derive(Clone, Debug)]
pub(super) struct Slab {
    held: Vec<Held>,
    free: Slot,
    len: usize,
    bytes: usize,
}

impl Slab {
    pub(super) const fn new() -> Self {
        Self {
            held: Vec::new(),
            free: NONE,
            len: 0,
            bytes: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all writes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Held> {
        self.held
            .get(usize::try_from(slot).ok()?)
            .filter(|held| !held.bytes.is_empty())
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Held> {
        self.held
            .get_mut(usize::try_from(slot).ok()?)
            .filter(|held| !held.bytes.is_empty())
    }

    /// Every slot in use.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Held)> {
        (0..NONE)
            .zip(&self.held)
            .filter(|(_, held)| !held.bytes.is_empty())
    }

    pub(super) fn insert(
        &mut self,
        bytes: Box<[u8]>,
        log: LogSlot,
        version: u64,
        applied: u64,
    ) -> Option<Slot> {
        let size = bytes.len();
        let held = Held {
            bytes,
            version,
            applied,
            log,
            next: NONE,
        };
        let slot = self.free;
        let slot = if let Some(place) = self.held.get_mut(usize::try_from(slot).ok()?) {
            self.free = place.next;
            *place = held;
            slot
        } else {
            let slot = Slot::try_from(self.held.len())
                .ok()
                .filter(|slot| *slot < MAX)?;
            make_room(&mut self.held, 1);
            self.held.push(held);
            slot
        };
        self.len = self.len.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        Some(slot)
    }

    /// Other bytes for the same write, as when its context is pruned.
    pub(super) fn rewrite(&mut self, slot: Slot, bytes: Box<[u8]>) {
        let size = bytes.len();
        if let Some(held) = self.get_mut(slot) {
            let old = core::mem::replace(&mut held.bytes, bytes).len();
            self.bytes = self.bytes.saturating_sub(old).saturating_add(size);
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Held> {
        let free = self.free;
        let place = self.get_mut(slot)?;
        let vacant = Held {
            bytes: Box::default(),
            version: 0,
            applied: 0,
            log: 0,
            next: free,
        };
        let held = core::mem::replace(place, vacant);
        self.free = slot;
        self.len = self.len.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(held.bytes.len());
        Some(held)
    }

    /// The writes of one key, beginning with the first.
    pub(super) fn siblings(&self, first: Slot) -> impl Iterator<Item = (Slot, &Held)> {
        let mut next = first;
        core::iter::from_fn(move || {
            let slot = next;
            let held = self.get(slot)?;
            next = held.next;
            Some((slot, held))
        })
    }

    /// Makes `slot` the first of a key's writes.
    pub(super) fn link(&mut self, slot: Slot, next: Slot) {
        if let Some(held) = self.get_mut(slot) {
            held.next = next;
        }
    }
}
