//! What really happened: who wrote what, and what each write replaced.

use std::collections::{BTreeMap, BTreeSet};

use gossip_core::map::{Map, Origin};
use gossip_core::{Key, Stamp};

/// A write's name: (origin, version).
pub(super) type Dot = (Origin, u64);

/// A value's number, unique for each write.
pub(super) type Value = u64;

/// The ground truth of one schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ledger {
    /// The writes that replaced each value.
    killers: BTreeMap<Value, BTreeSet<Dot>>,
    /// The dots under which a write was written anew, one after the other.
    anew: BTreeMap<Dot, Dot>,
    /// What each write replaced directly.
    direct: BTreeMap<Dot, BTreeSet<Dot>>,
    /// When an application deleted something. A tombstone that stands for others bears the latest of theirs,
    /// whatever stamp it says.
    deleted: BTreeMap<Dot, (Stamp, Origin)>,
    /// What was written anew though others may have known it to be dead: nobody remembered.
    blind: BTreeSet<Value>,
    /// What replicas told to have dropped.
    told: BTreeSet<Value>,
    /// The versions that name what left a vector.
    names: BTreeSet<Dot>,
}

/// What a replica has come to know, whether it still has a record of it or not.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Knowledge {
    /// Of each origin, up to where it knows what its writes replaced.
    sure: BTreeMap<Origin, u64>,
    /// And up to where it may know some of that.
    some: BTreeMap<Origin, u64>,
    /// The logs of which it has a record.
    current: BTreeMap<Origin, u64>,
}

fn raise(known: &mut BTreeMap<Origin, u64>, origin: Origin, upto: u64) {
    let known = known.entry(origin).or_default();
    *known = upto.max(*known);
}

impl Knowledge {
    /// Up to where an origin is known.
    pub(super) fn upto(&self, origin: Origin) -> u64 {
        self.sure.get(&origin).copied().unwrap_or(0)
    }

    /// Takes in what a replica claims to know now.
    pub(super) fn note(&mut self, map: &Map) {
        self.current.clear();
        for log in map.frontiers() {
            self.current.insert(log.origin, log.frontier);
            raise(&mut self.sure, log.origin, log.frontier);
            raise(&mut self.some, log.origin, log.frontier);
        }
    }

    /// A replica has applied a delta of another, which knew this. What it refuses, it does not know.
    pub(super) fn learn(&mut self, other: &Self, map: &Map) {
        for (origin, upto) in &other.sure {
            if other.current.contains_key(origin) && map.frontier(*origin) == 0 {
                continue;
            }
            raise(&mut self.sure, *origin, *upto);
        }
        for (origin, upto) in &other.some {
            raise(&mut self.some, *origin, *upto);
        }
    }
}

/// A write that a replica holds, and the value in it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    key: String,
    dot: Dot,
    stamp: Stamp,
    value: Option<Value>,
}

/// The number in a value.
fn number(value: Option<&[u8]>) -> Option<Value> {
    Some(Value::from_be_bytes(*value?.first_chunk()?))
}

impl Ledger {
    pub(super) fn of_key(map: &Map, key: &Key) -> Vec<Kept> {
        let mut writes = Self::of_all(map);
        writes.retain(|held| held.key == key.as_str());
        writes
    }

    pub(super) fn of_all(map: &Map) -> Vec<Kept> {
        map.held()
            .map(|(origin, write)| Kept {
                key: String::from_utf8_lossy(write.key).into_owned(),
                dot: (origin, write.version),
                stamp: write.stamp,
                value: number(write.value),
            })
            .collect()
    }

    /// An application has written a key, or deleted it, of which a replica held `before`.
    pub(super) fn wrote(&mut self, map: &Map, version: u64, before: &[Kept]) {
        let dot = (map.own(), version);
        let mut written = Self::of_all(map);
        written.retain(|held| held.dot == dot && held.value.is_none());
        if let Some(delete) = written.first() {
            self.deleted.insert(dot, (delete.stamp, dot.0));
        }
        for held in before {
            self.replace(dot, held);
        }
    }

    fn replace(&mut self, dot: Dot, held: &Kept) {
        self.direct.entry(dot).or_default().insert(held.dot);
        if let Some(value) = held.value {
            self.killers.entry(value).or_default().insert(dot);
        }
    }

    /// A replica has written tombstones over what others hid, above version `before` of its log. What was
    /// written after the deletes that they stand for is not rightly gone.
    pub(super) fn superseded(&mut self, map: &Map, before: u64, held: &[Kept]) {
        let own = map.own();
        let now = Self::of_all(map);
        let new = now
            .iter()
            .filter(|held| held.dot.0 == own && held.dot.1 > before);
        for Kept { key, dot, .. } in new {
            let is_replaced =
                |old: &&Kept| old.key == *key && now.iter().all(|held| held.dot != old.dot);
            let replaced: Vec<&Kept> = held.iter().filter(is_replaced).collect();
            let deletes = replaced.iter().filter_map(|old| self.deleted.get(&old.dot));
            let deleted = deletes.max().copied();
            for old in &replaced {
                if old.value.is_none() || Some((old.stamp, old.dot.0)) < deleted {
                    self.replace(*dot, old);
                }
            }
            if let Some(deleted) = deleted {
                self.deleted.insert(*dot, deleted);
            }
        }
    }

    /// A replica has written its own log anew, of which it held `before`: the same writes under other
    /// dots.
    pub(super) fn reissued(&mut self, map: &Map, old: Origin, before: &[Kept]) {
        for held in before.iter().filter(|held| held.dot.0 == old) {
            let new = map
                .held()
                .find(|(origin, write)| *origin == map.own() && write.key == held.key.as_bytes());
            if let Some((origin, write)) = new {
                let new = (origin, write.version);
                self.anew.insert(held.dot, new);
                let replaced = self.direct.get(&held.dot).cloned().unwrap_or_default();
                let direct = self.direct.entry(new).or_default();
                direct.extend(replaced);
                direct.insert(held.dot);
                if let Some(deleted) = self.deleted.get(&held.dot).copied() {
                    self.deleted.insert(new, deleted);
                }
            }
        }
    }

    /// What a write replaced directly.
    pub(super) fn direct(&self, dot: Dot) -> Option<&BTreeSet<Dot>> {
        self.direct.get(&dot)
    }

    /// The values of which any of these replicas surely knows a write that replaced them.
    pub(super) fn dead<'a>(&self, all: impl Iterator<Item = &'a Knowledge>) -> BTreeSet<Value> {
        let all: Vec<_> = all.map(|known| &known.sure).collect();
        self.replaced(&all)
    }

    /// The values that any of these replicas may have dropped for a write that replaced them, and
    /// those of which they told.
    pub(super) fn excused<'a>(&self, all: impl Iterator<Item = &'a Knowledge>) -> BTreeSet<Value> {
        let all: Vec<_> = all.map(|known| &known.some).collect();
        self.replaced(&all).union(&self.told).copied().collect()
    }

    fn replaced(&self, all: &[&BTreeMap<Origin, u64>]) -> BTreeSet<Value> {
        let knows = |dot: &Dot| {
            let dots = std::iter::successors(Some(*dot), |dot| self.anew.get(dot).copied());
            dots.into_iter().any(|(origin, version)| {
                all.iter()
                    .any(|known| known.get(&origin).is_some_and(|upto| *upto >= version))
            })
        };
        self.killers
            .iter()
            .filter(|(_, killers)| killers.iter().any(knows))
            .map(|(value, _)| *value)
            .collect()
    }

    /// A replica writes its own log anew, and nobody could tell it what of that is dead.
    pub(super) fn reissues_blindly(&mut self, old: Origin, before: &[Kept]) {
        let values = before.iter().filter(|held| held.dot.0 == old);
        self.blind.extend(values.filter_map(|held| held.value));
    }

    /// An own log has grown to this. A version that holds nothing from the first is a name.
    pub(super) fn grew(&mut self, map: &Map, before: u64) {
        let (own, upto) = (map.own(), map.frontier(map.own()));
        for version in before.saturating_add(1)..=upto {
            if !map
                .held()
                .any(|(o, write)| o == own && write.version == version)
            {
                self.names.insert((own, version));
            }
        }
    }

    pub(super) fn is_name(&self, dot: Dot) -> bool {
        self.names.contains(&dot)
    }

    /// Whether a value was written anew though others may have known it to be dead.
    pub(super) fn was_reissued_blindly(&self, value: Value) -> bool {
        self.blind.contains(&value)
    }

    /// A replica has told that it dropped a value.
    pub(super) fn told(&mut self, value: &[u8]) {
        self.told.extend(number(Some(value)));
    }

    /// The values that replicas hold.
    pub(super) fn values(map: &Map) -> BTreeSet<Value> {
        map.held()
            .filter_map(|(_, write)| number(write.value))
            .collect()
    }
}

/// A value as it is written: every fourth is larger than any datagram of a schedule.
pub(super) fn written(value: Value) -> Vec<u8> {
    let mut bytes = value.to_be_bytes().to_vec();
    if value.is_multiple_of(4) {
        bytes.resize(500, b'.');
    }
    bytes
}
