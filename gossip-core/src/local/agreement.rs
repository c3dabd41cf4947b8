//! Whether all live members show the same value of an attribute.
//!
//! Every member publishes its own value, and every node compares what the members have published. So
//! whatever a member shows here, it has written itself. Cassandra agrees on a schema in this way. An
//! acknowledgement by the others of what one node wrote would cost as much and say less.
//!
//! # Invariants of a watched attribute
//!
//! - A digest is kept of each member that counts, and of no other.
//! - `counts` says how many members show each digest, and holds no zero.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use rand_core::Rng;
use siphasher::sip::SipHasher24;

use super::Standing;
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
    /// How far this node has come. It can tell of an agreement only while it is up.
    pub standing: Standing,
    /// Each value that is shown, with the members that show it. The value that this node shows comes
    /// first, then the others in their order.
    pub shown: Vec<Shown>,
}

/// A value, and the members that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// The value, or `None` of members without the attribute.
    pub value: Option<Value>,
    /// The members, in the order of their ids.
    pub members: Vec<NodeId>,
}

impl Agreement {
    /// Whether all members show the same value, or none shows any. A node that has not joined yet or is
    /// leaving says no: it does not know what the others show, or it is no longer one of them.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.standing == Standing::Up && self.shown.len() <= 1
    }

    /// How many members show what this node shows, itself included.
    #[must_use]
    pub fn agreeing(&self) -> usize {
        self.shown.first().map_or(0, |shown| shown.members.len())
    }

    /// The members that show something else than this node.
    pub fn differing(&self) -> impl Iterator<Item = NodeId> + '_ {
        let others = self.shown.iter().skip(1);
        others.flat_map(|shown| &shown.members).copied()
    }
}

/// The attributes whose agreement the application is told of.
#[derive(Debug, Default)]
pub(super) struct Watches(Vec<Watch>);

/// One watched attribute.
#[derive(Debug)]
struct Watch {
    key: Key,
    /// Makes the digests.
    digest: SipHasher24,
    /// A digest of what each member shows.
    shown: BTreeMap<NodeId, u64>,
    /// How many members show each digest.
    counts: BTreeMap<u64, usize>,
    /// Whether the application was told last that all agree.
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

    /// Takes over what a member shows now; `None` if the member does not count any more.
    ///
    /// O(log members) if its value has changed, beyond the search in the member's own state.
    fn look(&mut self, id: NodeId, record: Option<&Record>) {
        let new = record.map(|record| {
            let value = record.log.get(self.key.as_str().as_bytes());
            // No value differs from an empty one: a digest of a value is never 0.
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
            let count = self.counts.entry(new).or_insert(0);
            *count = count.saturating_add(1);
        }
        if let Some(old) = old {
            self.uncount(old);
        }
        debug_assert!(self.counts.len() <= self.shown.len());
    }

    /// One member less shows a digest.
    fn uncount(&mut self, old: u64) {
        let Some(count) = self.counts.get_mut(&old) else {
            debug_assert!(false, "a digest that was shown is counted");
            return;
        };
        debug_assert!(*count > 0);
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(&old);
        }
    }

    /// Whether the counts add up. O(members).
    #[cfg(test)]
    fn check(&self) {
        let mut counts = BTreeMap::new();
        for digest in self.shown.values() {
            *counts.entry(*digest).or_insert(0) += 1;
        }
        assert_eq!(counts, self.counts);
    }
}

impl Watches {
    /// Whether all live members show the same of an attribute. `None` unless it is watched. O(1).
    pub(super) fn is_agreed(&self, key: &Key) -> Option<bool> {
        let watch = self.0.iter().find(|watch| watch.key == *key);
        watch.map(Watch::is_agreed)
    }

    /// Begins to watch an attribute. Watching it a second time changes nothing.
    ///
    /// # Errors
    /// [`CommandError::TooManyWatched`].
    pub(super) fn watch(&mut self, context: &mut Context, key: Key) -> Result<(), CommandError> {
        if self.0.iter().any(|watch| watch.key == key) {
            return Ok(());
        }
        if self.0.len() >= MAX_WATCHED {
            return Err(CommandError::TooManyWatched);
        }
        // The digest has a key, so that nobody can pick two values that look the same.
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
    pub(super) fn unwatch(&mut self, context: &mut Context, key: &Key) {
        self.0.retain(|watch| watch.key != *key);
        if self.0.is_empty() {
            context.table.track_changes(Tracking::Off);
        }
    }

    /// Whether the invariants of all watched attributes hold. O(members).
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.0.iter().for_each(Watch::check);
    }

    /// Brings the watched attributes up to date with the table, and tells the application what has
    /// changed, if this node is up.
    pub(super) fn review(&mut self, context: &mut Context, standing: Standing) {
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
            if standing != Standing::Up || watch.is_agreed() == watch.told {
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
pub(crate) fn agreement(context: &Context, standing: Standing, key: &Key) -> Agreement {
    let key = key.as_str().as_bytes();
    let ours = context.own_log().and_then(|own| own.get(key));
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
        standing,
        shown: shown.collect(),
    }
}

/// The members whose values count.
fn counting(table: &Table, own: NodeId) -> impl Iterator<Item = &Record> {
    table.iter().filter(move |record| counts(record, own))
}

/// Whether a member's values count. It must be live. Another node must have announced itself, too.
fn counts(record: &Record, own: NodeId) -> bool {
    record.condition == Condition::Live
        && (record.id == own || record.declared() != Declared::Joining)
}

/// The value that this node shows of an attribute.
fn own_value(context: &Context, key: &Key) -> Option<Value> {
    Value::new(context.own_log()?.get(key.as_str().as_bytes())?).ok()
}
