//! How requests and chunks are laid out: a head, then items one after the other up to the last byte.

use core::marker::PhantomData;

use postcard::{take_from_bytes, to_slice};
use serde::{Deserialize, Serialize, Serializer};

use crate::state::room;
use crate::wire::codec;

/// Serializes a slice as bytes, not as a sequence of numbers.
pub(super) fn as_bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

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

/// Writes parts into a buffer of fixed size.
#[derive(Debug)]
pub(super) struct Writer<'b> {
    buffer: &'b mut [u8],
    len: usize,
    /// Bytes that the receiver must hold for the parts, beyond the bytes of the parts.
    held_beside: usize,
}

impl<'b> Writer<'b> {
    pub(super) const fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            len: 0,
            held_beside: 0,
        }
    }

    /// Appends a part for which the receiver must hold `overhead` bytes beyond those of the part. Tells
    /// whether the part fits: both into the buffer and into what a receiver accepts for the bytes
    /// written so far.
    pub(super) fn put_with_overhead(&mut self, part: &impl Serialize, overhead: usize) -> bool {
        let before = self.len;
        let held_beside = self.held_beside.saturating_add(overhead);
        if !self.put(part) {
            return false;
        }
        if held_beside > room(self.len) {
            self.len = before;
            return false;
        }
        self.held_beside = held_beside;
        true
    }

    /// Appends a part. Tells whether it fits.
    pub(super) fn put(&mut self, part: &impl Serialize) -> bool {
        debug_assert!(self.len <= self.buffer.len(), "writes within the buffer");
        let Some(free) = self.buffer.get_mut(self.len..) else {
            return false;
        };
        match to_slice(part, free) {
            Ok(written) => {
                self.len = self.len.saturating_add(written.len());
                true
            }
            Err(_) => false,
        }
    }

    /// Replaces the first part by another one of the same length.
    pub(super) fn rewrite(&mut self, part: &impl Serialize) {
        let rewritten = to_slice(part, self.buffer).map_or(0, |written| written.len());
        debug_assert!(
            (1..=self.len).contains(&rewritten),
            "a part of the same length fits where the first one did"
        );
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Bytes that are left in the buffer.
    pub(super) fn free(&self) -> usize {
        self.buffer.len().saturating_sub(self.len)
    }
}
