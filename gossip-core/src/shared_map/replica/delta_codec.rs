//! How requests and chunks are laid out: a head, then items one after the other up to the last byte.

use core::marker::PhantomData;

use postcard::take_from_bytes;
use serde::{Deserialize, Serialize};

use crate::state::room::Room;
use crate::wire::codec;

/// Items one after the other. All of them have been read once, so that none fails later.
#[derive(Clone, Debug)]
pub struct EncodedItems<'a, T> {
    bytes: &'a [u8],
    item: PhantomData<fn() -> T>,
}

impl<'a, T: Deserialize<'a> + Serialize> EncodedItems<'a, T> {
    /// Reads items up to the last byte. `None` if one of them cannot be read or is not valid.
    pub(super) fn read(bytes: &'a [u8], is_valid: impl Fn(&T) -> bool) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let item;
            (item, rest) = codec::take(rest)?;
            if !is_valid(&item) {
                return None;
            }
        }
        Some(Self {
            bytes,
            item: PhantomData,
        })
    }
}

impl<'a, T: Deserialize<'a>> Iterator for EncodedItems<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.bytes.is_empty() {
            return None;
        }
        let read = take_from_bytes(self.bytes).ok();
        debug_assert!(read.is_some(), "`read` has read every item");
        let (item, rest) = read?;
        self.bytes = rest;
        Some(item)
    }
}

/// Writes parts into a buffer of fixed size, and no more than a receiver accepts for their length.
#[derive(Debug)]
pub(super) struct DeltaWriter<'b> {
    parts: codec::Writer<'b>,
    /// Bytes that the receiver must hold for the parts, beyond the bytes of the parts.
    held_beside: usize,
}

impl<'b> DeltaWriter<'b> {
    pub(super) const fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            parts: codec::Writer::new(buffer),
            held_beside: 0,
        }
    }

    /// Appends a part for which the receiver must hold `overhead` bytes beyond those of the part. Tells
    /// whether the part fits: both into the buffer and into what a receiver accepts for the bytes
    /// written so far.
    pub(super) fn put_with_overhead(&mut self, part: &impl Serialize, overhead: usize) -> bool {
        let before = self.len();
        let held_beside = self.held_beside.saturating_add(overhead);
        if !self.put(part) {
            return false;
        }
        if held_beside > Room::of(self.len()).left() {
            self.parts.truncate(before);
            return false;
        }
        self.held_beside = held_beside;
        true
    }

    /// Appends a part. Tells whether it fits.
    pub(super) fn put(&mut self, part: &impl Serialize) -> bool {
        self.parts.put(part)
    }

    /// Replaces the first part by another one of the same length.
    pub(super) fn rewrite(&mut self, part: &impl Serialize) {
        self.parts.rewrite(part);
    }

    pub(super) const fn len(&self) -> usize {
        self.parts.len()
    }

    /// Bytes that are left in the buffer.
    pub(super) fn free(&self) -> usize {
        self.parts.room()
    }
}
