//! What becomes of members that are gone: they are removed, a tombstone stays, and at last that is
//! pruned, too.
//!
//! A **member tombstone** keeps a replica that has not removed a member yet from bringing it back. It is
//! part of the table hash, so all replicas must prune it together. Each node keeps a **prune time**, a
//! second of Unix time. It is told at the head of every leg and merged by maximum. A tombstone that was
//! buried at or before the prune time is pruned, and not taken in again. The time of burial travels with
//! the tombstone: where members removed one at different moments and the prune time comes to lie between,
//! the later one counts.
//!
//! A node raises the prune time where it holds a tombstone for longer than `forget_after`, or more than
//! `max_tombstones` of them. It never raises it beyond [`LINGERS`], the time in which all who will remove a
//! member have done so. A tombstone that comes back all the same, from a replica that slept through the
//! prune time, is a member that nobody hears: it is found silent, goes down and is removed once more.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::member::buried_at;
use super::removed_addresses::RemovedAddresses;
use super::{Condition, Record};
use crate::context::Context;
use crate::event::Event;
use crate::hlc::Clock;
use crate::identity::NodeId;
use crate::state::attribute::BURIED;
use crate::state::entry::Entries;
use crate::time::Instant;
use crate::wire::message::Delta;

/// Intervals for which a tombstone is kept whatever the bounds are.
const LINGERS: u32 = 64;

/// Records looked after in one round, at least. Small: what is tended (removal after a day, tombstones
/// after ten) is in no hurry. More where a turn would take more than `TENDING` rounds, so that no churn
/// outruns it.
const TENDED: usize = 4;
const TENDING: usize = 64;

/// The removal of members and of what is left of them. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Tombstones buried at or before this second of Unix time are pruned.
    prune_time: u64,
    /// Where members were that were removed while they were down.
    addresses: RemovedAddresses,
    /// The position in the table of the record that was looked after last.
    tended: usize,
}

impl Removal {
    /// Tombstones buried at or before this second of Unix time are pruned.
    pub(crate) const fn prune_time(&self) -> u64 {
        self.prune_time
    }

    /// How many removed members are still looked for.
    pub(crate) fn sought(&self) -> usize {
        self.addresses.len()
    }

    /// A member that was down is removed.
    pub(crate) fn note(&mut self, id: NodeId, address: SocketAddr) {
        self.addresses.note(id, address);
    }

    /// A removed member is not to be looked for any more.
    pub(crate) fn forget(&mut self, id: NodeId) {
        self.addresses.forget(id);
    }

    /// Asks where a removed member was: the one at this position.
    pub(crate) fn look_for(&mut self, context: &mut Context, at: usize) {
        let Some((id, address)) = self.addresses.get(at) else {
            return;
        };
        let returned = context.table.condition(id);
        if matches!(returned, Some(Condition::Live | Condition::Down)) {
            self.addresses.forget(id);
        } else {
            context.begin_exchange(address);
        }
    }

    /// A peer has pruned the tombstones up to here, or it is time to. A prune time in the future is
    /// not believed: it is somebody's clock.
    pub(crate) fn raise_prune_time(&mut self, context: &mut Context, told: u64) {
        let second = second(&context.clock, context.now);
        if self.prune_time > second {
            // The own clock was ahead when this was set.
            self.prune_time = 0;
        }
        if told <= self.prune_time || told > second {
            return;
        }
        self.prune_time = told;
        let (clock, now) = (&context.clock, context.now);
        context
            .table
            .forget(|record| buried(clock, now, record) <= told);
        let table = &context.table;
        context.recent_changes.retain(|id| table.get(id).is_some());
    }

    /// Whether a delta tells of a tombstone that was pruned here.
    pub(crate) fn is_pruned(&self, context: &Context, delta: &Delta<'_>) -> bool {
        let burial = Entries::new(delta.entries).find(|entry| entry.key == BURIED);
        burial.is_some_and(|burial| {
            let buried = buried_at(delta.generation, burial.age);
            buried.min(second(&context.clock, context.now)) <= self.prune_time
        })
    }

    /// How many records are looked after in this round.
    pub(crate) fn turn(context: &Context) -> usize {
        let members = context.table.len();
        let turn = members.div_ceil(TENDING).max(TENDED);
        turn.min(members)
    }

    /// Goes on to the next record. Tells whether a turn through the table begins with it; tombstones that
    /// are old or many are pruned then.
    pub(crate) fn next(&mut self, context: &mut Context) -> bool {
        self.tended = self.tended.saturating_add(1);
        let is_first = self.tended >= context.table.len();
        if is_first {
            self.tended = 0;
            let due = due_prune_time(context);
            self.raise_prune_time(context, due);
        }
        is_first
    }

    /// The record to look after.
    pub(crate) fn record<'a>(&self, context: &'a Context) -> Option<&'a Record> {
        context.table.record_at(self.tended)
    }

    /// Removes a member. A tombstone stays, so that nobody brings it back.
    pub(crate) fn remove(&mut self, context: &mut Context, id: NodeId) {
        let Some(record) = context.table.get(id) else {
            return;
        };
        debug_assert_ne!(id, context.own, "a node does not remove itself");
        let (name, generation) = (record.display_name(), record.log.generation());
        if record.condition == Condition::Down
            && let Some(address) = record.address()
        {
            self.addresses.note(id, address);
        }
        let age = context.age_of(generation);
        context.table.change_log(id, |log| log.bury(age));
        context
            .table
            .set_condition(id, context.now, Condition::Removed);
        context.stale.neighbours = true;
        context.stale.verdicts = true;
        context.tell(Event::MemberRemoved { id, name });
    }
}

/// Whether a member has been down or left for so long that it may be removed, as far as time alone says.
pub(crate) fn has_left_for_long(context: &Context, record: &Record) -> bool {
    record.condition == Condition::Left
        && record.id != context.own
        && context.now.saturating_since(record.since) >= context.config.remove_after
}

/// Collects the tombstones of a log that are older than `gc_grace`.
pub(crate) fn collect(context: &mut Context, id: NodeId) {
    let Some(record) = context.table.get(id) else {
        return;
    };
    let began = record.log.generation().stamp().time().as_millis();
    let grace = u64::try_from(context.config.gc_grace.as_millis()).unwrap_or(u64::MAX);
    let wall = context.clock.wall(context.now).as_millis();
    if let Some(age) = wall.saturating_sub(began).checked_sub(grace)
        && record.log.has_tombstone(age)
    {
        context.table.change_log(id, |log| log.collect(age));
    }
}

/// Where the prune_time should be by this node's own ghosts; 0 where it need not rise.
fn due_prune_time(context: &Context) -> u64 {
    let seconds = |time: Duration| time.as_secs();
    let second = second(&context.clock, context.now);
    let tombstones = context
        .table
        .iter()
        .filter(|record| record.condition == Condition::Removed)
        .map(|record| buried(&context.clock, context.now, record));
    let (count, eldest) = tombstones
        .clone()
        .fold((0_usize, u64::MAX), |(count, eldest), buried| {
            (count.saturating_add(1), eldest.min(buried))
        });
    let lingers = second.saturating_sub(seconds(context.intervals(LINGERS)));
    let kept = seconds(context.config.forget_after);
    // A sixteenth later, so that many go at a time.
    let overdue = eldest
        .saturating_add(kept)
        .saturating_add(kept.div_euclid(16))
        <= second;
    // They leave half of the places that others do not take to newcomers.
    let places = usize::try_from(context.config.max_members).unwrap_or(usize::MAX);
    let free = places.saturating_sub(context.table.len().saturating_sub(count));
    let max = usize::try_from(context.config.max_tombstones).unwrap_or(usize::MAX);
    let max = max.min(free.div_euclid(2));
    let mut prune_time = 0;
    if overdue {
        prune_time = second.saturating_sub(kept);
    }
    if count > max {
        // An eighth more than must, so that many go at a time.
        let over = count.saturating_sub(max).saturating_add(max.div_euclid(8));
        let mut buried: Vec<u64> = tombstones.collect();
        buried.sort_unstable();
        let last = over.min(count).saturating_sub(1);
        prune_time = buried.get(last).copied().unwrap_or(0).max(prune_time);
    }
    prune_time.min(lingers)
}

/// The Unix time, in seconds.
fn second(clock: &Clock, now: Instant) -> u64 {
    clock.wall(now).as_millis().div_euclid(1000)
}

/// When a ghost was buried, in seconds of Unix time. A time later than when this node learned of it
/// is a forgery, or somebody's clock.
fn buried(clock: &Clock, now: Instant, ghost: &Record) -> u64 {
    let ago = now.saturating_since(ghost.since).as_secs();
    let learned = second(clock, now).saturating_sub(ago);
    ghost.buried().unwrap_or(learned).min(learned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::context::testing::{OWN, WALL, at, context, generation};

    fn wall() -> u64 {
        WALL.as_millis().div_euclid(1000)
    }

    /// A node that removed members 1, 2 and 3 after 10, 20 and 30 s.
    fn mourner(change: impl FnOnce(&mut Config)) -> (Removal, Context) {
        let (mut removal, mut context) = (Removal::default(), context(change));
        for number in 1..=3 {
            let id = context.learn(number);
            context.now = at(10_000 * u64::from(number));
            removal.remove(&mut context, id);
        }
        (removal, context)
    }

    #[test]
    fn tombstones_up_to_the_prune_time_are_pruned_and_not_taken_in_again() {
        let (mut removal, mut context) = mourner(|_| {});
        let hash = context.table.hash();
        let first = context.table.get(NodeId::from_u64(1)).unwrap().log.clone();
        context.now = at(40_000);
        removal.raise_prune_time(&mut context, wall() + 20);
        assert_eq!(context.table.len(), 2);
        assert!(context.table.get(NodeId::from_u64(3)).is_some());
        let delta = Delta {
            origin: NodeId::from_u64(1),
            generation: generation(),
            after: 0,
            upto: first.frontier(),
            frontier: first.frontier(),
            floor: first.frontier(),
            entries: first.after(0).rest(),
        };
        assert!(removal.is_pruned(&context, &delta));
        removal.prune_time = 0;
        assert!(!removal.is_pruned(&context, &delta));
        removal.raise_prune_time(&mut context, wall() + 40);
        assert_eq!(context.table.len(), 1);
        assert_ne!(context.table.hash(), hash);
        assert_eq!(context.table.hash(), context.table.own_contribution(OWN));
    }

    #[test]
    fn a_prune_time_in_the_future_is_not_believed() {
        let (mut removal, mut context) = mourner(|_| {});
        context.now = at(40_000);
        removal.raise_prune_time(&mut context, wall() + 41);
        removal.raise_prune_time(&mut context, u64::MAX);
        assert_eq!((context.table.len(), removal.prune_time), (4, 0));
        // Nor the own one, set while the clock was ahead.
        removal.prune_time = wall() + 1_000_000;
        removal.raise_prune_time(&mut context, wall() + 10);
        assert_eq!((context.table.len(), removal.prune_time), (3, wall() + 10));
    }

    fn prune_due(removal: &mut Removal, context: &mut Context, second: u64) -> usize {
        context.now = at(second * 1000);
        let due = due_prune_time(context);
        removal.raise_prune_time(context, due);
        context.table.len()
    }

    #[test]
    fn old_tombstones_are_pruned_and_young_ones_linger() {
        let (mut removal, mut context) = mourner(|config| {
            config.gc_grace = Duration::from_secs(60);
            config.forget_after = Duration::from_secs(160);
        });
        let (removal, context) = (&mut removal, &mut context);
        assert_eq!(prune_due(removal, context, 179), 4, "160 s and a sixteenth");
        assert_eq!(prune_due(removal, context, 181), 2, "older than 160 s");
        context.config.max_tombstones = 0;
        context.config.forget_after = Duration::from_secs(3600);
        assert_eq!(
            prune_due(removal, context, 93),
            2,
            "younger than 64 intervals"
        );
        assert_eq!(prune_due(removal, context, 94), 1);
    }

    /// However many members have gone at once, their removal is a matter of a minute.
    #[test]
    fn many_members_that_left_are_removed_in_as_many_rounds_as_few() {
        for members in [10, 100, 3000] {
            let (mut removal, mut context) = (Removal::default(), context(|_| {}));
            for number in 1..=members {
                let id = context.learn(number);
                context.table.set_condition(id, at(0), Condition::Left);
            }
            context.now = context.now.saturating_add(context.config.remove_after);
            for _ in 0..=TENDING {
                for _ in 0..Removal::turn(&context) {
                    removal.next(&mut context);
                    let Some(record) = removal.record(&context) else {
                        continue;
                    };
                    if has_left_for_long(&context, record) {
                        let id = record.id;
                        removal.remove(&mut context, id);
                    }
                }
            }
            let of = |condition| move |record: &&Record| record.condition == condition;
            let left = context.table.iter().filter(of(Condition::Left)).count();
            let removed = context.table.iter().filter(of(Condition::Removed)).count();
            assert_eq!((left, removed > 0), (0, true), "of {members}");
        }
    }
}
