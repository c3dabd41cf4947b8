//! The keys in order, each with its first write.
//!
//! Sorted pages, as the leaves of a B-tree. A page and the list of pages keep the common prefix of their
//! keys once, and of what follows eight bytes of each key. Those tell most keys apart without a look at
//! the write.
//!
//! Invariants:
//! - No page is empty.
//! - The heads of a page are those of its slots. The heads of the index are those of all pages but the
//!   first.
//! - `len` counts the keys of all pages.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::slab::{Held, NONE, Slab, WriteSlot};
use crate::growth::make_room;

/// Pages hold at most this many keys: small enough to move, large enough that few are needed.
const PAGE: usize = 256;

/// The first write of each key, in the order of the keys. See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct KeyIndex {
    pages: Vec<Page>,
    len: usize,
    /// The common prefix of the least keys of all pages but the first.
    prefix: Box<[u8]>,
    /// The eight bytes after that prefix, of each of these keys.
    heads: Vec<u64>,
}

/// Some keys in order.
#[derive(Clone, Debug, Default)]
struct Page {
    /// No key in this page is less than this one, and every key in the pages before is.
    least: Box<[u8]>,
    /// The common prefix of its keys.
    prefix: Box<[u8]>,
    /// The eight bytes after that prefix, of each key.
    heads: Vec<u64>,
    /// The first write of each key.
    slots: Vec<WriteSlot>,
}

/// Where a key is, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyPlace {
    page: usize,
    index: usize,
}

/// The first eight bytes as a number. Such numbers sort as the bytes do.
fn head_of(bytes: &[u8]) -> u64 {
    let mut head = [0; 8];
    for (place, byte) in head.iter_mut().zip(bytes) {
        *place = *byte;
    }
    u64::from_be_bytes(head)
}

/// How many bytes two keys have in common at their beginning.
fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn key_at(slab: &Slab, slot: WriteSlot) -> &[u8] {
    debug_assert!(slab.get(slot).is_some(), "a key goes with its last write");
    slab.get(slot).map_or(&[], Held::key)
}

impl Page {
    /// A page of these keys. They are in order.
    fn new(slab: &Slab, least: Box<[u8]>, slots: Vec<WriteSlot>) -> Self {
        let mut page = Self {
            least,
            slots,
            ..Self::default()
        };
        let ends = page.slots.first().zip(page.slots.last());
        let prefix = ends.map_or(&[][..], |(first, last)| {
            let first = key_at(slab, *first);
            let common = shared(first, key_at(slab, *last));
            first.get(..common).unwrap_or_default()
        });
        page.prefix = prefix.into();
        page.heads = page
            .slots
            .iter()
            .map(|slot| page.head(key_at(slab, *slot)))
            .collect();
        page
    }

    /// The head of a key that begins with the prefix.
    fn head(&self, key: &[u8]) -> u64 {
        head_of(key.get(self.prefix.len()..).unwrap_or_default())
    }

    /// The index at which a key is, or would be.
    fn find(&self, slab: &Slab, key: &[u8]) -> Result<usize, usize> {
        if !key.starts_with(&self.prefix) {
            return Err(match key.cmp(&self.prefix) {
                Ordering::Less => 0,
                _ => self.slots.len(),
            });
        }
        let head = self.head(key);
        let start = self.heads.partition_point(|other| *other < head);
        let rest = self.heads.get(start..).unwrap_or_default();
        let alike = rest.partition_point(|other| *other == head);
        let end = start.saturating_add(alike);
        let slots = self.slots.get(start..end).unwrap_or_default();
        slots
            .binary_search_by(|slot| key_at(slab, *slot).cmp(key))
            .map(|at| at.saturating_add(start))
            .map_err(|at| at.saturating_add(start))
    }

    /// Adds a key. If the page becomes too large, returns its upper part as another page.
    fn insert(&mut self, slab: &Slab, index: usize, slot: WriteSlot) -> Option<Self> {
        let key = key_at(slab, slot);
        debug_assert!(index <= self.slots.len(), "`find` gave the index");
        let index = index.min(self.slots.len());
        make_room(&mut self.slots, 1);
        self.slots.insert(index, slot);
        if self.slots.len() > PAGE {
            // Keys are often written in rising order, so the lower page stays well filled.
            let upper = self.slots.split_off(PAGE.saturating_mul(3).div_euclid(4));
            self.slots.shrink_to_fit();
            let least = upper.first().map_or(&[][..], |slot| key_at(slab, *slot));
            let upper = Self::new(slab, least.into(), upper);
            let least = core::mem::take(&mut self.least);
            *self = Self::new(slab, least, core::mem::take(&mut self.slots));
            return Some(upper);
        }
        if self.heads.is_empty() || !key.starts_with(&self.prefix) {
            let least = core::mem::take(&mut self.least);
            *self = Self::new(slab, least, core::mem::take(&mut self.slots));
        } else {
            let head = self.head(key);
            make_room(&mut self.heads, 1);
            self.heads.insert(index, head);
        }
        None
    }
}

impl KeyIndex {
    pub(super) fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
            prefix: Box::default(),
            heads: Vec::new(),
        }
    }

    /// How many keys there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Where a key is, or would be.
    pub(super) fn find(&self, slab: &Slab, key: &[u8]) -> Result<KeyPlace, KeyPlace> {
        let page = self.page_of(key);
        let found = self.pages.get(page).map(|page| page.find(slab, key));
        match found.unwrap_or(Err(0)) {
            Ok(index) => Ok(KeyPlace { page, index }),
            Err(index) => Err(KeyPlace { page, index }),
        }
    }

    /// The index of the page that a key is in, or would be.
    fn page_of(&self, key: &[u8]) -> usize {
        if !key.starts_with(&self.prefix) {
            return match key.cmp(&self.prefix) {
                Ordering::Less => 0,
                _ => self.heads.len(),
            };
        }
        let head = head_of(key.get(self.prefix.len()..).unwrap_or_default());
        let start = self.heads.partition_point(|other| *other < head);
        let rest = self.heads.get(start..).unwrap_or_default();
        let end = rest
            .partition_point(|other| *other == head)
            .saturating_add(start);
        // The first page has no head, so the head at an index is that of the page after it.
        let alike = start.saturating_add(1)..end.saturating_add(1);
        let alike = self.pages.get(alike).unwrap_or_default();
        let below = alike.partition_point(|page| *page.least <= *key);
        start.saturating_add(below)
    }

    /// Adds a page. It is not the first.
    fn insert_page(&mut self, at: usize, page: Page) {
        let is_alike = page.least.starts_with(&self.prefix) && !self.heads.is_empty();
        let head = page.least.get(self.prefix.len()..).map(head_of);
        self.pages.insert(at, page);
        if let Some(head) = head.filter(|_| is_alike) {
            self.heads.insert(at.saturating_sub(1), head);
            return;
        }
        let others = self.pages.get(1..).unwrap_or_default();
        let ends = others.first().zip(others.last());
        let prefix = ends.map_or(&[][..], |(first, last)| {
            let common = shared(&first.least, &last.least);
            first.least.get(..common).unwrap_or_default()
        });
        self.heads = others
            .iter()
            .map(|page| head_of(page.least.get(prefix.len()..).unwrap_or_default()))
            .collect();
        self.prefix = prefix.into();
    }

    /// Takes out a page that has become empty. The first page keeps the least of all keys.
    fn remove_page(&mut self, at: usize) {
        let page = self.pages.remove(at);
        if at == 0
            && let Some(first) = self.pages.first_mut()
        {
            first.least = page.least;
        }
        if !self.heads.is_empty() {
            self.heads.remove(at.saturating_sub(1));
        }
    }

    /// The first write of the key at a place.
    pub(super) fn first(&self, place: KeyPlace) -> WriteSlot {
        let page = self.pages.get(place.page);
        let first = page.and_then(|page| page.slots.get(place.index));
        debug_assert!(first.is_some(), "`find` found the key here");
        first.copied().unwrap_or(NONE)
    }

    /// Adds a key that is not there yet, with its only write. `place` is where it would be.
    pub(super) fn insert(&mut self, slab: &Slab, place: KeyPlace, slot: WriteSlot) {
        self.len = self.len.saturating_add(1);
        if self.pages.is_empty() {
            self.pages.push(Page::default());
        }
        let Some(page) = self.pages.get_mut(place.page) else {
            debug_assert!(false, "`find` gives one of the pages");
            return;
        };
        if let Some(upper) = page.insert(slab, place.index, slot) {
            self.insert_page(place.page.saturating_add(1), upper);
        }
    }

    /// Adds one more write of the key at a place.
    pub(super) fn add(&mut self, slab: &mut Slab, place: KeyPlace, slot: WriteSlot) {
        let first = self.first(place);
        slab.link(slot, first);
        self.set(place, slot);
    }

    /// Takes out a write of the key at a place. The slab still holds it. Tells whether it was the last
    /// one, so that the key is gone.
    pub(super) fn take(&mut self, slab: &mut Slab, place: KeyPlace, slot: WriteSlot) -> bool {
        let next = slab.get(slot).map_or(NONE, |held| held.next);
        let first = self.first(place);
        if first != slot {
            let before = slab.siblings(first).find(|(_, held)| held.next == slot);
            debug_assert!(before.is_some(), "the write is in the list of its key");
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
            && place.index < page.slots.len()
        {
            page.heads.remove(place.index);
            page.slots.remove(place.index);
            debug_assert!(self.len > 0, "every key is counted");
            self.len = self.len.saturating_sub(1);
            debug_assert_eq!(page.heads.len(), page.slots.len(), "a head for each");
            if page.slots.is_empty() {
                self.remove_page(place.page);
            }
        }
        true
    }

    fn set(&mut self, place: KeyPlace, slot: WriteSlot) {
        if let Some(first) = self
            .pages
            .get_mut(place.page)
            .and_then(|page| page.slots.get_mut(place.index))
        {
            *first = slot;
        }
    }

    /// The first writes of all keys from a place on, in the order of the keys.
    pub(super) fn from(&self, place: KeyPlace) -> impl Iterator<Item = WriteSlot> {
        self.pages
            .iter()
            .skip(place.page)
            .enumerate()
            .flat_map(move |(n, page)| {
                let start = if n == 0 { place.index } else { 0 };
                page.slots.get(start..).unwrap_or_default()
            })
            .copied()
    }

    /// Checks the invariants of this module. O(n).
    #[cfg(test)]
    pub(super) fn check(&self, slab: &Slab) {
        let keys = self.pages.iter().map(|page| page.slots.len());
        assert_eq!(keys.sum::<usize>(), self.len);
        assert_eq!(self.heads.len(), self.pages.len().saturating_sub(1));
        let start = KeyPlace { page: 0, index: 0 };
        let key = |slot| key_at(slab, slot);
        assert!(self.from(start).map(key).is_sorted_by(|a, b| a < b));
        for page in &self.pages {
            assert!(!page.slots.is_empty() && page.slots.len() <= PAGE);
            let heads = page.slots.iter().map(|slot| page.head(key(*slot)));
            assert!(heads.eq(page.heads.iter().copied()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Policy;
    use crate::hlc::Stamp;
    use crate::shared_map::replica::write::{Replaces, Write};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::string::String;

    fn hold(slab: &mut Slab, key: &[u8]) -> WriteSlot {
        let write = Write {
            key,
            stamp: Stamp::ZERO,
            version: 1,
            policy: Policy::LastWriteWins,
            replaces: Replaces::Own,
            lifetime: None,
            value: None,
            context: &[],
        };
        slab.insert(write.encode(), 0, 1, 0).unwrap()
    }

    /// Keys with a common prefix and keys without one, each to be put or taken out.
    fn keys() -> impl Strategy<Value = Vec<(String, bool)>> {
        let key = "(a/long/prefix/|a/|)[0-9a-c]{0,3}(\u{0}|x)?";
        proptest::collection::vec((key, prop::bool::weighted(0.7)), 0..1000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn it_is_a_sorted_map(acts in keys()) {
            let (mut slab, mut index) = (Slab::new(), KeyIndex::new());
            let mut model = BTreeMap::new();
            for (key, is_put) in acts {
                let key = key.into_bytes();
                match index.find(&slab, &key) {
                    Ok(place) => {
                        let slot = index.first(place);
                        prop_assert_eq!(model.get(&key), Some(&slot));
                        if !is_put {
                            prop_assert!(index.take(&mut slab, place, slot));
                            slab.remove(slot);
                            model.remove(&key);
                        }
                    }
                    Err(place) => {
                        prop_assert!(!model.contains_key(&key));
                        if is_put {
                            let slot = hold(&mut slab, &key);
                            index.insert(&slab, place, slot);
                            model.insert(key, slot);
                        }
                    }
                }
                prop_assert_eq!(index.len(), model.len());
            }
            index.check(&slab);
            let (Ok(start) | Err(start)) = index.find(&slab, b"a/");
            let found: Vec<WriteSlot> = index.from(start).collect();
            let expected: Vec<WriteSlot> = model.range(b"a/".to_vec()..).map(|(_, slot)| *slot).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
