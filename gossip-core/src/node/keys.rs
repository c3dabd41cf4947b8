//! Encryption as a node meets it: keys that come and go, datagrams that no key opens, and replays.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Node;
use crate::command::CommandError;
use crate::config::secret::{Encryption, MAX_KEYS, SecretKey};
use crate::event::Event;
use crate::wire::encryption::KeyError;
use crate::wire::message::Sender;

/// What a node with encryption remembers beside its keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Where datagrams are decrypted. It is kept, so that the next one need not allocate.
    pub(super) plaintext: Vec<u8>,
    /// Whether [`Event::EncryptionMismatch`] was told since the keys changed.
    mismatch_told: bool,
}

impl Node {
    /// A datagram of this cluster came under no key of this node, or in plaintext that it does not take.
    ///
    /// The application is told once, until the keys change: most likely the keys of one node are wrong.
    pub(super) fn tell_mismatch(&mut self, address: SocketAddr) {
        if !self.keys.mismatch_told {
            self.keys.mismatch_told = true;
            self.context.tell(Event::EncryptionMismatch { address });
        }
    }

    /// Notes that an encrypted datagram with this number has arrived. Tells whether it is no replay. A
    /// number so old that nobody could tell counts as a replay.
    ///
    /// Numbers are remembered for the known generation of each member alone. A datagram of an earlier
    /// generation has no effect anyway, and nothing is remembered of strangers.
    pub(super) fn note_arrival(&mut self, sender: Sender, sequence: u64) -> bool {
        let Some(record) = self.context.table.get_mut(sender.id) else {
            return true;
        };
        if record.log.generation() != sender.generation {
            return true;
        }
        let (of, arrived) = &mut record.arrived;
        if *of != sender.generation {
            (*of, *arrived) = (sender.generation, Default::default());
        }
        arrived.note(sequence)
    }

    pub(super) fn add_key(&mut self, key: SecretKey) -> Result<(), CommandError> {
        self.keys.mismatch_told = false;
        self.framing.keyring.add(key).map_err(refused)
    }

    pub(super) fn use_key(&mut self, key: &SecretKey) -> Result<(), CommandError> {
        self.framing.keyring.make_primary(key).map_err(refused)
    }

    pub(super) fn remove_key(&mut self, key: &SecretKey) -> Result<(), CommandError> {
        self.keys.mismatch_told = false;
        self.framing.keyring.remove(key).map_err(refused)
    }

    pub(super) fn set_encryption(&mut self, encryption: Encryption) {
        self.keys.mismatch_told = false;
        self.framing.keyring.set_encryption(encryption);
    }
}

/// The application's error for one of the keyring.
fn refused(error: KeyError) -> CommandError {
    match error {
        KeyError::Unknown => CommandError::UnknownKey,
        KeyError::InUse => CommandError::KeyInUse,
        KeyError::TooMany => CommandError::TooManyKeys { limit: MAX_KEYS },
    }
}
