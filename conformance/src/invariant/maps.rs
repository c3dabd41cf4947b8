//! What was written to the shared map, and what every replica has known and shown of it.

mod view;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use gossip_core::map::{Origin, Version};
use gossip_core::{Event, Key, NodeId, Policy, Stamp, UnixTime, Value};

pub use view::{Held, MapView};

use super::Violation;

/// A value as it was written under a key. No two writes of a key say the same, or they count as one.
type Said = (String, Vec<u8>);

/// A write's name: its origin, and its number there.
type Dot = (Origin, u64);

/// Remembers every write that a node has accepted, and what every process has come to know.
///
/// Feed it with the view of each map after each step that changed it.
#[derive(Debug, Default)]
pub struct Maps {
    /// What each write said: when, under which policy, whether it dies by itself.
    written: BTreeMap<Said, Written>,
    /// The latest stamp of last-write-wins of each key, tombstones included.
    latest: BTreeMap<String, (Stamp, Origin)>,
    /// The writes that have replaced each value.
    killers: BTreeMap<Said, BTreeSet<Dot>>,
    /// How far each origin has written.
    origins: BTreeMap<Origin, u64>,
    /// How far each origin was known to any process but its own, the dead ones included.
    heard: BTreeMap<Origin, u64>,
    /// What processes told to have dropped for want of memory.
    dropped: BTreeSet<Said>,
    /// What each living process has known and held.
    replicas: BTreeMap<NodeId, Lifetime>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    stamp: Stamp,
    origin: Origin,
    policy: Policy,
    /// When it dies by itself, in Unix milliseconds.
    dies: Option<u64>,
}

/// What a process has known since it began.
#[derive(Debug)]
struct Lifetime {
    own: Option<Origin>,
    /// Of each origin up to where, be it that the log has left the vector since.
    known: BTreeMap<Origin, u64>,
    held: BTreeSet<Said>,
    /// What its events say that it reads; nothing, where some were lost.
    told: Option<BTreeMap<String, Vec<u8>>>,
}

/// What is wrong with a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapViolation {
    /// A value is held that nobody wrote.
    NeverWritten {
        /// Its key.
        key: String,
        /// What it says.
        value: Vec<u8>,
    },
    /// More is claimed of a log than its origin has written.
    ClaimedTooMuch {
        /// The origin.
        origin: Origin,
        /// Up to where it is claimed.
        claimed: u64,
        /// Up to where there is something.
        written: u64,
    },
    /// A value is held that was replaced, and somebody who lives knew it.
    Resurrected {
        /// Its key.
        key: String,
        /// What it says.
        value: Vec<u8>,
    },
    /// A value was held and is not any more, though nothing has replaced it.
    Lost {
        /// Its key.
        key: String,
        /// What it said.
        value: Vec<u8>,
    },
    /// A value is read whose life is over.
    Outlived {
        /// Its key.
        key: String,
        /// What it says.
        value: Vec<u8>,
    },
    /// The events say that something else is read than the view.
    ToldWrong {
        /// The key.
        key: String,
        /// What the events say.
        told: Option<Vec<u8>>,
        /// What is read.
        shown: Option<Vec<u8>>,
    },
    /// An event says that something else was read before than the events before it.
    ToldOutOfTurn {
        /// The key.
        key: String,
    },
    /// More writes are held than there can live.
    TooMany {
        /// How many.
        held: usize,
        /// Of how many there is a reason.
        limit: usize,
    },
    /// Once a stream of writes has ended, something else is read than its last write of a key.
    NotTheLast {
        /// The key.
        key: String,
        /// What the last write says.
        written: Option<Vec<u8>>,
        /// What is read.
        read: Option<Vec<u8>>,
    },
    /// At quiescence, another node knows something else.
    Differs {
        /// The other one.
        other: NodeId,
    },
    /// At quiescence, another node reads something else.
    ReadsDiffer {
        /// The other one.
        other: NodeId,
        /// The first key.
        key: String,
    },
}

impl From<MapViolation> for Violation {
    fn from(wrong: MapViolation) -> Self {
        Self::Map(wrong)
    }
}

fn raise(known: &mut BTreeMap<Origin, u64>, origin: Origin, upto: u64) {
    let known = known.entry(origin).or_default();
    *known = upto.max(*known);
}

impl Maps {
    /// A node has accepted a write of a key, before and after which it held this.
    pub fn wrote(&mut self, key: &Key, before: &[Held], after: &[Held]) {
        let of_key = |held: &&Held| held.key == key.as_str();
        let old = |held: &Held| before.iter().any(|other| other.dot() == held.dot());
        let new = after.iter().filter(of_key);
        // Deleting what is not there writes nothing.
        let Some(write) = new
            .filter(|held| !old(held))
            .max_by_key(|held| held.version)
        else {
            return;
        };
        raise(&mut self.origins, write.origin, write.version);
        let at = (write.stamp, write.origin);
        if write.policy == Policy::LastWriteWins {
            let latest = self.latest.entry(write.key.clone()).or_insert(at);
            *latest = at.max(*latest);
        }
        for replaced in before.iter().filter(of_key) {
            if let Some(said) = replaced.said() {
                self.killers.entry(said).or_default().insert(write.dot());
            }
        }
        if let Some(said) = write.said() {
            // What says the same as an earlier one is not told apart from it.
            self.killers.remove(&said);
            let lifetime = write.lifetime;
            let dies = lifetime.map(|life| write.stamp.time().as_millis().saturating_add(life));
            let written = Written {
                stamp: write.stamp,
                origin: write.origin,
                policy: write.policy,
                dies,
            };
            self.written.insert(said, written);
        }
    }

    /// A node's own log has come this far. It rises without a write of the application, too.
    pub fn note_own(&mut self, own: Origin, upto: u64) {
        raise(&mut self.origins, own, upto);
    }

    /// A process has ended.
    pub fn end(&mut self, node: NodeId) {
        self.replicas.remove(&node);
    }

    /// A node has told something.
    pub fn told(&mut self, node: NodeId, event: &Event) -> Option<Violation> {
        let replica = self.replicas.entry(node).or_default();
        match event {
            Event::MapChanged { key, old, new, .. } => {
                let told = replica.told.as_mut()?;
                let key = key.as_str().to_owned();
                let bytes = |value: &Option<Value>| value.as_ref().map(|v| v.as_bytes().to_vec());
                let before = match bytes(new) {
                    Some(new) => told.insert(key.clone(), new),
                    None => told.remove(&key),
                };
                (before != bytes(old)).then(|| MapViolation::ToldOutOfTurn { key }.into())
            }
            Event::MapDropped { key, dropped } => {
                self.dropped.extend(said(key, dropped));
                None
            }
            Event::Lagged => {
                replica.told = None;
                None
            }
            _ => None,
        }
    }

    /// Takes in a node's map after a step, when all events have been taken.
    pub fn observe(&mut self, view: &MapView) -> Vec<Violation> {
        let mut found: Vec<Violation> = Vec::new();
        self.note(view);
        found.extend(self.check_claims(view));
        found.extend(self.check_drops(view));
        found.extend(self.check_told(view));
        let limit = view.limit();
        if view.held.len() > limit {
            let held = view.held.len();
            found.push(MapViolation::TooMany { held, limit }.into());
        }
        let replica = self.replicas.entry(view.viewer).or_default();
        replica.held = view.held.iter().filter_map(Held::said).collect();
        found
    }

    /// What a map knows of its own log is the truth about it.
    fn note(&mut self, view: &MapView) {
        let replica = self.replicas.entry(view.viewer).or_default();
        if let Some(old) = replica.own.replace(view.own).filter(|old| *old != view.own) {
            // What it writes anew, others may come to know under another name.
            let log = view.frontiers.iter().find(|(origin, _)| *origin == old);
            let known = replica.known.get(&old).copied().unwrap_or(0);
            let written = log.map_or(known, |(_, upto)| known.max(*upto));
            raise(&mut self.heard, old, written);
            raise(&mut self.origins, old, written);
        }
        for (origin, upto) in &view.frontiers {
            raise(&mut replica.known, *origin, *upto);
            if *origin == view.own {
                raise(&mut self.origins, *origin, *upto);
            } else {
                raise(&mut self.heard, *origin, *upto);
            }
        }
    }

    /// Nobody claims or holds what nobody wrote, or what it knows to be replaced.
    fn check_claims(&self, view: &MapView) -> Vec<Violation> {
        let mut found = Vec::new();
        for (origin, claimed) in view.frontiers.iter().copied() {
            let written = self.origins.get(&origin).copied().unwrap_or(0);
            if claimed > written {
                let wrong = MapViolation::ClaimedTooMuch {
                    origin,
                    claimed,
                    written,
                };
                found.push(wrong.into());
            }
        }
        let known = |dot: &Dot| self.knows(view.viewer, dot);
        for said in view.held.iter().filter_map(Held::said) {
            let replaced = self.killers.get(&said).into_iter().flatten().any(known);
            let never = !self.written.contains_key(&said);
            let (key, value) = said;
            if never {
                found.push(MapViolation::NeverWritten { key, value }.into());
            } else if replaced {
                found.push(MapViolation::Resurrected { key, value }.into());
            }
        }
        found
    }

    fn knows(&self, node: NodeId, (origin, version): &Dot) -> bool {
        let known = self.replicas.get(&node).map(|replica| &replica.known);
        known.is_some_and(|known| known.get(origin).is_some_and(|upto| upto >= version))
    }

    /// Nobody drops what nothing has replaced.
    fn check_drops(&self, view: &MapView) -> Vec<Violation> {
        let now: BTreeSet<Said> = view.held.iter().filter_map(Held::said).collect();
        let held = self.replicas.get(&view.viewer).map(|replica| &replica.held);
        let gone = held
            .into_iter()
            .flatten()
            .filter(|said| !now.contains(*said));
        gone.filter(|said| !self.may_be_gone(said))
            .map(|(key, value)| {
                let (key, value) = (key.clone(), value.clone());
                MapViolation::Lost { key, value }.into()
            })
            .collect()
    }

    fn may_be_gone(&self, said: &Said) -> bool {
        let known = |dot: &Dot| {
            let heard = self.heard.get(&dot.0).is_some_and(|upto| *upto >= dot.1);
            heard || self.replicas.keys().any(|node| self.knows(*node, dot))
        };
        let Some(written) = self.written.get(said) else {
            return true;
        };
        let at = (written.stamp, written.origin);
        let latest = self.latest.get(&said.0);
        // It may have been replaced along with the tombstone that it had lost to.
        let outdone =
            written.policy == Policy::LastWriteWins && latest.is_some_and(|latest| *latest > at);
        outdone
            || written.dies.is_some()
            || self.dropped.contains(said)
            || self.killers.get(said).into_iter().flatten().any(known)
    }

    /// The events of a node say what it reads.
    fn check_told(&mut self, view: &MapView) -> Option<Violation> {
        let replica = self.replicas.get_mut(&view.viewer)?;
        let shown = || view.read.iter().map(|(key, values)| (key.clone(), values));
        let first = shown().filter_map(|(key, values)| Some((key, values.first()?.clone())));
        let shown: BTreeMap<String, Vec<u8>> = first.collect();
        let told = replica.told.get_or_insert_with(|| shown.clone());
        if *told == shown {
            return None;
        }
        let mut keys = told.keys().chain(shown.keys());
        let key = keys.find(|key| told.get(*key) != shown.get(*key))?.clone();
        let (told_value, shown_value) = (told.get(&key).cloned(), shown.get(&key).cloned());
        *told = shown;
        let wrong = MapViolation::ToldWrong {
            key,
            told: told_value,
            shown: shown_value,
        };
        Some(wrong.into())
    }

    /// At quiescence: what no living node may hold or read, by whatever any living one has known. Who
    /// has left may still run, and tells nobody.
    #[must_use]
    pub fn check(
        &self,
        view: &MapView,
        wall: UnixTime,
        lives: impl Fn(NodeId) -> bool,
    ) -> Vec<Violation> {
        let living = || self.replicas.keys().filter(|node| lives(**node));
        let known = |dot: &Dot| living().any(|node| self.knows(*node, dot));
        let mut found: Vec<Violation> = Vec::new();
        for said in view.held.iter().filter_map(Held::said) {
            if self.killers.get(&said).into_iter().flatten().any(known) {
                let (key, value) = said;
                found.push(MapViolation::Resurrected { key, value }.into());
            }
        }
        for (key, value) in view.values() {
            let written = self.written.get(&(key.clone(), value.clone()));
            let dies = written.and_then(|written| written.dies);
            if dies.is_some_and(|dies| dies <= wall.as_millis()) {
                found.push(MapViolation::Outlived { key, value }.into());
            }
        }
        found
    }
}

impl Default for Lifetime {
    /// One that has been told everything, which is nothing yet.
    fn default() -> Self {
        Self {
            own: None,
            known: BTreeMap::new(),
            held: BTreeSet::new(),
            told: Some(BTreeMap::new()),
        }
    }
}

fn said(key: &Key, version: &Version) -> Option<Said> {
    let value = version.value.as_ref()?;
    Some((key.as_str().to_owned(), value.as_bytes().to_vec()))
}

impl fmt::Display for MapViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &[u8]| {
            let start = value.get(..24).unwrap_or(value);
            format!("\"{}\"", start.escape_ascii())
        };
        let maybe = |value: &Option<Vec<u8>>| value.as_deref().map_or("nothing".into(), text);
        match self {
            Self::NeverWritten { key, value } => {
                write!(f, "holds {} under {key}, which nobody wrote", text(value))
            }
            Self::ClaimedTooMuch {
                origin,
                claimed,
                written,
            } => write!(
                f,
                "claims version {claimed} of the map's log of {} {}, who has written up to {written}",
                origin.id, origin.generation
            ),
            Self::Resurrected { key, value } => {
                write!(f, "holds {} under {key}, which was replaced", text(value))
            }
            Self::Lost { key, value } => {
                write!(f, "has lost {} under {key}", text(value))
            }
            Self::NotTheLast { key, written, read } => write!(
                f,
                "reads {} under {key}, of which the last write says {}",
                maybe(read),
                maybe(written)
            ),
            Self::Outlived { key, value } => {
                write!(f, "reads {} under {key}, whose life is over", text(value))
            }
            Self::ToldWrong { key, told, shown } => write!(
                f,
                "reads {} under {key}, and has told {}",
                maybe(shown),
                maybe(told)
            ),
            Self::ToldOutOfTurn { key } => {
                write!(f, "tells what it read under {key}, and had told otherwise")
            }
            Self::TooMany { held, limit } => {
                write!(f, "holds {held} writes of the map; {limit} can live")
            }
            Self::Differs { other } => write!(f, "knows another map than {other}"),
            Self::ReadsDiffer { other, key } => {
                write!(f, "reads something else under {key} than {other}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
