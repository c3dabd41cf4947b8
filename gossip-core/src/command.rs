//! What the application asks of its node, as plain data.
//!
//! The same values cross adapter channels, script the simulator and feed the fuzzer. Payloads are
//! parsed where they are made ([`Key::new`], [`Value::new`]), so that a command in hand is one of
//! a legal size.

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;
use crate::time::UnixTime;

/// The longest [`Key`] in bytes.
pub const MAX_KEY: usize = 64;

/// The longest [`Value`] in bytes: with its key and the frame it still fits a 1400-byte datagram,
/// so that no entry is ever fragmented by IP.
pub const MAX_VALUE: usize = 1024;

/// The most attributes whose agreement a node watches at a time.
pub const MAX_WATCHED: usize = 16;

/// The most broadcasts of one node that have not expired.
pub const MAX_BROADCASTS: usize = 128;

/// The name of an attribute: one to [`MAX_KEY`] bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(heapless::String<MAX_KEY>);

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// [`KeyError`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(KeyError::Control);
        }
        heapless::String::try_from(text)
            .map(Self)
            .map_err(|_| KeyError::TooLong(text.len()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Why a text is not a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is empty.
    #[error("the key is empty: give one to {MAX_KEY} bytes")]
    Empty,
    /// The text is too long.
    #[error("the key has {0} bytes: shorten it to at most {MAX_KEY}")]
    TooLong(usize),
    /// The text holds a control character.
    #[error("the key holds a control character: use printable text")]
    Control,
}

/// The value of an attribute: up to [`MAX_VALUE`] bytes of the application's own format.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Vec<u8>);

impl Value {
    /// Takes the bytes.
    ///
    /// # Errors
    /// [`ValueError`] where there are more than [`MAX_VALUE`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, ValueError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_VALUE {
            Err(ValueError(bytes.len()))
        } else {
            Ok(Self(bytes))
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A value has more than [`MAX_VALUE`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the value has {0} bytes: keep it to at most {MAX_VALUE}, or store a reference to the data"
)]
pub struct ValueError(pub usize);

/// What becomes of writes of one key of the shared map that did not know each other. Chosen by the
/// writer, carried by the write.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Policy {
    /// The one with the latest stamp is read; ties are decided by the writer's id.
    #[default]
    LastWriteWins,
    /// All are read, until [`Command::Resolve`] replaces them. Where writers differ, this holds for
    /// those who chose it, and the latest of the others stands beside them.
    KeepSiblings,
}

/// What [`Node::handle_command`](crate::Node::handle_command) accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Sets an attribute of this node.
    Set {
        /// Its name.
        key: Key,
        /// Its new value.
        value: Value,
    },
    /// Deletes an attribute of this node. Deleting what is not there does nothing.
    Unset {
        /// Its name.
        key: Key,
    },
    /// Has every other node told an event of the application:
    /// [`Event::Broadcast`](crate::Event::Broadcast). Until `broadcast_ttl` has passed it counts
    /// towards this node's state, and towards [`MAX_BROADCASTS`].
    Broadcast {
        /// What it is about.
        name: Key,
        /// What it says.
        payload: Value,
    },
    /// Begins to tell when all live members show the same value of an attribute, and when they cease
    /// to: [`Event::AgreementReached`](crate::Event::AgreementReached) (at once, where they do) and
    /// [`Event::AgreementLost`](crate::Event::AgreementLost). At most [`MAX_WATCHED`] attributes.
    Watch {
        /// Its name.
        key: Key,
    },
    /// Ceases to tell it.
    Unwatch {
        /// Its name.
        key: Key,
    },
    /// Writes a key of the shared map: replaces everything that this node knows of it.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
        /// What becomes of it when somebody else writes the key without knowing it.
        policy: Policy,
        /// How long it lives: it is gone, to within an interval, this long after it was written, by
        /// the clock of whoever looks. `None` for ever.
        lifetime: Option<Duration>,
    },
    /// Deletes a key of the shared map. Deleting what is not there does nothing.
    Delete {
        /// The key.
        key: Key,
    },
    /// From now on, tells of changes and conflicts of those keys of the shared map only that begin with
    /// one of these; of all keys where there are none, as at the beginning. At most [`MAX_WATCHED`].
    WatchMap {
        /// The beginnings.
        prefixes: Vec<Key>,
    },
    /// Replaces all siblings of a key of the shared map.
    Resolve {
        /// The key.
        key: Key,
        /// Its new value, or `None` to delete it.
        value: Option<Value>,
    },
    /// Announces departure. [`Event::LeaveCompleted`](crate::Event::LeaveCompleted) tells when the
    /// node may be stopped; from then on it is silent.
    Leave,
    /// Removes a member that is down or has left, without waiting for `remove_after`.
    Forget {
        /// The member.
        id: NodeId,
    },
    /// Replaces the seeds, as after a new look at the DNS. The same ones, in whatever order, change
    /// nothing.
    SetSeeds {
        /// The new seeds.
        seeds: Vec<SocketAddr>,
    },
    /// Accepts one more key; one that is held already changes nothing. The first step of a rotation:
    /// add the new key on all nodes, use it on all nodes, remove the old one on all nodes.
    #[cfg(feature = "encryption")]
    AddKey {
        /// The key.
        key: crate::SecretKey,
    },
    /// Encrypts with this key from now on.
    #[cfg(feature = "encryption")]
    UseKey {
        /// A key that was added.
        key: crate::SecretKey,
    },
    /// Accepts a key no longer.
    #[cfg(feature = "encryption")]
    RemoveKey {
        /// A key that is not the one in use.
        key: crate::SecretKey,
    },
    /// Changes how strictly keys are used: the steps from plaintext to encryption.
    #[cfg(feature = "encryption")]
    SetEncryption {
        /// From now on.
        encryption: crate::Encryption,
    },
    /// Tells the node what the wall clock shows, as it may have been set. Best told about once a
    /// second; it costs next to nothing, and changes no state of its own. A clock that has gone on by
    /// `remove_after` or more tells that the machine slept: the node asks others whether they still live.
    SetWallClock {
        /// The wall clock now.
        wall: UnixTime,
    },
}

impl Command {
    /// [`Command::Put`] as it is mostly meant: the last write wins, and stays.
    #[must_use]
    pub const fn put(key: Key, value: Value) -> Self {
        Self::Put {
            key,
            value,
            policy: Policy::LastWriteWins,
            lifetime: None,
        }
    }
}

/// Why a command was refused. A refused command has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The write would take this node's state over `max_state`.
    #[error(
        "this node's state would grow to {size} bytes, over the limit of {limit}: delete attributes, or raise max_state on every node"
    )]
    StateFull {
        /// Its size after the write, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The write would take the shared map over `max_map`.
    #[error(
        "the shared map would grow to {size} bytes, over the limit of {limit}: delete keys, or raise max_map on every node"
    )]
    MapFull {
        /// Its size after the write, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// This node was built without the shared map.
    #[error("this node keeps no shared map: build gossip-core with the feature `map`")]
    NoMap,
    /// Several values stand under this key of the shared map.
    #[error("{siblings} values stand under this key: look at siblings(), and send Resolve")]
    Unresolved {
        /// How many.
        siblings: usize,
    },
    /// This node leaves, has left, or has lost its name to another.
    #[error("this node has left the cluster: start a new one")]
    Left,
    /// The adapter that ran this node has stopped, be it that the node had left, was shut down, or
    /// lost its socket. Adapters say so; a node never does.
    #[error("this node has stopped: start a new one")]
    Stopped,
    /// As many broadcasts wait to expire as can.
    #[error(
        "this node has {MAX_BROADCASTS} broadcasts that have not expired: wait, or lower broadcast_ttl"
    )]
    TooManyBroadcasts,
    /// As many attributes are watched as can be.
    #[error("more than {MAX_WATCHED} attributes or beginnings of keys: watch fewer")]
    TooManyWatched,
    /// No such member.
    #[error("no member has the id {0}: look it up with members()")]
    UnknownMember(NodeId),
    /// The member is alive.
    #[error("member {0} is alive: only one that is down or has left can be forgotten")]
    MemberAlive(NodeId),
    /// No such key.
    #[cfg(feature = "encryption")]
    #[error("this node holds no such key: add it first")]
    UnknownKey,
    /// The key is the one in use.
    #[cfg(feature = "encryption")]
    #[error("this key is in use: use another one before it is removed")]
    KeyInUse,
    /// The ring is full.
    #[cfg(feature = "encryption")]
    #[error("a node holds at most {limit} keys: remove an old one first")]
    TooManyKeys {
        /// The most keys.
        limit: usize,
    },
    /// The value does not fit a datagram of this node's configuration.
    #[error(
        "key and value have {size} bytes, but max_datagram leaves room for {limit}: shorten the value, or raise max_datagram on every node"
    )]
    EntryTooLarge {
        /// Bytes of key and value.
        size: usize,
        /// The most that fits.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oversize_is_refused_where_it_is_made() {
        assert_eq!(Key::new(&"k".repeat(65)), Err(KeyError::TooLong(65)));
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert_eq!(Key::new("a\u{7}"), Err(KeyError::Control));
        assert_eq!(Value::new([0; 1025]), Err(ValueError(1025)));
        assert_eq!(Value::new([0; 1024]).unwrap().as_bytes().len(), 1024);
    }
}
