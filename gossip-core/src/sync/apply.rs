//! What a whole claim means: the table takes it over, and the application is told what that changes.
//!
//! `apply` changes the table and returns a [`MemberChange`]. The node tells the other machines
//! of it. Then it has the application told, by [`tell_status`] and [`tell_attributes`].

use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use crate::command::{Key, Value};
use crate::context::{Context, add, count};
use crate::event::Event;
use crate::identity::{Generation, Name, NodeId};
use crate::membership::observers::is_near;
use crate::membership::{Condition, Record, Told};
use crate::state::attribute::{ADDRESS, Declared, STATUS, VOTES, user_key};
use crate::state::entry::Entries;
use crate::state::log::{Claim, Log, keys};

/// What a claim has changed about a member. The other machines are told of it.
#[derive(Debug)]
pub(crate) struct MemberChange {
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
    /// The address that the member had when this claim removed it, if it was down until then.
    pub(crate) address_when_removed: Option<SocketAddr>,
    /// The list of votes that it publishes now.
    pub(crate) votes: Vec<u8>,
}

/// Whether the application is told what a change means for the attributes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attributes {
    /// It is: it knows the member.
    Told,
    /// They are held back until it is told that the member is up.
    HeldBack,
}

/// Applies a whole claim about another member to the table.
pub(super) fn apply(context: &mut Context, id: NodeId, claim: &Claim<'_>) -> Option<MemberChange> {
    debug_assert_ne!(id, context.own, "only this node writes its log");
    let now = context.now;
    let held = context.table.get(id);
    let old = held.map_or_else(|| Log::new(Generation::ZERO), |record| record.log.clone());
    let was = held.map_or(Condition::Live, |record| record.condition);
    let name = held.map_or_else(Name::placeholder, Record::display_name);
    let down = held.filter(|record| record.condition == Condition::Down);
    let down_at = down.and_then(Record::address);
    context.table.apply(id, now, claim);
    if let Some(record) = context.table.get_mut(id) {
        record.served = 0;
    }
    context.recent_changes.note(id, now);
    count_entries(context, claim, &old);

    let Some(record) = context.table.get(id) else {
        debug_assert!(false, "the table has taken over the claim");
        return None;
    };
    let new = &record.log;
    debug_assert_eq!(new.generation(), claim.generation);
    debug_assert!(new.frontier() >= claim.frontier);
    let restarted = old.frontier() > 0 && new.generation() > old.generation();
    let is_new = old.frontier() == 0;
    // A log that says nothing, not even an address, has no node behind it.
    let is_removed = new.size() == 0 || new.buried().is_some();
    let condition = if is_removed {
        Condition::Removed
    } else {
        condition_of(record, was, restarted)
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
    Some(MemberChange {
        id,
        old,
        was,
        is_new,
        restarted,
        is_removed,
        address_when_removed: down_at.filter(|_| is_removed_now),
        votes,
    })
}

/// Counts the entries of a claim that the log before did not hold.
fn count_entries(context: &mut Context, claim: &Claim<'_>, old: &Log) {
    let after = if claim.after == 0 { 0 } else { old.frontier() };
    let entries = Entries::new(claim.run).after(after);
    let n = Entries::new(entries).count();
    add(&mut context.metrics.entries_applied, n);
}

/// The condition of a member whose log says that it was not removed.
fn condition_of(record: &Record, was: Condition, restarted: bool) -> Condition {
    if record.declared() == Declared::Left {
        Condition::Left
    } else if matches!(was, Condition::Down | Condition::Removed) && !restarted {
        // A removed member wrote more after it was voted down, so it may be alive. A node contacts a
        // member that is down, and the member's own word then brings it back.
        Condition::Down
    } else {
        Condition::Live
    }
}

/// Tells the application if a member that it knows has left, and notes if the member has restarted.
pub(crate) fn tell_status(context: &mut Context, change: &MemberChange) -> Attributes {
    let (id, now) = (change.id, context.now);
    let before = change
        .old
        .get(STATUS)
        .map(Declared::decode)
        .filter(|_| change.was != Condition::Removed);
    let Some(record) = context.table.get_mut(id) else {
        debug_assert!(false, "a member that has changed is in the table");
        return Attributes::HeldBack;
    };
    record.returns |= change.restarted && record.told != Told::Never;
    let took_part = matches!(before, Some(Declared::Up | Declared::Leaving));
    if record.is_untold() && (change.restarted || !took_part) {
        // It is news from now on that the member is up.
        record.since = now;
        record.is_doubted = false;
    }
    if record.told == Told::Never {
        return Attributes::HeldBack;
    }
    let has_left = record.condition == Condition::Left && change.was != Condition::Left;
    if has_left && took_part {
        record.told = Told::Ended;
        let generation = record.log.generation();
        context.tell(Event::MemberLeft { id, generation });
    }
    Attributes::Told
}

/// Tells the application if a member was configured otherwise than this node. A log holds the settings, if it has any,
/// before the status: what came in parts is complete in this with the status.
pub(crate) fn tell_settings(context: &mut Context, change: &MemberChange) {
    let Some(record) = context.table.get(change.id) else {
        debug_assert!(false, "a member that has changed is in the table");
        return;
    };
    let knew = change.old.get(STATUS).is_some() && !change.restarted;
    let knows = record.log.get(STATUS).is_some() && !change.is_removed;
    let ours = context.table.get(context.own).and_then(Record::settings);
    let theirs = record.settings();
    if knows && !knew && theirs != ours {
        let [theirs, ours] = [theirs, ours].map(|shown| {
            let digest = shown.map(|(_, digest)| digest);
            digest.unwrap_or_default()
        });
        count(&mut context.metrics.settings_differed);
        let id = change.id;
        context.tell(Event::SettingsDiffer { id, theirs, ours });
    }
}

/// Tells the application which attributes of a member differ from an earlier state of its log.
pub(crate) fn tell_attributes(context: &mut Context, id: NodeId, old: &Log) {
    let record = context.table.get(id);
    let changes = record.map(|record| changes(old, &record.log));
    for (key, value) in changes.into_iter().flatten() {
        context.tell(Event::AttributeChanged { id, key, value });
    }
}

/// The application's keys whose values differ between two states of a log, with their new values.
/// O(n log n) for the n entries of both.
fn changes(old: &Log, new: &Log) -> SmallVec<[(Key, Option<Value>); 2]> {
    let same_generation = old.generation() == new.generation();
    let mut changes = SmallVec::new();
    let mut note = |key: &[u8], value: Option<&[u8]>| {
        let Some(Ok(key)) = user_key(key).map(Key::new) else {
            return;
        };
        if let Ok(value) = value.map(Value::new).transpose() {
            changes.push((key, value));
        }
    };
    let known = if same_generation { old.frontier() } else { 0 };
    let complete = same_generation && new.floor() <= known;
    // If the old log was only continued, then only keys that were written since can differ.
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
    use crate::context::testing::{address, context, generation, log_of};
    use crate::hlc::Stamp;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn shown(log: &Log) -> BTreeMap<&[u8], &[u8]> {
        let entries = log.entries();
        entries
            .filter_map(|entry| Some((entry.key, entry.value?)))
            .collect()
    }

    /// Applies a log as it is now, and returns what the application is told of it.
    fn learn(context: &mut Context, number: u16, log: &Log) -> Vec<Event> {
        let id = NodeId::from_u64(u64::from(number));
        let change = apply(context, id, &log.claim_after(0)).unwrap();
        if tell_status(context, &change) == Attributes::Told {
            tell_attributes(context, id, &change.old);
        }
        context.drain_events().collect()
    }

    fn record(context: &mut Context, number: u16) -> &mut Record {
        let id = NodeId::from_u64(u64::from(number));
        context.table.get_mut(id).unwrap()
    }

    fn attribute(events: &[Event]) -> Option<&[u8]> {
        events.iter().find_map(|event| match event {
            Event::AttributeChanged { value, .. } => Some(value.as_ref()?.as_bytes()),
            _ => None,
        })
    }

    #[test]
    fn the_attributes_of_a_member_are_held_back_until_it_is_told_to_be_up() {
        let mut context = context(|_| ());
        let mut log = log_of(generation(), 1, Declared::Joining);
        log.write(0, b"role", Some(b"db"));
        assert_eq!(learn(&mut context, 1, &log), []);
        assert!(!record(&mut context, 1).is_untold(), "it joins");
        log.write(0, STATUS, Some(Declared::Up.encode()));
        assert_eq!(learn(&mut context, 1, &log), []);
        assert!(record(&mut context, 1).is_untold());
        record(&mut context, 1).told = Told::Up;
        log.write(0, b"role", Some(b"web"));
        let events = learn(&mut context, 1, &log);
        assert_eq!(attribute(&events), Some(&b"web"[..]));
    }

    #[test]
    fn a_member_that_has_restarted_is_to_be_told_again_once_it_is_up() {
        let mut context = context(|_| ());
        learn(&mut context, 1, &log_of(generation(), 1, Declared::Up));
        record(&mut context, 1).told = Told::Up;
        let later = Generation::new(generation().stamp().next());
        let mut second = log_of(later, 1, Declared::Joining);
        learn(&mut context, 1, &second);
        assert!(record(&mut context, 1).returns);
        assert!(!record(&mut context, 1).is_untold());
        second.write(0, STATUS, Some(Declared::Up.encode()));
        learn(&mut context, 1, &second);
        assert!(record(&mut context, 1).is_untold());
    }

    #[test]
    fn leaving_and_removal_are_told_once() {
        let mut context = context(|_| ());
        let mut log = log_of(generation(), 1, Declared::Up);
        learn(&mut context, 1, &log);
        record(&mut context, 1).told = Told::Up;
        log.write(0, STATUS, Some(Declared::Left.encode()));
        let events = learn(&mut context, 1, &log);
        assert!(matches!(events[..], [Event::MemberLeft { .. }]));
        log.write(0, b"role", Some(b"db"));
        log.bury(0);
        let events = learn(&mut context, 1, &log);
        assert!(matches!(events[..], [Event::MemberRemoved { .. }]));
        log.write(0, b"role", Some(b"db"));
        log.bury(0);
        assert_eq!(learn(&mut context, 1, &log), []);
    }

    #[test]
    fn nothing_is_told_of_the_end_of_a_member_that_was_never_told_to_be_up() {
        let mut context = context(|_| ());
        let mut log = log_of(generation(), 1, Declared::Up);
        learn(&mut context, 1, &log);
        log.write(0, STATUS, Some(Declared::Left.encode()));
        assert_eq!(learn(&mut context, 1, &log), []);
    }

    #[test]
    fn a_member_that_is_down_stays_so_whatever_others_tell_of_the_same_generation() {
        let mut context = context(|_| ());
        let id = context.learn(1);
        let now = context.now;
        context.table.set_condition(id, now, Condition::Down);
        let mut log = log_of(generation(), 1, Declared::Up);
        log.write(0, b"role", Some(b"db"));
        learn(&mut context, 1, &log);
        assert_eq!(context.table.get(id).unwrap().condition, Condition::Down);
        log.bury(0);
        log.write(0, b"role", None);
        let change = apply(&mut context, id, &log.claim_after(0)).unwrap();
        assert_eq!(change.address_when_removed, Some(address(1)));
    }

    proptest! {
        /// Each key that shows another value is told once, and no other key is told. That holds whatever
        /// was written, deleted and collected in between, and also if the generation is another one.
        #[test]
        fn what_differs_is_told_once(
            writes in proptest::collection::vec((0_u8..6, any::<Option<bool>>(), any::<bool>()), 1..60),
            copy_at in 0_usize..60, restarts in any::<bool>(),
        ) {
            let generation = |n| Generation::new(Stamp::from_bits(n));
            let mut log = Log::new(generation(1));
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
                        log.reissue(generation(2), age);
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
