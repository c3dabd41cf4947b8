//! The order of the keys.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::slab::{Held, NONE, Slab, Slot};
use crate::growth::make_room;

/// Pages hold at most this many keys: small enough to move, large enough that few are needed.
const PAGE: usize = 256;

/// The first write of each key, in the order of the keys: sorted pages, as the leaves of a B-tree.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pages: Vec<Page>,
    len: usize,
    /// What the least keys of all pages but the first begin with.
    prefix: Box<[u8]>,
    /// The eight bytes of each of these after that.
    heads: Vec<u64>,
}

/// Some keys in order. What all of them begin with is kept once; of what follows, eight bytes of each
/// tell most of them apart without a look at the write.
#[derive(Clone, Debug, Default)]
struct Page {
    /// No key in this page is less, and none in those before is as great.
    least: Box<[u8]>,
    /// What all its keys begin with.
    prefix: Box<[u8]>,
    /// The eight bytes of each key after that.
    heads: Vec<u64>,
    /// Its first write.
    slots: Vec<Slot>,
}

/// Where a key is, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    page: usize,
    index: usize,
}

/// The first eight bytes, as a number that sorts as they do.
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

fn key_at(slab: &Slab, slot: Slot) -> &[u8] {
    slab.get(slot).map_or(&[], Held::key)
}

impl Page {
    /// A page of these keys, which are in order.
    fn new(slab: &Slab, least: Box<[u8]>, slots: Vec<Slot>) -> Self {
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

    /// The head of a key that begins as all do.
    fn head(&self, key: &[u8]) -> u64 {
        head_of(key.get(self.prefix.len()..).unwrap_or_default())
    }

    /// Where a key is in it, or would be.
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

    /// Adds a key. Returns the upper part, where it has become too large.
    fn insert(&mut self, slab: &Slab, index: usize, slot: Slot) -> Option<Self> {
        let key = key_at(slab, slot);
        let index = index.min(self.slots.len());
        make_room(&mut self.slots, 1);
        self.slots.insert(index, slot);
        if self.slots.len() > PAGE {
            // In order of time keys often rise; leave the lower page well filled.
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

impl Order {
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
    pub(super) fn find(&self, slab: &Slab, key: &[u8]) -> Result<Place, Place> {
        let page = self.page_of(key);
        let found = self.pages.get(page).map(|page| page.find(slab, key));
        match found.unwrap_or(Err(0)) {
            Ok(index) => Ok(Place { page, index }),
            Err(index) => Err(Place { page, index }),
        }
    }

    /// The page that a key is in, or would be.
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
        // One further than its head: the first page has none.
        let alike = start.saturating_add(1)..end.saturating_add(1);
        let alike = self.pages.get(alike).unwrap_or_default();
        let below = alike.partition_point(|page| *page.least <= *key);
        start.saturating_add(below)
    }

    /// Adds a page, which is not the first.
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

    /// Takes out a page that is empty. The first begins with the least of keys.
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
    pub(super) fn first(&self, place: Place) -> Slot {
        self.pages
            .get(place.page)
            .and_then(|page| page.slots.get(place.index))
            .copied()
            .unwrap_or(NONE)
    }

    /// Adds a key that is not there yet, with its only write.
    pub(super) fn insert(&mut self, slab: &Slab, place: Place, slot: Slot) {
        self.len = self.len.saturating_add(1);
        if self.pages.is_empty() {
            self.pages.push(Page::default());
        }
        let Some(page) = self.pages.get_mut(place.page) else {
            return;
        };
        if let Some(upper) = page.insert(slab, place.index, slot) {
            self.insert_page(place.page.saturating_add(1), upper);
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
            && place.index < page.slots.len()
        {
            page.heads.remove(place.index);
            page.slots.remove(place.index);
            self.len = self.len.saturating_sub(1);
            if page.slots.is_empty() {
                self.remove_page(place.page);
            }
        }
        true
    }

    fn set(&mut self, place: Place, slot: Slot) {
        if let Some(first) = self
            .pages
            .get_mut(place.page)
            .and_then(|page| page.slots.get_mut(place.index))
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
                page.slots.get(start..).unwrap_or_default()
            })
            .copied()
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

    fn hold(slab: &mut Slab, key: &[u8]) -> Slot {
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

    /// Keys that begin alike, for a while, and keys that do not.
    fn keys() -> impl Strategy<Value = Vec<(String, bool)>> {
        let key = "(a/long/prefix/|a/|)[0-9a-c]{0,3}(\u{0}|x)?";
        proptest::collection::vec((key, prop::bool::weighted(0.7)), 0..1000)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn it_is_a_sorted_map(acts in keys()) {
            let (mut slab, mut order) = (Slab::new(), Order::new());
            let mut model = BTreeMap::new();
            for (key, is_put) in acts {
                let key = key.into_bytes();
                match order.find(&slab, &key) {
                    Ok(place) => {
                        let slot = order.first(place);
                        prop_assert_eq!(model.get(&key), Some(&slot));
                        if !is_put {
                            prop_assert!(order.take(&mut slab, place, slot));
                            slab.remove(slot);
                            model.remove(&key);
                        }
                    }
                    Err(place) => {
                        prop_assert!(!model.contains_key(&key));
                        if is_put {
                            let slot = hold(&mut slab, &key);
                            order.insert(&slab, place, slot);
                            model.insert(key, slot);
                        }
                    }
                }
                prop_assert_eq!(order.len(), model.len());
            }
            let (Ok(start) | Err(start)) = order.find(&slab, b"a/");
            let found: Vec<Slot> = order.from(start).collect();
            let expected: Vec<Slot> = model.range(b"a/".to_vec()..).map(|(_, slot)| *slot).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
