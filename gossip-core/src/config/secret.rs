//! Encryption keys that the members of a cluster share, and how strictly they are used.

use core::fmt;

use zeroize::Zeroize;

/// The most keys that a node holds at a time. A rotation needs two.
pub const MAX_KEYS: usize = 8;

/// A secret of 256 bits that the members of a cluster share.
///
/// It must come from a source of randomness, not from a password. It is wiped from memory when it is dropped,
/// and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// The key with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// How strictly a node that holds keys uses them. A cluster moves from plaintext to encryption, or back, one
/// level at a time: all nodes take a level before any takes the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// It sends plaintext and accepts both.
    Accept,
    /// It encrypts what it sends and accepts both.
    Prefer,
    /// It encrypts what it sends and drops plaintext.
    #[default]
    Require,
}
