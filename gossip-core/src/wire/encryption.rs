//! The encrypted frame: XChaCha20-Poly1305 under a key that the members share.
//!
//! A sealed frame is `header (6) | nonce (24) | sealed: sequence (8), body | tag (16)`. The header, and with
//! it the cluster's tag, is authenticated along with the body.
//!
//! **Nonces** are 192 random bits, so nodes with the same key need not agree on who uses which. A virtual
//! machine that is cloned while it runs draws the same bits twice, and two different bodies under one nonce
//! would give each other away. So a keyed hash of the body is mixed in. Then only the same body can get the
//! same nonce, and an eavesdropper learns no more than that it was the same.
//!
//! **The sequence** rises with every datagram that a node seals. A receiver drops a number that it has
//! seen before, and one that is too old to tell ([`ReplayWindow`]).

use alloc::vec::Vec;

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use siphasher::sip128::SipHasher24;

use super::frame::{HEADER, MOST_FRAME};
use crate::config::secret::{Encryption, MAX_KEYS, SecretKey};

const NONCE: usize = 24;
const SEQUENCE: usize = 8;
/// Bytes of a sealed frame before the body.
pub(crate) const SEALED_HEAD: usize = HEADER + NONCE + SEQUENCE;
/// Bytes of a sealed frame after the body.
pub(crate) const SEALED_TAIL: usize = 16;

const _: () = assert!(SEALED_HEAD + SEALED_TAIL == MOST_FRAME);

/// The keys that a node holds. It seals with the first one, and opens with any of them.
///
/// Invariant: it holds at most [`MAX_KEYS`], each once.
pub(crate) struct Keyring {
    keys: Vec<(SecretKey, XChaCha20Poly1305)>,
    encryption: Encryption,
    nonces: ChaCha20Rng,
    /// The key of the hash that is mixed into nonces.
    mixing: [u8; 16],
    sequence: u64,
}

impl core::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Keyring({} keys, {:?})",
            self.keys.len(),
            self.encryption
        )
    }
}

/// Why a keyring was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// It does not hold the key.
    Unknown,
    /// It seals with the key.
    InUse,
    /// It holds as many keys as it may.
    TooMany,
}

impl Keyring {
    /// A ring of the first [`MAX_KEYS`] of these keys. `seed` is the node's own: all its randomness comes
    /// from it.
    pub(crate) fn new(keys: &[SecretKey], encryption: Encryption, seed: [u8; 32]) -> Self {
        // The node draws everything else from the seed with another cipher, so this stream is its own.
        let mut nonces = ChaCha20Rng::from_seed(seed);
        nonces.set_stream(1);
        let mut mixing = [0; 16];
        nonces.fill_bytes(&mut mixing);
        let mut ring = Self {
            keys: Vec::new(),
            encryption,
            nonces,
            mixing,
            sequence: 0,
        };
        for key in keys.iter().take(MAX_KEYS) {
            let added = ring.add(key.clone());
            debug_assert!(
                added.is_ok(),
                "no more keys are taken than there is room for"
            );
        }
        ring
    }

    /// Whether this node seals what it sends.
    pub(crate) fn seals(&self) -> bool {
        !self.keys.is_empty() && self.encryption >= Encryption::Prefer
    }

    /// Whether this node accepts plaintext.
    pub(crate) fn takes_plaintext(&self) -> bool {
        self.keys.is_empty() || self.encryption < Encryption::Require
    }

    /// Whether there is no key to try.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) const fn set_encryption(&mut self, encryption: Encryption) {
        self.encryption = encryption;
    }

    /// Accepts one more key. A key that is already held stays where it is.
    pub(crate) fn add(&mut self, key: SecretKey) -> Result<(), KeyError> {
        if self.position(&key).is_some() {
            return Ok(());
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let cipher = XChaCha20Poly1305::new(key.bytes().into());
        self.keys.push((key, cipher));
        Ok(())
    }

    /// Seals with this key from now on.
    pub(crate) fn make_primary(&mut self, key: &SecretKey) -> Result<(), KeyError> {
        let at = self.position(key).ok_or(KeyError::Unknown)?;
        self.keys.swap(0, at);
        Ok(())
    }

    /// Stops accepting a key.
    pub(crate) fn remove(&mut self, key: &SecretKey) -> Result<(), KeyError> {
        match self.position(key) {
            None => Err(KeyError::Unknown),
            Some(0) => Err(KeyError::InUse),
            Some(at) => {
                self.keys.remove(at);
                Ok(())
            }
        }
    }

    fn position(&self, key: &SecretKey) -> Option<usize> {
        self.keys.iter().position(|(held, _)| held == key)
    }

    /// Seals a body of `len` bytes that stands behind [`SEALED_HEAD`] bytes. The header is written already.
    /// Returns the length of the whole frame, or `None` if there is no key or not enough room.
    pub(crate) fn seal(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        let (_, cipher) = self.keys.first()?;
        let (header, rest) = buffer.split_first_chunk_mut::<HEADER>()?;
        let (nonce, rest) = rest.split_first_chunk_mut::<NONCE>()?;
        let (sealed, rest) = rest.split_at_mut_checked(SEQUENCE.checked_add(len)?)?;
        let tag = rest.first_chunk_mut::<SEALED_TAIL>()?;
        debug_assert!(self.sequence < u64::MAX, "a sequence number is used once");
        self.sequence = self.sequence.saturating_add(1);
        *sealed.first_chunk_mut::<SEQUENCE>()? = self.sequence.to_le_bytes();
        self.nonces.fill_bytes(nonce);
        let mixed = SipHasher24::new_with_key(&self.mixing).hash(sealed);
        for (byte, mixed) in nonce.iter_mut().zip(mixed.as_bytes()) {
            *byte ^= mixed;
        }
        let nonce = XNonce::from_slice(nonce);
        let made = cipher
            .encrypt_in_place_detached(nonce, header, sealed)
            .ok()?;
        tag.copy_from_slice(&made);
        SEALED_HEAD.checked_add(len)?.checked_add(SEALED_TAIL)
    }

    /// Opens a sealed frame into `opened`. Returns its sequence number and its body. `None` if no key fits, or
    /// if somebody has tampered with it.
    pub(crate) fn open<'o>(
        &self,
        datagram: &[u8],
        opened: &'o mut Vec<u8>,
    ) -> Option<(u64, &'o [u8])> {
        let (covered, tag) = datagram.split_last_chunk::<SEALED_TAIL>()?;
        let (header, rest) = covered.split_first_chunk::<HEADER>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        let (nonce, tag) = (XNonce::from_slice(nonce), Tag::from_slice(tag));
        let fits = self.keys.iter().any(|(_, cipher)| {
            opened.clear();
            opened.extend_from_slice(sealed);
            let result = cipher.decrypt_in_place_detached(nonce, header, opened, tag);
            result.is_ok()
        });
        let (sequence, body) = opened.split_first_chunk::<SEQUENCE>().filter(|_| fits)?;
        Some((u64::from_le_bytes(*sequence), body))
    }
}

/// The replay window over a sender's sequence numbers (RFC 4303, section 3.4.3). Numbers that are too old
/// for the window count as replays.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplayWindow {
    /// The highest number that has arrived; 0 before the first one.
    latest: u64,
    /// Bit n: the datagram n before the latest has arrived.
    seen: u64,
}

impl ReplayWindow {
    pub(crate) const fn new() -> Self {
        Self { latest: 0, seen: 0 }
    }

    /// Notes that a datagram has arrived. Tells whether it is new.
    pub(crate) fn note(&mut self, sequence: u64) -> bool {
        if sequence > self.latest {
            let by = u32::try_from(sequence.saturating_sub(self.latest)).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(by).unwrap_or(0) | 1;
            self.latest = sequence;
            return true;
        }
        let age = u32::try_from(self.latest.saturating_sub(sequence)).unwrap_or(u32::MAX);
        let bit = 1_u64.checked_shl(age).unwrap_or(0);
        let new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::new([n; 32])
    }

    fn ring(keys: &[u8], seed: u8) -> Keyring {
        let keys: Vec<_> = keys.iter().map(|n| key(*n)).collect();
        Keyring::new(&keys, Encryption::Require, [seed; 32])
    }

    fn sealed(ring: &mut Keyring, body: &[u8]) -> Vec<u8> {
        let mut buffer = std::vec![0; 200];
        buffer[..HEADER].copy_from_slice(&[1, 1, 9, 9, 9, 9]);
        buffer[SEALED_HEAD..SEALED_HEAD + body.len()].copy_from_slice(body);
        let len = ring.seal(&mut buffer, body.len()).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn opens(ring: &Keyring, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut opened = Vec::new();
        ring.open(datagram, &mut opened)
            .map(|(_, body)| body.to_vec())
    }

    #[test]
    fn what_is_sealed_opens_under_the_same_key_and_no_other() {
        let datagram = sealed(&mut ring(&[1], 1), b"hello");
        assert_eq!(datagram.len(), SEALED_HEAD + 5 + SEALED_TAIL);
        assert_eq!(opens(&ring(&[2, 1], 2), &datagram).unwrap(), b"hello");
        assert_eq!(opens(&ring(&[2, 3], 2), &datagram), None);
        assert_eq!(opens(&ring(&[], 2), &datagram), None);
    }

    #[test]
    fn every_bit_flip_and_every_truncation_is_refused_the_header_included() {
        let datagram = sealed(&mut ring(&[1], 1), b"hello");
        let ring = ring(&[1], 2);
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opens(&ring, &flipped), None, "bit {bit}");
        }
        for len in 0..datagram.len() {
            assert_eq!(opens(&ring, &datagram[..len]), None, "length {len}");
        }
    }

    #[test]
    fn nonces_differ_even_between_clones_unless_the_bodies_are_the_same() {
        let (mut one, mut clone) = (ring(&[1], 1), ring(&[1], 1));
        let nonce = |datagram: &[u8]| datagram[HEADER..HEADER + NONCE].to_vec();
        let (a, b) = (sealed(&mut one, b"hello"), sealed(&mut clone, b"world"));
        assert_ne!(nonce(&a), nonce(&b));
        let (a, b) = (sealed(&mut one, b"same"), sealed(&mut clone, b"same"));
        assert_eq!(a, b);
        assert_ne!(nonce(&sealed(&mut one, b"same")), nonce(&b));
    }

    #[test]
    fn keys_are_added_used_and_removed() {
        let mut ring = ring(&[1], 1);
        assert_eq!(ring.remove(&key(1)), Err(KeyError::InUse));
        assert_eq!(ring.make_primary(&key(2)), Err(KeyError::Unknown));
        assert_eq!(ring.add(key(2)), Ok(()));
        assert_eq!(ring.make_primary(&key(2)), Ok(()));
        assert_eq!(ring.remove(&key(1)), Ok(()));
        assert_eq!(ring.remove(&key(1)), Err(KeyError::Unknown));
        for n in 3..10 {
            assert_eq!(ring.add(key(n)), Ok(()));
        }
        assert_eq!(ring.add(key(10)), Err(KeyError::TooMany));
        assert_eq!(ring.add(key(9)), Ok(()), "it is there already");
        assert_eq!(std::format!("{:?}", key(5)), "SecretKey(…)");
    }

    #[test]
    fn each_number_arrives_once_within_a_window() {
        let mut arrived = ReplayWindow::default();
        for sequence in [1, 2, 5, 4] {
            assert!(arrived.note(sequence), "{sequence}");
            assert!(!arrived.note(sequence), "{sequence} again");
        }
        assert!(arrived.note(1000));
        assert!(!arrived.note(3), "too old to tell");
        assert!(arrived.note(937) && !arrived.note(936) && !arrived.note(937));
        assert!(arrived.note(u64::MAX) && !arrived.note(1001));
    }
}
