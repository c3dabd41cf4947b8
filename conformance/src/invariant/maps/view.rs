//! What a node holds and shows of the shared map, as plain data that a test can forge.

use gossip_core::map::{Origin, ReplicaSummary, Write};
use gossip_core::{Key, Node, NodeId, Policy, Stamp};

use super::MapViolation;
use crate::invariant::Violation;

/// One node's map at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapView {
    /// Whose it is.
    pub viewer: NodeId,
    /// Whose log it writes.
    pub own: Origin,
    /// Its hash over all that it knows, and its D.
    pub summary: ReplicaSummary,
    /// How far it knows each origin.
    pub frontiers: Vec<(Origin, u64)>,
    /// Every write that it holds.
    pub held: Vec<Held>,
    /// Everything that it reads under each key, the latest first, in the order of the keys.
    pub read: Vec<(String, Vec<Vec<u8>>)>,
}

/// A write that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its key.
    pub key: String,
    /// Whose.
    pub origin: Origin,
    /// Its origin's number for it.
    pub version: u64,
    /// When, by its origin's clock.
    pub stamp: Stamp,
    /// What becomes of it when somebody writes the key without knowing it.
    pub policy: Policy,
    /// Milliseconds after its stamp at which it dies.
    pub lifetime: Option<u64>,
    /// What it says; nothing, for a tombstone.
    pub value: Option<Vec<u8>>,
}

impl Held {
    /// Its name.
    #[must_use]
    pub const fn dot(&self) -> (Origin, u64) {
        (self.origin, self.version)
    }

    /// What a node holds of a key.
    #[must_use]
    pub fn of(node: &Node, key: &Key) -> Vec<Self> {
        let key = key.as_str().as_bytes();
        let held = node.map().held().filter(|(_, write)| write.key == key);
        held.map(|(origin, write)| Self::new(origin, &write))
            .collect()
    }

    fn new(origin: Origin, write: &Write<'_>) -> Self {
        Self {
            key: String::from_utf8_lossy(write.key).into_owned(),
            origin,
            version: write.version,
            stamp: write.stamp,
            policy: write.policy,
            lifetime: write.lifetime,
            value: write.value.map(<[u8]>::to_vec),
        }
    }

    pub(super) fn said(&self) -> Option<(String, Vec<u8>)> {
        Some((self.key.clone(), self.value.clone()?))
    }
}

impl MapView {
    /// What this node holds and shows now.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let map = node.map();
        let read = |(key, _): (&str, _)| {
            let parsed = Key::new(key).ok()?;
            let siblings = node.siblings(&parsed);
            let values = siblings.iter().map(|reading| reading.value.to_vec());
            Some((key.to_owned(), values.collect()))
        };
        Self {
            viewer: node.id(),
            own: map.own(),
            summary: map.summary(),
            frontiers: map
                .frontiers()
                .map(|log| (log.origin, log.frontier))
                .collect(),
            held: map
                .held()
                .map(|(origin, write)| Held::new(origin, &write))
                .collect(),
            read: node.entries("").filter_map(read).collect(),
        }
    }

    /// The most writes that can live: of each key one of each origin, and the tombstone that one
    /// wrote in the name of others.
    pub(super) fn limit(&self) -> usize {
        let mut places: Vec<_> = self
            .held
            .iter()
            .map(|held| (&held.key, held.origin))
            .collect();
        places.sort_unstable();
        places.dedup();
        places.len().saturating_mul(2)
    }

    /// Every value that is read, with its key.
    pub(super) fn values(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let of_key = |(key, values): &(String, Vec<Vec<u8>>)| {
            let key = key.clone();
            let values = values.clone().into_iter();
            values.map(move |value| (key.clone(), value))
        };
        self.read.iter().flat_map(of_key)
    }

    /// At quiescence: compares what two living nodes know and read.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Violation> {
        let viewer = other.viewer;
        if self.summary != other.summary {
            return Some(MapViolation::Differs { other: viewer }.into());
        }
        let absent = |read: &&(String, Vec<Vec<u8>>), view: &Self| !view.read.contains(read);
        let mut ours = self.read.iter().filter(|read| absent(read, other));
        let mut theirs = other.read.iter().filter(|read| absent(read, self));
        let (key, _) = ours.next().or_else(|| theirs.next())?;
        let key = key.clone();
        Some(MapViolation::ReadsDiffer { other: viewer, key }.into())
    }
}
