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
    /// Where what was encrypted is opened.
    pub(super) opened: Vec<u8>,
    /// Whether [`Event::EncryptionMismatch`] was told since the keys changed.
    mismatch_told: bool,
}

impl Node {
    /// A datagram of this cluster came under no key of this node, or in plaintext that it does not
    /// take. Told once, until the keys change: most likely somebody's keys are wrong, and one of
    /// them will have to be told.
    pub(super) fn tell_mismatch(&mut self, address: SocketAddr) {
        if !self.keys.mismatch_told {
            self.keys.mismatch_told = true;
            self.context.tell(Event::EncryptionMismatch { address });
        }
    }

    /// Whether an encrypted datagram of this number is none that has come before, nor one so old
    /// that nobody could tell. What a member's earlier life has sent is not looked at any more
    /// anyway, and strangers are nobody yet.
    pub(super) fn is_new(&mut self, sender: Sender, sequence: u64) -> bool {
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

fn refused(error: KeyError) -> CommandError {
    match error {
        KeyError::Unknown => CommandError::UnknownKey,
        KeyError::InUse => CommandError::KeyInUse,
        KeyError::TooMany => CommandError::TooManyKeys { limit: MAX_KEYS },
    }
}
