//! Whether all live members show the same value of an attribute.
//!
//! Every member publishes its own value, and every node compares what the others published: what a
//! member shows here, it has written itself. That is how Cassandra agrees on a schema. An
//! acknowledgement by the others of what one node wrote would cost as much and say less.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use rand_core::Rng;
use siphasher::sip::SipHasher24;

use crate::command::{CommandError, Key, MAX_WATCHED, Value};
use crate::context::Context;
use crate::event::Event;
use crate::identity::NodeId;
use crate::membership::{Condition, Record, Table, Tracking};
use crate::state::attribute::Declared;

/// What the live members show of one attribute. Members that are still joining do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agreement {
    /// Each value that is shown, with those who show it: first what this node shows, then the
    /// others in the order of the values.
    pub shown: Vec<Shown>,
}

/// A value, and who shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// The value, or `None` where the attribute is not there.
    pub value: Option<Value>,
    /// The members, in the order of their ids.
    pub members: Vec<NodeId>,
}

impl Agreement {
    /// Whether all show the same, be it nothing.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.shown.len() <= 1
    }

    /// How many members show what this node shows, itself included.
    #[must_use]
    pub fn agreeing(&self) -> usize {
        self.shown.first().map_or(0, |shown| shown.members.len())
    }

    /// Those that show something else.
    pub fn differing(&self) -> impl Iterator<Item = NodeId> + '_ {
        let others = self.shown.iter().skip(1);
        others.flat_map(|shown| &shown.members).copied()
    }
}

/// The attributes whose agreement the application wants to be told of.
#[derive(Debug, Default)]
pub(crate) struct Watches(Vec<Watch>);

/// One attribute, with a digest of what each member that counts shows of it.
#[derive(Debug)]
struct Watch {
    key: Key,
    digest: SipHasher24,
    shown: BTreeMap<NodeId, u64>,
    /// How many show each of these.
    counts: BTreeMap<u64, usize>,
    /// What the application was told last.
    told: bool,
}

impl Watch {
    fn new(key: Key, digest: SipHasher24) -> Self {
        Self {
            key,
            digest,
            shown: BTreeMap::default(),
            counts: BTreeMap::default(),
            told: false,
        }
    }

    fn is_agreed(&self) -> bool {
        self.counts.len() <= 1
    }

    /// Looks at one member anew. O(log members) where its value changes, beyond the member's own state.
    fn look(&mut self, id: NodeId, record: Option<&Record>) {
        let new = record.map(|record| {
            let value = record.log.get(self.key.as_str().as_bytes());
            // No value is something else than an empty one.
            value.map_or(0, |value| self.digest.hash(value) | 1)
        });
        let old = match new {
            Some(new) => self.shown.insert(id, new),
            None => self.shown.remove(&id),
        };
        if old == new {
            return;
        }
        if let Some(new) = new {
            self.count(new, |count| count.saturating_add(1));
        }
        if let Some(old) = old {
            self.count(old, |count| count.saturating_sub(1));
        }
    }

    /// Changes how many show a value.
    fn count(&mut self, shown: u64, change: impl Fn(usize) -> usize) {
        let count = self.counts.entry(shown).or_insert(0);
        *count = change(*count);
        if *count == 0 {
            self.counts.remove(&shown);
        }
    }
}

impl Watches {
    /// Whether all live members show the same of an attribute, where it is watched. O(1).
    pub(crate) fn is_agreed(&self, key: &Key) -> Option<bool> {
        let watch = self.0.iter().find(|watch| watch.key == *key);
        watch.map(Watch::is_agreed)
    }

    /// Begins to watch an attribute. To watch it already changes nothing.
    ///
    /// # Errors
    /// [`CommandError::TooManyWatched`].
    pub(crate) fn watch(&mut self, context: &mut Context, key: Key) -> Result<(), CommandError> {
        if self.0.iter().any(|watch| watch.key == key) {
            return Ok(());
        }
        if self.0.len() >= MAX_WATCHED {
            return Err(CommandError::TooManyWatched);
        }
        // Keyed, so that nobody can pick two values that look the same.
        let digest = SipHasher24::new_with_keys(context.rng.next_u64(), context.rng.next_u64());
        let mut watch = Watch::new(key, digest);
        for record in counting(&context.table, context.own) {
            watch.look(record.id, Some(record));
        }
        self.0.push(watch);
        context.table.track_changes(Tracking::On);
        Ok(())
    }

    /// Ends watching an attribute.
    pub(crate) fn unwatch(&mut self, context: &mut Context, key: &Key) {
        self.0.retain(|watch| watch.key != *key);
        if self.0.is_empty() {
            context.table.track_changes(Tracking::Off);
        }
    }

    /// Brings the watched attributes up to date with the table, and tells what that changes.
    pub(super) fn review(&mut self, context: &mut Context) {
        if self.0.is_empty() {
            return;
        }
        let changed = context.table.take_changes();
        for watch in &mut self.0 {
            for id in &changed {
                let record = context.table.get(*id);
                let record = record.filter(|record| counts(record, context.own));
                watch.look(*id, record);
            }
            if watch.is_agreed() == watch.told {
                continue;
            }
            watch.told = watch.is_agreed();
            let key = watch.key.clone();
            context.tell(if watch.told {
                Event::AgreementReached {
                    value: own_value(context, &key),
                    key,
                }
            } else {
                Event::AgreementLost { key }
            });
        }
    }
}

/// What the live members show of an attribute. O(size of all live members' state).
pub(crate) fn agreement(context: &Context, key: &Key) -> Agreement {
    let key = key.as_str().as_bytes();
    let own = context.table.get(context.own);
    let ours = own.and_then(|own| own.log.get(key));
    let mut members: BTreeMap<Option<&[u8]>, Vec<NodeId>> = BTreeMap::new();
    for record in counting(&context.table, context.own) {
        let value = record.log.get(key);
        members.entry(value).or_default().push(record.id);
    }
    let first = members.remove_entry(&ours);
    let shown = first.into_iter().chain(members);
    let shown = shown.map(|(value, members)| Shown {
        // Whatever is in a log has a legal size.
        value: value.and_then(|value| Value::new(value).ok()),
        members,
    });
    Agreement {
        shown: shown.collect(),
    }
}

/// The members whose values count.
fn counting(table: &Table, own: NodeId) -> impl Iterator<Item = &Record> {
    table.iter().filter(move |record| counts(record, own))
}

/// Whether a member's values count: it lives, and has announced itself.
fn counts(record: &Record, own: NodeId) -> bool {
    record.condition == Condition::Live
        && (record.id == own || record.declared() != Declared::Joining)
}

fn own_value(context: &Context, key: &Key) -> Option<Value> {
    let own = context.table.get(context.own)?;
    Value::new(own.log.get(key.as_str().as_bytes())?).ok()
}
