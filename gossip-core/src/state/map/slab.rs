//! Where the writes are: a slab of them, and the order of their keys.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::origin::LogSlot;
use super::write::{Replaces, Write, key_of};
use crate::command::Policy;
use crate::stamp::Stamp;

/// A number for a held write that stays the same while it is held.
pub(super) type Slot = u32;

/// No slot.
const NONE: Slot = Slot::MAX;

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
    next: Slot,
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
#[derive(Debug)]
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
            if self.held.len() == self.held.capacity() {
                // By an eighth: maps are large, and memory for each key is promised.
                self.held
                    .reserve_exact(self.held.len().div_euclid(8).max(8));
            }
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
    fn link(&mut self, slot: Slot, next: Slot) {
        if let Some(held) = self.get_mut(slot) {
            held.next = next;
        }
    }
}

/// Pages hold at most this many keys: small enough to move, large enough that few are needed.
const PAGE: usize = 256;

/// The first write of each key, in the order of the keys: sorted pages, as the leaves of a B-tree.
#[derive(Debug)]
pub(super) struct Order {
    pages: Vec<Vec<Slot>>,
    len: usize,
}

/// Where a key is, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    page: usize,
    index: usize,
}

impl Order {
    pub(super) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
        }
    }

    /// How many keys there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Where a key is, or would be.
    pub(super) fn find(&self, slab: &Slab, key: &[u8]) -> Result<Place, Place> {
        let key_at = |slot: &Slot| slab.get(*slot).map_or(&[][..], Held::key);
        let page = self
            .pages
            .partition_point(|page| page.first().is_some_and(|first| key_at(first) <= key))
            .saturating_sub(1);
        let slots = self.pages.get(page).map_or(&[][..], Vec::as_slice);
        match slots.binary_search_by(|slot| key_at(slot).cmp(key)) {
            Ok(index) => Ok(Place { page, index }),
            Err(index) => Err(Place { page, index }),
        }
    }

    /// The first write of the key at a place.
    pub(super) fn first(&self, place: Place) -> Slot {
        self.pages
            .get(place.page)
            .and_then(|page| page.get(place.index))
            .copied()
            .unwrap_or(NONE)
    }

    /// Adds a key that is not there yet, with its only write.
    pub(super) fn insert(&mut self, place: Place, slot: Slot) {
        self.len = self.len.saturating_add(1);
        let Some(page) = self.pages.get_mut(place.page) else {
            self.pages.push(alloc::vec![slot]);
            return;
        };
        page.insert(place.index.min(page.len()), slot);
        if page.len() > PAGE {
            // In order of time keys often rise; leave the lower page well filled.
            let upper = page.split_off(PAGE.saturating_mul(3).div_euclid(4));
            page.shrink_to_fit();
            self.pages.insert(place.page.saturating_add(1), upper);
        }
    }

    /// One more write of the key at a place.
    pub(super) fn add(&mut self, slab: &mut Slab, place: Place, slot: Slot) {
        let first = self.first(place);
        slab.link(slot, first);
        self.set(place, slot);
    }

    /// One write less of the key at a place. The write is still in the slab. Tells whether it was
    /// the last one, and the key is gone.
    pub(super) fn take(&mut self, slab: &mut Slab, place: Place, slot: Slot) -> bool {
        let next = slab.get(slot).map_or(NONE, |held| held.next);
        let first = self.first(place);
        if first != slot {
            let before = slab.siblings(first).find(|(_, held)| held.next == slot);
            if let Some((before, _)) = before {
                slab.link(before, next);
            }
            return false;
        }
        if next != NONE {
            self.set(place, next);
            return false;
        }
        if let Some(page) = self.pages.get_mut(place.page)
            && place.index < page.len()
        {
            page.remove(place.index);
            self.len = self.len.saturating_sub(1);
            if page.is_empty() {
                self.pages.remove(place.page);
            }
        }
        true
    }

    fn set(&mut self, place: Place, slot: Slot) {
        if let Some(first) = self
            .pages
            .get_mut(place.page)
            .and_then(|page| page.get_mut(place.index))
        {
            *first = slot;
        }
    }

    /// The first writes of all keys from a place on, in order.
    pub(super) fn from(&self, place: Place) -> impl Iterator<Item = Slot> {
        self.pages
            .iter()
            .skip(place.page)
            .enumerate()
            .flat_map(move |(n, page)| {
                let start = if n == 0 { place.index } else { 0 };
                page.get(start..).unwrap_or_default()
            })
            .copied()
    }
}
