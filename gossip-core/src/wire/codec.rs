//! The canonical encoding: every value has exactly one.
//!
//! Postcard writes a number in its shortest form, but it also reads longer ones. Two encodings of one
//! entry would make two logs of different sizes that claim to be the same. So [`take`] refuses the longer
//! forms, and what it returns encodes to the same bytes again.
//!
//! [`append`] writes into a buffer that grows, and a [`Writer`] into one of fixed size.

use alloc::vec::Vec;

use postcard::ser_flavors::Size;
use postcard::{serialize_with_flavor, take_from_bytes, to_extend, to_slice};
use serde::{Deserialize, Serialize, Serializer};

/// Reads one part off the front of some bytes, if it stands there in its shortest form. Returns the part
/// and the bytes behind it.
pub(crate) fn take<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let (part, rest): (T, _) = take_from_bytes(bytes).ok()?;
    debug_assert!(rest.len() <= bytes.len(), "the rest is a part of the bytes");
    let read = bytes.len().saturating_sub(rest.len());
    // Only numbers have more than one form, and all others of them are longer.
    let shortest = serialize_with_flavor(&part, Size::default()).ok()?;
    debug_assert!(shortest <= read, "no form is shorter than the shortest");
    (read == shortest).then_some((part, rest))
}

/// Appends one part to a buffer that grows.
pub(crate) fn append(bytes: &mut Vec<u8>, part: &impl Serialize) {
    let extended = to_extend(part, core::mem::take(bytes));
    debug_assert!(extended.is_ok(), "extending a Vec cannot fail");
    if let Ok(extended) = extended {
        *bytes = extended;
    }
}

/// Writes parts one after the other into a buffer of fixed size.
///
/// Invariant: `len` bytes of the buffer are written, and they are whole parts.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Appends a part if all of it fits. Tells whether it does.
    pub(crate) fn put(&mut self, part: &impl Serialize) -> bool {
        let Some(free) = self.buffer.get_mut(self.len..) else {
            debug_assert!(false, "no more is written than the buffer holds");
            return false;
        };
        let Ok(written) = to_slice(part, free) else {
            return false;
        };
        self.len = self.len.saturating_add(written.len());
        debug_assert!(self.len <= self.buffer.len());
        true
    }

    /// Appends zeros up to a length, or to the end.
    pub(crate) fn pad(&mut self, len: usize) {
        let end = len.min(self.buffer.len());
        if let Some(padding) = self.buffer.get_mut(self.len..end) {
            padding.fill(0);
            self.len = end;
        }
    }

    /// Takes back everything that was written after the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        debug_assert!(len <= self.len, "only what is written is taken back");
        self.len = self.len.min(len);
    }

    /// Replaces the first part by one of the same length.
    pub(crate) fn rewrite(&mut self, part: &impl Serialize) {
        let rewritten = to_slice(part, self.buffer);
        debug_assert!(
            rewritten.is_ok_and(|written| written.len() <= self.len),
            "the first part was as long"
        );
    }

    /// Bytes that are still free.
    pub(crate) fn room(&self) -> usize {
        debug_assert!(self.len <= self.buffer.len());
        self.buffer.len().saturating_sub(self.len)
    }

    /// Bytes that are written.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

/// Serialises a field of bytes all at once: `#[serde(serialize_with = "codec::bytes")]`. Serde's own way
/// is byte by byte; it gives the same encoding, but it is slower.
pub(crate) fn bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// As [`bytes`], for a field that may be absent.
pub(crate) fn optional_bytes<S: Serializer>(
    bytes: &Option<&[u8]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    bytes.map(Bytes).serialize(serializer)
}

/// Bytes as a part of their own, serialised all at once.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_of_a_number_is_taken() {
        assert_eq!(take::<u64>(&[5, 9]), Some((5, &[9][..])));
        assert_eq!(take::<u64>(&[0x85, 0, 9]), None);
        assert_eq!(take::<Option<u64>>(&[1, 5]), Some((Some(5), &[][..])));
        assert_eq!(take::<&[u8]>(&[1, 7]), Some((&[7][..], &[][..])));
        assert_eq!(take::<&[u8]>(&[0x81, 0, 7]), None);
        assert_eq!(take::<u64>(&[]), None);
    }

    #[test]
    fn a_writer_holds_whole_parts_and_no_more_than_its_buffer() {
        let mut buffer = [0; 4];
        let mut writer = Writer::new(&mut buffer);
        assert!(writer.put(&300_u16));
        assert!(!writer.put(&(1_u8, 2_u8, 3_u8)), "one byte too many");
        assert_eq!((writer.len(), writer.room()), (2, 2));
        assert!(writer.put(&7_u8) && writer.put(&8_u8) && !writer.put(&9_u8));
        writer.rewrite(&301_u16);
        writer.truncate(3);
        assert_eq!((writer.len(), writer.room()), (3, 1));
        assert_eq!(buffer[..3], [0xad, 2, 7]);
    }

    #[test]
    fn bytes_are_encoded_alike_at_once_and_one_by_one() {
        for bytes in [&b""[..], b"a", &[200; 200]] {
            let (mut at_once, mut one_by_one) = (Vec::new(), Vec::new());
            append(&mut at_once, &Bytes(bytes));
            append(&mut one_by_one, &bytes);
            assert_eq!(at_once, one_by_one);
        }
    }
}
