//! Reading what could have been written, and nothing else.
//!
//! Postcard reads a number that takes more bytes than it needs. Two encodings of one entry would be
//! two logs of different sizes that claim to be the same, so only the shortest is taken: what
//! decodes, encodes to the same bytes again.

use alloc::vec::Vec;

use postcard::experimental::serialized_size;
use postcard::{take_from_bytes, to_extend};
use serde::{Deserialize, Serialize};

/// Reads one part off the front of some bytes, if it stands there in its shortest form. Returns it
/// and the bytes behind it.
pub(crate) fn take<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let (part, rest): (T, _) = take_from_bytes(bytes).ok()?;
    let read = bytes.len().saturating_sub(rest.len());
    // All that has two forms is a number, and the others of it are longer.
    let shortest = serialized_size(&part).ok()?;
    (read == shortest).then_some((part, rest))
}

/// Writes one part behind what is there.
pub(crate) fn append(bytes: &mut Vec<u8>, part: &impl Serialize) {
    // Extending a Vec cannot fail.
    if let Ok(extended) = to_extend(part, core::mem::take(bytes)) {
        *bytes = extended;
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
}
