//! The bytes of datagrams in flight.
//!
//! A million datagrams can be in flight when ten thousand nodes join. Each lies in a slot of the
//! smallest of a few sizes, and slots are used again, so that a steady cluster allocates nothing.

use crate::num::{narrow, position};

/// Slot sizes: most heartbeats and SYNs fit the first, everything up to the largest legal
/// datagram the last.
const SIZES: [usize; 5] = [64, 256, 640, 1536, 8192];

/// Slots per page. Pages never move, so growth copies nothing.
const PAGE: usize = 64;

/// Where the bytes of one datagram lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    class: u8,
    number: u32,
    length: u16,
}

#[derive(Debug)]
struct Class {
    size: usize,
    pages: Vec<Box<[u8]>>,
    free: Vec<u32>,
}

impl Class {
    fn range(&self, number: u32, length: usize) -> (usize, core::ops::Range<usize>) {
        let number = position(number);
        let start = number % PAGE * self.size;
        (number / PAGE, start..start + length)
    }

    fn take(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        let first = self.pages.len() * PAGE;
        self.pages
            .push(vec![0; self.size * PAGE].into_boxed_slice());
        // Lowest number on top of the stack: fresh slots are used in address order.
        self.free.extend((first..first + PAGE).rev().map(narrow));
        self.free.pop().unwrap_or_default()
    }
}

/// Slots for datagrams.
#[derive(Debug)]
pub(crate) struct Arena {
    classes: [Class; SIZES.len()],
}

impl Default for Arena {
    fn default() -> Self {
        Self {
            classes: SIZES.map(|size| Class {
                size,
                pages: Vec::new(),
                free: Vec::new(),
            }),
        }
    }
}

impl Arena {
    /// The longest datagram that has a slot.
    pub(crate) const LONGEST: usize = 8192;

    /// Stores a copy of `bytes`; beyond [`Arena::LONGEST`] they are cut off, as a socket buffer
    /// would.
    pub(crate) fn store(&mut self, bytes: &[u8]) -> Slot {
        let bytes = bytes.get(..Self::LONGEST).unwrap_or(bytes);
        let class = SIZES.partition_point(|&size| size < bytes.len());
        let slots = self
            .classes
            .get_mut(class)
            .expect("the last size holds the longest datagram");
        let number = slots.take();
        let (page, range) = slots.range(number, bytes.len());
        if let Some(place) = slots.pages.get_mut(page).and_then(|p| p.get_mut(range)) {
            place.copy_from_slice(bytes);
        }
        Slot {
            class: u8::try_from(class).unwrap_or(u8::MAX),
            number,
            length: u16::try_from(bytes.len()).unwrap_or(u16::MAX),
        }
    }

    /// The bytes in a slot.
    pub(crate) fn bytes(&self, slot: Slot) -> &[u8] {
        let Some(class) = self.classes.get(usize::from(slot.class)) else {
            return &[];
        };
        let (page, range) = class.range(slot.number, usize::from(slot.length));
        class
            .pages
            .get(page)
            .and_then(|page| page.get(range))
            .unwrap_or_default()
    }

    /// Gives a slot back.
    pub(crate) fn free(&mut self, slot: Slot) {
        if let Some(class) = self.classes.get_mut(usize::from(slot.class)) {
            class.free.push(slot.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_of_every_length_come_back_unchanged() {
        let mut arena = Arena::default();
        let fill = |n: usize| u8::try_from(n % 251).unwrap();
        let lengths = [0, 1, 64, 65, 256, 640, 641, 1400, 1536, 1537, 8192];
        let slots: Vec<Slot> = lengths
            .iter()
            .map(|&n| arena.store(&vec![fill(n); n]))
            .collect();
        for (slot, &n) in slots.iter().zip(&lengths) {
            assert_eq!(arena.bytes(*slot), vec![fill(n); n]);
        }
    }

    #[test]
    fn a_slot_that_was_given_back_is_used_again() {
        let mut arena = Arena::default();
        for i in 0..10_000u32 {
            let slot = arena.store(&i.to_le_bytes());
            assert_eq!(arena.bytes(slot), i.to_le_bytes());
            arena.free(slot);
        }
        assert_eq!(arena.classes[0].pages.len(), 1);
    }

    #[test]
    fn what_exceeds_the_longest_datagram_is_cut_off() {
        let mut arena = Arena::default();
        let slot = arena.store(&[1; 9000]);
        assert_eq!(arena.bytes(slot).len(), Arena::LONGEST);
    }
}
