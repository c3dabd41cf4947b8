//! What a whole claim means: the table takes it over, and the application hears what that changes.

use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use crate::command::{Key, Value};
use crate::context::{Context, add};
use crate::event::{Event, UpCause};
use crate::identity::{Generation, Name, NodeId};
use crate::membership::observers::is_near;
use crate::membership::{Condition, Record};
use crate::state::attribute::{ADDRESS, Declared, STATUS, VOTES, user_key};
use crate::state::entry::Entries;
use crate::state::log::{Claim, Log, keys};

/// What a claim has changed of a member. The other machines are told of it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) id: NodeId,
    /// The log before.
    pub(crate) old: Log,
    /// The condition before.
    pub(crate) was: Condition,
    /// Whether the member was unknown before.
    pub(crate) is_new: bool,
    /// Whether the member runs under another generation than before.
    pub(crate) restarted: bool,
    /// Whether the claim says that the member was removed.
    pub(crate) is_removed: bool,
    /// Where a member was that was down until it was removed just now.
    pub(crate) removed_from: Option<SocketAddr>,
    /// The list of votes that it publishes now.
    pub(crate) votes: Vec<u8>,
    /// Whether the application has been told nothing of the member before.
    is_untold: bool,
}

/// What the application is told of a member, beyond what has been told already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// It is up.
    pub(crate) up: Option<UpCause>,
    /// Its attributes.
    attributes: bool,
}

/// Applies a whole claim about another member to the table.
pub(super) fn apply(context: &mut Context, id: NodeId, claim: &Claim<'_>) -> Option<Change> {
    let now = context.now;
    let held = context.table.get(id);
    let old = held.map_or_else(|| Log::new(Generation::ZERO), |record| record.log.clone());
    let was = held.map_or(Condition::Live, |record| record.condition);
    let name = held.map_or_else(Name::placeholder, Record::display_name);
    let joins = |record: &Record| record.declared() == Declared::Joining && !record.returns;
    let is_untold = held.is_none_or(joins);
    let down = held.filter(|record| record.condition == Condition::Down);
    let down_at = down.and_then(Record::address);
    context.table.apply(id, now, claim);
    if let Some(record) = context.table.get_mut(id) {
        record.served = 0;
    }
    context.recent_changes.note(id, now);
    let record = context.table.get(id)?;
    let new = &record.log;
    let after = if claim.after == 0 { 0 } else { old.frontier() };
    let entries = Entries::new(claim.run).after(after);
    add(
        &mut context.metrics.entries_applied,
        Entries::new(entries).count(),
    );

    let restarted = old.frontier() > 0 && new.generation() > old.generation();
    let is_new = old.frontier() == 0;
    // Nobody is behind a log that says nothing, not even an address.
    let is_removed = new.size() == 0 || new.buried().is_some();
    let condition = if is_removed {
        Condition::Removed
    } else if record.declared() == Declared::Left {
        Condition::Left
    } else if matches!(was, Condition::Down | Condition::Removed) && !restarted {
        // A removed member has gone on writing after it was voted down. It may live: as one
        // that is down, it is contacted again, and a word of its own brings it back.
        Condition::Down
    } else {
        Condition::Live
    };
    let moved = old.get(ADDRESS) != new.get(ADDRESS);
    let votes = new.get(VOTES).unwrap_or_default().to_vec();

    let changed = context.table.set_condition(id, now, condition);
    let k = usize::from(context.config.neighbours);
    context.stale.neighbours |=
        changed || (is_new || moved) && is_near(&context.table, context.own, id, k);
    context.stale.verdicts |= changed;
    let is_removed_now = changed && is_removed && !is_new;
    if is_removed_now {
        context.tell(Event::MemberRemoved { id, name });
    }
    Some(Change {
        id,
        old,
        was,
        is_new,
        restarted,
        is_removed,
        removed_from: down_at.filter(|_| is_removed_now),
        votes,
        is_untold,
    })
}

/// Works out what a change means for the status of a member, and tells the application if it has left.
pub(crate) fn tell_status(context: &mut Context, change: &Change) -> Told {
    let id = change.id;
    let mut told = Told {
        up: None,
        attributes: false,
    };
    let before = change
        .old
        .get(STATUS)
        .map(Declared::decode)
        .filter(|_| change.was != Condition::Removed);
    let Some(record) = context.table.get(id) else {
        return told;
    };
    let generation = record.log.generation();
    let condition = record.condition;
    let took_part = matches!(before, Some(Declared::Up | Declared::Leaving));
    let returns = record.returns || change.restarted && before != Some(Declared::Joining);
    let is_up = record.declared() != Declared::Joining;
    told.attributes = took_part || returns || is_up && condition != Condition::Left;
    match condition {
        Condition::Left if took_part && change.was != Condition::Left => {
            context.tell(Event::MemberLeft { id, generation });
        }
        Condition::Live if is_up && (change.restarted || !took_part) => {
            let is_known = before.is_some() && returns;
            told.up = Some(if is_known {
                UpCause::Restarted
            } else {
                UpCause::Joined
            });
        }
        _ => {}
    }
    if let Some(record) = context.table.get_mut(id) {
        // It may declare itself joining first, and be told as up only later.
        record.returns = returns && !is_up;
    }
    told
}

/// Tells the application which attributes of a member have changed.
///
/// The attributes of a joining member are held back until it is up.
pub(crate) fn tell_attributes(context: &mut Context, change: &Change, told: Told) {
    if !told.attributes {
        return;
    }
    let nothing = Log::new(Generation::ZERO);
    let before = if change.is_untold {
        &nothing
    } else {
        &change.old
    };
    let record = context.table.get(change.id);
    let changes = record.map(|record| changes(before, &record.log));
    for (key, value) in changes.into_iter().flatten() {
        let id = change.id;
        context.tell(Event::AttributeChanged { id, key, value });
    }
}

/// The application's keys whose values differ between two states of a log, with the new value.
/// O(n log n) for the n entries of both.
fn changes(old: &Log, new: &Log) -> SmallVec<[(Key, Option<Value>); 2]> {
    let same_life = old.generation() == new.generation();
    let mut changes = SmallVec::new();
    let mut note = |key: &[u8], value: Option<&[u8]>| {
        let Some(Ok(key)) = user_key(key).map(Key::new) else {
            return;
        };
        if let Ok(value) = value.map(Value::new).transpose() {
            changes.push((key, value));
        }
    };
    let known = if same_life { old.frontier() } else { 0 };
    let complete = same_life && new.floor() <= known;
    // Where the log goes on, what was written since is all that can differ.
    let later = new.after(if complete { known } else { 0 });
    let keys = keys(later);
    let find = |key: &[u8]| keys.binary_search_by_key(&key, |(key, _)| *key);
    let mut before = alloc::vec![None; keys.len()];
    for entry in old.entries() {
        match find(entry.key).map(|at| before.get_mut(at)) {
            Ok(Some(before)) => *before = entry.value,
            Err(_) if !complete && entry.value.is_some() => note(entry.key, None),
            _ => {}
        }
    }
    for entry in later {
        let before = find(entry.key).ok().and_then(|at| *before.get(at)?);
        if entry.version > known && before != entry.value {
            note(entry.key, entry.value);
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn shown(log: &Log) -> BTreeMap<&[u8], &[u8]> {
        let entries = log.entries();
        entries
            .filter_map(|entry| Some((entry.key, entry.value?)))
            .collect()
    }

    proptest! {
        /// Whatever was written, deleted and collected in between, and whether or not the later log is
        /// another life: each key that shows something else is told once, and no other.
        #[test]
        fn what_differs_is_told_once(
            writes in proptest::collection::vec((0_u8..6, any::<Option<bool>>(), any::<bool>()), 1..60),
            copy_at in 0_usize..60, restarts in any::<bool>(),
        ) {
            let life = |n| Generation::new(Stamp::from_bits(n));
            let mut log = Log::new(life(1));
            let mut old = Log::default();
            for (step, (key, value, collect)) in writes.into_iter().enumerate() {
                let age = u64::try_from(step).unwrap();
                let value = value.map(|v| [u8::from(v)]);
                log.write(age, &[key + 97], value.as_ref().map(|v| &v[..]));
                if collect {
                    log.collect(age.saturating_sub(3));
                }
                if step == copy_at {
                    old = log.clone();
                    if restarts {
                        log.reissue(life(2), age);
                    }
                }
            }
            let told = changes(&old, &log);
            let mut after: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for (key, value) in shown(&old) {
                after.insert(key.to_vec(), value.to_vec());
            }
            for (key, value) in told {
                let key = key.as_str().as_bytes().to_vec();
                let before = match value {
                    Some(value) => after.insert(key, value.as_bytes().to_vec()) != Some(value.as_bytes().to_vec()),
                    None => after.remove(&key).is_some(),
                };
                prop_assert!(before, "what is told differs");
            }
            let expected: BTreeMap<Vec<u8>, Vec<u8>> =
                shown(&log).into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(after, expected);
        }
    }
}
