//! What the application asks of its node, as plain data.
//!
//! The same values cross the channels of adapters, script the simulator and feed the fuzzer. Keys and values
//! are checked when they are made ([`Key::new`], [`Value::new`]), so every command has a legal size.

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;
use crate::time::UnixTime;

/// The longest [`Key`] in bytes.
pub const MAX_KEY: usize = 64;

/// The longest [`Value`] in bytes. With its key and the frame it fits a datagram of 1400 bytes, so IP never
/// fragments an entry.
pub const MAX_VALUE: usize = 1024;

/// The most attributes whose agreement a node watches at a time, and the most prefixes of
/// [`Command::WatchMap`].
pub const MAX_WATCHED: usize = 16;

/// The most broadcasts of one node that have not expired at a time.
pub const MAX_BROADCASTS: usize = 128;

/// The key of an attribute, of the shared map, or the topic of a broadcast: one to [`MAX_KEY`] bytes of UTF-8
/// without control characters.
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

/// The value of an attribute or of a key of the shared map, or the payload of a broadcast: up to
/// [`MAX_VALUE`] bytes in the application's own format.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Vec<u8>);

impl Value {
    /// Takes the bytes.
    ///
    /// # Errors
    /// [`ValueError`] if there are more than [`MAX_VALUE`].
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

/// What becomes of concurrent writes of one key of the shared map: writes whose writers did not know of each
/// other. The writer chooses it, and the write carries it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Policy {
    /// The write with the latest stamp is read. Between equal stamps, the writer's id decides.
    #[default]
    LastWriteWins,
    /// All of them are read, until [`Command::Resolve`] replaces them. If writers chose different policies,
    /// all writes with this policy are read, and the latest of the others beside them.
    KeepSiblings,
}

/// What an application can ask of its node. [`Node::handle_command`](crate::Node::handle_command) takes it.
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
    /// Tells every other node an event of the application, as
    /// [`Event::Broadcast`](crate::Event::Broadcast). For `broadcast_ttl` it counts towards this node's
    /// state and towards [`MAX_BROADCASTS`].
    Broadcast {
        /// What it is about.
        name: Key,
        /// What it says.
        payload: Value,
    },
    /// Begins to watch an attribute. From now on the node tells
    ///
    /// - [`Event::AgreementReached`](crate::Event::AgreementReached) when all live members show the same
    ///   value of it, at once if they do so already;
    /// - [`Event::AgreementLost`](crate::Event::AgreementLost) when they no longer do.
    ///
    /// At most [`MAX_WATCHED`] attributes are watched at a time.
    Watch {
        /// Its name.
        key: Key,
    },
    /// Ceases to watch an attribute.
    Unwatch {
        /// Its name.
        key: Key,
    },
    /// Writes a key of the shared map. The write replaces every value of the key that this node knows.
    Put {
        /// The key.
        key: Key,
        /// Its new value.
        value: Value,
        /// What becomes of it if another node writes the key concurrently.
        policy: Policy,
        /// How long it lives. Each node drops it this long after it was written, by the node's own clock
        /// and to within an interval. `None`: for ever.
        lifetime: Option<Duration>,
    },
    /// Deletes a key of the shared map. Deleting what is not there does nothing.
    Delete {
        /// The key.
        key: Key,
    },
    /// Limits the events about the shared map to keys that begin with one of these prefixes. Without
    /// prefixes, the node tells of all keys, as it does at the beginning.
    WatchMap {
        /// The prefixes, at most [`MAX_WATCHED`].
        prefixes: Vec<Key>,
    },
    /// Replaces all siblings of a key of the shared map by one value.
    Resolve {
        /// The key.
        key: Key,
        /// Its new value, or `None` to delete it.
        value: Option<Value>,
    },
    /// Leaves the cluster: the node announces its departure.
    /// [`Event::LeaveCompleted`](crate::Event::LeaveCompleted) tells when it may be stopped. From then on it
    /// is silent.
    Leave,
    /// Removes a member that is down or has left at once, instead of after `remove_after`.
    Forget {
        /// The member.
        id: NodeId,
    },
    /// Replaces the seeds, for example after names were looked up again. The same seeds in another order
    /// change nothing.
    SetSeeds {
        /// The new seeds.
        seeds: Vec<SocketAddr>,
    },
    /// Accepts one more encryption key. A key that the node holds already changes nothing.
    ///
    /// To rotate keys: add the new key on all nodes, use it on all nodes, remove the old key on all nodes.
    #[cfg(feature = "encryption")]
    AddKey {
        /// The key.
        key: crate::SecretKey,
    },
    /// Encrypts with another key from now on.
    #[cfg(feature = "encryption")]
    UseKey {
        /// A key that the node holds.
        key: crate::SecretKey,
    },
    /// Accepts an encryption key no longer.
    #[cfg(feature = "encryption")]
    RemoveKey {
        /// A key other than the one in use.
        key: crate::SecretKey,
    },
    /// Changes how strictly keys are used. A cluster moves from plaintext to encryption in these steps.
    #[cfg(feature = "encryption")]
    SetEncryption {
        /// How strictly they are used from now on.
        encryption: crate::Encryption,
    },
    /// Tells the node what the wall clock shows, since it may have been set. An adapter best sends it about
    /// once a second: it costs next to nothing.
    ///
    /// If the wall clock has gone on by `remove_after` or more, the machine has slept. The node then asks the
    /// other members whether they still live.
    SetWallClock {
        /// What the wall clock shows now.
        wall: UnixTime,
    },
}

impl Command {
    /// [`Command::Put`] with the usual choices: the last write wins, and it lives for ever.
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

/// Why a command was refused. A refused command changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The attributes of this node would exceed `max_state`. Deleted ones take no room.
    #[error(
        "this node's state would grow to {size} bytes, over the limit of {limit}: delete attributes, or raise max_state on every node"
    )]
    StateFull {
        /// Its size after the write, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// This node's wall clock is further ahead of its peers' than `max_clock_skew`, so they would refuse the write.
    #[error(
        "this node's clock is {} s ahead of its peers': they would refuse the write; set the clock right, a restart is not needed",
        ahead.as_secs()
    )]
    ClockAhead {
        /// How far the write's stamp would be ahead.
        ahead: Duration,
    },
    /// The values of the shared map, with their keys, would exceed `max_map`. Deleted ones take no room.
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
    /// This key of the shared map has several values.
    #[error("this key has {siblings} values: look at siblings(), and send Resolve")]
    Unresolved {
        /// How many.
        siblings: usize,
    },
    /// This node leaves, has left, or has lost its name to another node.
    #[error("this node has left the cluster: start a new one")]
    Left,
    /// The adapter that ran this node has stopped: the node left, was shut down, or lost its socket. Only
    /// adapters return this error.
    #[error("this node has stopped: start a new one")]
    Stopped,
    /// This node has [`MAX_BROADCASTS`] broadcasts that have not expired.
    #[error(
        "this node has {MAX_BROADCASTS} broadcasts that have not expired: wait, or lower broadcast_ttl"
    )]
    TooManyBroadcasts,
    /// The node would watch more than [`MAX_WATCHED`] attributes or prefixes.
    #[error("more than {MAX_WATCHED} attributes or prefixes of keys: watch fewer")]
    TooManyWatched,
    /// No member has this id.
    #[error("no member has the id {0}: look it up with members()")]
    UnknownMember(NodeId),
    /// The member is alive.
    #[error("member {0} is alive: only one that is down or has left can be forgotten")]
    MemberAlive(NodeId),
    /// The node does not hold this encryption key.
    #[cfg(feature = "encryption")]
    #[error("this node does not hold this key: add it first")]
    UnknownKey,
    /// The node encrypts with this key.
    #[cfg(feature = "encryption")]
    #[error("this key is in use: use another one before you remove it")]
    KeyInUse,
    /// The node holds as many keys as it can.
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
    fn a_key_or_value_of_an_illegal_size_cannot_be_made() {
        assert_eq!(Key::new(&"k".repeat(65)), Err(KeyError::TooLong(65)));
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert_eq!(Key::new("a\u{7}"), Err(KeyError::Control));
        assert_eq!(Value::new([0; 1025]), Err(ValueError(1025)));
        assert_eq!(Value::new([0; 1024]).unwrap().as_bytes().len(), 1024);
    }
}
