//! What really happened: who wrote what, and what each write replaced.

use std::collections::{BTreeMap, BTreeSet};

use gossip_core::Key;
use gossip_core::map::{Map, Origin};

/// A write's name: (origin, version).
pub(super) type Dot = (Origin, u64);

/// A value's number, unique for each write.
pub(super) type Value = u64;

/// The ground truth of one schedule.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// The writes that replaced each value.
    killers: BTreeMap<Value, BTreeSet<Dot>>,
    /// The dots under which a write was written anew, one after the other.
    anew: BTreeMap<Dot, Dot>,
    /// What each write replaced directly.
    direct: BTreeMap<Dot, BTreeSet<Dot>>,
}

/// The writes of some keys that a replica holds: dot, stamp and value of each.
pub(super) type HeldWrites = Vec<(String, Dot, Option<Value>)>;

/// The number in a value.
fn number(value: Option<&[u8]>) -> Option<Value> {
    Some(Value::from_be_bytes(value?.try_into().ok()?))
}

impl Truth {
    pub(super) fn of_key(&self, map: &Map, key: &Key) -> HeldWrites {
        let mut writes = self.of_all(map);
        writes.retain(|(other, ..)| other == key.as_str());
        writes
    }

    pub(super) fn of_all(&self, map: &Map) -> HeldWrites {
        map.held()
            .map(|(origin, write)| {
                (
                    String::from_utf8_lossy(write.key).into_owned(),
                    (origin, write.version),
                    number(write.value),
                )
            })
            .collect()
    }

    /// A replica has written a key of which it held `before`.
    pub(super) fn wrote(&mut self, origin: Origin, version: u64, before: &HeldWrites) {
        let dot = (origin, version);
        for (_, replaced, value) in before {
            self.direct.entry(dot).or_default().insert(*replaced);
            if let Some(value) = value {
                self.killers.entry(*value).or_default().insert(dot);
            }
        }
    }

    /// A replica has written tombstones over what others hid, above version `before` of its log.
    pub(super) fn superseded(&mut self, map: &Map, before: u64, held: &HeldWrites) {
        let own = map.own();
        let held_now: BTreeSet<Dot> = map.held().map(|(o, w)| (o, w.version)).collect();
        let new: Vec<(String, u64)> = map
            .held()
            .filter(|(origin, write)| *origin == own && write.version > before)
            .map(|(_, write)| {
                let key = String::from_utf8_lossy(write.key).into_owned();
                (key, write.version)
            })
            .collect();
        for (key, version) in new {
            let mut replaced = held.clone();
            replaced.retain(|(other, dot, _)| *other == key && !held_now.contains(dot));
            self.wrote(own, version, &replaced);
        }
    }

    /// A replica has written its own log anew, of which it held `before`: the same writes under other
    /// dots.
    pub(super) fn reissued(&mut self, map: &Map, old: Origin, before: &HeldWrites) {
        for (key, dot, _) in before.iter().filter(|(_, (origin, _), _)| *origin == old) {
            let new = map
                .held()
                .find(|(origin, write)| *origin == map.own() && write.key == key.as_bytes());
            if let Some((origin, write)) = new {
                let new = (origin, write.version);
                self.anew.insert(*dot, new);
                let replaced = self.direct.get(dot).cloned().unwrap_or_default();
                let direct = self.direct.entry(new).or_default();
                direct.extend(replaced);
                direct.insert(*dot);
            }
        }
    }

    /// What a write replaced directly.
    pub(super) fn direct(&self, dot: Dot) -> Option<&BTreeSet<Dot>> {
        self.direct.get(&dot)
    }

    /// The values of which any of these replicas knows a write that replaced them.
    pub(super) fn dead<'a>(&self, maps: impl Iterator<Item = &'a Map> + Clone) -> BTreeSet<Value> {
        let knows = |dot: &Dot| {
            let dots = std::iter::successors(Some(*dot), |dot| self.anew.get(dot).copied());
            dots.into_iter()
                .any(|(origin, version)| maps.clone().any(|m| m.frontier(origin) >= version))
        };
        self.killers
            .iter()
            .filter(|(_, killers)| killers.iter().any(knows))
            .map(|(value, _)| *value)
            .collect()
    }

    /// The values that replicas hold.
    pub(super) fn values(map: &Map) -> BTreeSet<Value> {
        map.held()
            .filter_map(|(_, write)| number(write.value))
            .collect()
    }
}
