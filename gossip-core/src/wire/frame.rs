//! The plaintext frame: `version (1) | flags (1) | cluster tag (4) | body | CRC-32C (4)`, with numbers in
//! little-endian order.
//!
//! - The checksum (CRC-32C, with the polynomial of RFC 3720) covers everything before it. It catches damage,
//!   not malice.
//! - The cluster tag keeps two clusters apart that meet by accident. It is no secret.
//! - With the flag [`SEALED`], a nonce, a ciphertext and an authentication tag stand in place of body and
//!   checksum.

use crc::{CRC_32_ISCSI, Crc, Table};
use siphasher::sip::SipHasher24;

/// The protocol version. A node drops datagrams of another version.
pub(crate) const VERSION: u8 = 1;
/// The flag of a frame whose body is encrypted.
pub(crate) const SEALED: u8 = 1;
/// Bytes that the largest kind of frame adds to a body. An entry must fit a datagram with such a frame, or
/// nobody could pass it on once the cluster is encrypted.
pub(crate) const MOST_FRAME: usize = 6 + 24 + 8 + 16;
/// Bytes before the body.
pub(crate) const HEADER: usize = 6;
/// Bytes after the body.
pub(crate) const TRAILER: usize = 4;

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// Four bytes hashed from the cluster's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterTag([u8; 4]);

impl ClusterTag {
    /// The tag of the cluster with this name.
    pub(crate) fn of(cluster: &str) -> Self {
        let [a, b, c, d, ..] = SipHasher24::new_with_keys(0, 1)
            .hash(cluster.as_bytes())
            .to_le_bytes();
        Self([a, b, c, d])
    }

    /// The tag in a datagram's header.
    pub(crate) fn in_(datagram: &[u8]) -> Option<Self> {
        let [_, _, tag @ ..] = datagram.first_chunk::<HEADER>()?;
        Some(Self(*tag))
    }

    /// The header of a frame with these flags.
    pub(super) const fn header(self, flags: u8) -> [u8; HEADER] {
        let [a, b, c, d] = self.0;
        [VERSION, flags, a, b, c, d]
    }
}

/// Why a datagram is not a frame of this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Length,
    Version,
    Flags,
    Cluster,
    Checksum,
    /// It is encrypted, and no key of this node opens it.
    #[cfg(feature = "encryption")]
    Key,
    /// It is not encrypted, although this node requires that.
    #[cfg(feature = "encryption")]
    Plaintext,
}

/// Checks length, version and cluster. Returns the flags.
pub(super) fn check_header(tag: ClusterTag, max: usize, datagram: &[u8]) -> Result<u8, Refused> {
    if datagram.len() > max || datagram.len() < HEADER + TRAILER {
        return Err(Refused::Length);
    }
    let [version, flags, cluster @ ..] = datagram.first_chunk::<HEADER>().ok_or(Refused::Length)?;
    if *version != VERSION {
        return Err(Refused::Version);
    }
    if *cluster != tag.0 {
        return Err(Refused::Cluster);
    }
    Ok(*flags)
}

/// The body of a received plaintext frame. It borrows from the datagram.
pub(crate) fn open(tag: ClusterTag, max: usize, datagram: &[u8]) -> Result<&[u8], Refused> {
    let flags = check_header(tag, max, datagram)?;
    let (covered, checksum) = datagram
        .split_last_chunk::<TRAILER>()
        .ok_or(Refused::Length)?;
    let body = covered.get(HEADER..).ok_or(Refused::Length)?;
    if CRC.checksum(covered) != u32::from_le_bytes(*checksum) {
        return Err(Refused::Checksum);
    }
    if flags != 0 {
        return Err(Refused::Flags);
    }
    Ok(body)
}

/// The part of `buffer` into which a body may be written: all of it without the frame's share.
pub(crate) fn body(buffer: &mut [u8]) -> &mut [u8] {
    let end = buffer.len().saturating_sub(TRAILER);
    buffer.get_mut(HEADER..end).unwrap_or_default()
}

/// Puts the frame around a body of `len` bytes that stands where [`body`] said. `None` if the buffer is too
/// small for it.
pub(crate) fn seal(tag: ClusterTag, buffer: &mut [u8], len: usize) -> Option<&[u8]> {
    let covered = HEADER.checked_add(len)?;
    let total = covered.checked_add(TRAILER)?;
    *buffer.first_chunk_mut::<HEADER>()? = tag.header(0);
    let checksum = CRC.checksum(buffer.get(..covered)?);
    buffer
        .get_mut(covered..total)?
        .copy_from_slice(&checksum.to_le_bytes());
    buffer.get(..total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn sealed(body_bytes: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 64];
        body(&mut buffer)[..body_bytes.len()].copy_from_slice(body_bytes);
        seal(ClusterTag::of("c"), &mut buffer, body_bytes.len())
            .unwrap()
            .to_vec()
    }

    #[test]
    fn a_sealed_body_opens_again() {
        let frame = sealed(b"hello");
        assert_eq!(frame.len(), HEADER + 5 + TRAILER);
        assert_eq!(open(ClusterTag::of("c"), 64, &frame), Ok(&b"hello"[..]));
    }

    #[test]
    fn each_reason_has_its_name() {
        let tag = ClusterTag::of("c");
        let frame = sealed(b"hello");
        assert_eq!(open(tag, 14, &frame), Err(Refused::Length));
        assert_eq!(open(tag, 64, &frame[..9]), Err(Refused::Length));
        assert_eq!(open(tag, 64, &[]), Err(Refused::Length));
        assert_eq!(open(ClusterTag::of("d"), 64, &frame), Err(Refused::Cluster));
        let mut other = frame.clone();
        other[0] = 2;
        assert_eq!(open(tag, 64, &other), Err(Refused::Version));
    }

    #[test]
    fn every_bit_flip_and_every_truncation_is_refused() {
        let tag = ClusterTag::of("c");
        let frame = sealed(b"hello");
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(tag, 64, &flipped).is_err(), "bit {bit}");
        }
        for len in 0..frame.len() {
            assert!(open(tag, 64, &frame[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_buffer_too_small_is_no_panic() {
        assert_eq!(body(&mut [0; 3]).len(), 0);
        assert_eq!(seal(ClusterTag::of("c"), &mut [0; 3], 0), None);
        assert_eq!(seal(ClusterTag::of("c"), &mut [0; 12], usize::MAX), None);
    }
}
