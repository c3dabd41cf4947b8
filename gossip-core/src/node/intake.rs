//! What a node makes of what it is told about others: a delta is checked and staged, a whole claim
//! takes effect, and the application hears what that means.

use alloc::vec::Vec;
use core::time::Duration;

use smallvec::SmallVec;

use super::ballots::Life;
use super::own::PROTOCOL_RESERVE;
use super::{NEWCOMER, Node, count};
use crate::command::{Key, Value};
use crate::event::{Event, UpCause};
use crate::failure::votes::VOTE;
use crate::identity::{Generation, Name, NodeId};
use crate::membership::observers::is_near;
use crate::membership::{Condition, Record, Table};
use crate::state::attribute::{ADDRESS, Declared, STATUS, VOTES, decode_ballots};
use crate::state::entry::Entries;
use crate::state::log::{Claim, Log, keys};
use crate::sync::staging::{Begun, Outcome, Sent};
use crate::time::Instant;
use crate::wire::message::Delta;

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// It has taken effect, or has nothing to add.
    Done,
    /// It waits for parts that are on their way.
    Waits,
    /// What lies around it is missing and should be asked for.
    Lacks,
    /// The datagram has brought as many unknown members and votes as it may: this is left for another.
    Full,
}

impl Node {
    /// Generation and frontier up to which an origin is known.
    pub(super) fn known(&self, origin: NodeId) -> (Generation, u64) {
        self.table
            .get(origin)
            .map_or((Generation::ZERO, 0), |record| {
                (record.log.generation(), record.log.frontier())
            })
    }

    /// Takes in a delta.
    pub(super) fn take_in(&mut self, now: Instant, delta: &Delta<'_>, sent: Sent) -> Intake {
        let ours = self.known(delta.origin);
        if (delta.generation, delta.frontier) <= ours {
            return Intake::Done;
        }
        if delta.origin == self.own {
            self.on_own_delta(now, delta);
            return Intake::Done;
        }
        if delta.generation > ours.0
            && let Err(refused) = self.clock.observe(now, delta.generation.stamp())
        {
            count(&mut self.metrics.refused_skew);
            self.tell_skew(now, delta.origin, refused.ahead);
            return Intake::Done;
        }
        let unknown = ours.1 == 0;
        if unknown && self.is_forgotten(now, delta) {
            return Intake::Done;
        }
        if unknown && length(self.table.len()) >= u64::from(self.config.max_members) {
            count(&mut self.metrics.refused_members);
            return Intake::Done;
        }
        let newcomer = if unknown { NEWCOMER } else { 0 };
        let takes = votes(delta.entries).saturating_add(newcomer);
        let Some(room) = self.room.checked_sub(takes) else {
            count(&mut self.metrics.refused_members);
            return Intake::Full;
        };
        self.room = room;
        let held = held(&self.table, delta.origin);
        let max_state = usize::try_from(self.config.max_state)
            .unwrap_or(usize::MAX)
            .saturating_add(PROTOCOL_RESERVE);
        match self.staging.accept(held, delta, sent, max_state) {
            Outcome::Whole(claim) => self.apply(now, delta.origin, &claim),
            Outcome::Completed(staged) => self.apply(now, delta.origin, &staged.claim()),
            Outcome::Stale => {}
            Outcome::Kept if sent == Sent::InParts => return Intake::Waits,
            Outcome::Kept | Outcome::Gap => return Intake::Lacks,
            Outcome::TooLarge => {
                count(&mut self.metrics.refused_state);
                self.staging.discard(delta.origin);
            }
        }
        Intake::Done
    }

    /// The beginning of a partial claim of an origin that a peer could continue.
    pub(super) fn resume(&self, origin: NodeId) -> Option<Begun> {
        self.staging.resume(origin, held(&self.table, origin))
    }

    /// A whole claim about another member: makes it known, and everything that follows from it.
    pub(super) fn apply(&mut self, now: Instant, origin: NodeId, claim: &Claim<'_>) {
        let held = self.table.get(origin);
        let old = held.map_or_else(|| Log::new(Generation::ZERO), |record| record.log.clone());
        let was = held.map_or(Condition::Live, |record| record.condition);
        let name = held.map_or_else(Name::placeholder, Record::display_name);
        let joins = |record: &Record| record.declared() == Declared::Joining && !record.returns;
        let untold = held.is_none_or(joins);
        let down = held.filter(|record| record.condition == Condition::Down);
        let lost = down.and_then(Record::address);
        self.table.apply(origin, now, claim);
        if let Some(record) = self.table.get_mut(origin) {
            record.served = 0;
        }
        self.recents.note(origin, now);
        let Some(record) = self.table.get(origin) else {
            return;
        };
        let new = &record.log;
        let entries =
            Entries::new(claim.run).after(if claim.after == 0 { 0 } else { old.frontier() });
        let applied = Entries::new(entries).count();
        self.metrics.entries_applied = self.metrics.entries_applied.saturating_add(length(applied));

        let restarted = old.frontier() > 0 && new.generation() > old.generation();
        let declared = record.declared();
        // Nobody is behind a log that says nothing, not even an address.
        let buried = new.size() == 0 || new.buried().is_some();
        let condition = if buried {
            Condition::Ghost
        } else if declared == Declared::Left {
            Condition::Left
        } else if matches!(was, Condition::Down | Condition::Ghost) && !restarted {
            // A removed member has gone on writing after it was voted down. It may live: as one
            // that is down, it is contacted again, and a word of its own brings it back.
            Condition::Down
        } else {
            Condition::Live
        };
        let moved = old.get(ADDRESS) != new.get(ADDRESS);
        let ballots: Vec<u8> = new.get(VOTES).unwrap_or_default().to_vec();
        let generation = new.generation();

        let is_new = old.frontier() == 0;
        let changed = self.table.set_condition(origin, now, condition);
        let k = usize::from(self.config.neighbours);
        self.stale.neighbours |=
            changed || (is_new || moved) && is_near(&self.table, self.own, origin, k);
        self.stale.verdicts |= changed || is_new && self.is_anybody_contested();
        if changed && buried && !is_new {
            // Whoever brought this has removed it.
            if let Some(address) = lost {
                self.lost.note(origin, address);
            }
            self.events.push(Event::MemberRemoved { id: origin, name });
        }
        if restarted {
            self.on_restart(now, origin, generation);
        }
        // Who is removed has not changed its mind either.
        let life = if restarted || buried {
            Life::Another
        } else {
            Life::Same
        };
        self.on_votes(
            now,
            origin,
            life,
            old.get(VOTES).unwrap_or_default(),
            &ballots,
        );
        if was != Condition::Ghost {
            self.on_progress(now, origin);
        }
        let before = old
            .get(STATUS)
            .map(Declared::decode)
            .filter(|_| was != Condition::Ghost);
        let told = self.tell_status(origin, before, was, restarted);
        // Of who is joining nothing is told until it is up, and then all.
        let nothing = Log::new(Generation::ZERO);
        let before = if untold { &nothing } else { &old };
        let record = self.table.get(origin).filter(|_| told);
        let changes = record.map(|record| changes(before, &record.log));
        for (key, value) in changes.into_iter().flatten() {
            self.events.push(Event::AttributeChanged {
                id: origin,
                key,
                value,
            });
        }
        self.tell_broadcasts(now, origin, &old);
    }

    /// Tells the application what a member's new log means for its status. Returns whether the
    /// application has been told of the member.
    fn tell_status(
        &mut self,
        id: NodeId,
        before: Option<Declared>,
        was: Condition,
        restarted: bool,
    ) -> bool {
        let Some(record) = self.table.get(id) else {
            return false;
        };
        let generation = record.log.generation();
        let took_part = matches!(before, Some(Declared::Up | Declared::Leaving));
        let returns = record.returns || restarted && before != Some(Declared::Joining);
        let is_up = record.declared() != Declared::Joining;
        let told = took_part || returns || is_up && record.condition != Condition::Left;
        match record.condition {
            Condition::Left if took_part && was != Condition::Left => {
                self.events.push(Event::MemberLeft { id, generation });
            }
            Condition::Live if is_up && (restarted || !took_part) => {
                let known = before.is_some() && returns;
                self.tell_up(
                    id,
                    if known {
                        UpCause::Restarted
                    } else {
                        UpCause::Joined
                    },
                );
            }
            _ => {}
        }
        if let Some(record) = self.table.get_mut(id) {
            // It may declare itself joining first, and be told as up only later.
            record.returns = returns && !is_up;
        }
        told
    }

    pub(super) fn tell_skew(&mut self, now: Instant, id: NodeId, ahead: Duration) {
        let quiet = self.intervals(60);
        let told = self
            .skew_told
            .is_some_and(|(of, at)| of == id && now.saturating_since(at) < quiet);
        if !told {
            self.skew_told = Some((id, now));
            self.events.push(Event::ClockSkew { id, ahead });
        }
    }
}

/// Bytes that the votes in a run of entries take beside it.
fn votes(run: &[u8]) -> usize {
    let lists = Entries::new(run).filter(|entry| entry.key == VOTES);
    let ballots = lists.flat_map(|entry| decode_ballots(entry.value.unwrap_or_default()));
    ballots.count().saturating_mul(VOTE)
}

/// The log of an origin that a delta could continue. Of a removed member nothing is held.
fn held(table: &Table, origin: NodeId) -> Option<&Log> {
    let record = table.get(origin)?;
    (record.condition != Condition::Ghost).then_some(&record.log)
}

/// The application's keys whose values differ between two states of a log, with the new value.
/// O(n log n) for the n entries of both.
fn changes(old: &Log, new: &Log) -> SmallVec<[(Key, Option<Value>); 2]> {
    let same_life = old.generation() == new.generation();
    let mut changes = SmallVec::new();
    let mut note = |key: &[u8], value: Option<&[u8]>| {
        let Some(Ok(key)) = crate::state::attribute::user_key(key).map(Key::new) else {
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

fn length(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
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
