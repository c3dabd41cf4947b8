//! What becomes of members that are gone: a member is removed and leaves a tombstone, and in the end the
//! tombstone is pruned.
//!
//! A **member tombstone** prevents that a replica which has not removed the member yet brings it back. It
//! is part of the table hash, so all replicas must prune it together. For that, each node keeps a **prune
//! time**, a second of Unix time. Every leg of an exchange tells it, and a node takes over a greater one. A
//! node prunes the tombstones of members that were removed at or before the prune time, and does not accept
//! them again. The time of removal travels with the tombstone. If two nodes removed a member at different
//! times, and the prune time lies between, the tombstone stays until the prune time has passed both.
//!
//! A node raises the prune time if
//!
//! - it has held a tombstone for longer than `forget_after`, or
//! - it holds more than `max_tombstones` tombstones.
//!
//! It never raises the prune time beyond [`LINGERS`] ago: by then, every node that removes a member has done
//! so. A replica that slept through the prune time may still bring a tombstone back. Nobody hears such a
//! member, so it goes down and is removed once more.

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

/// Intervals for which a tombstone is kept, whatever the bounds say.
const LINGERS: u32 = 64;

/// The fewest records that a node looks after in one round. It is small, because removal after a day and
/// tombstones after ten are in no hurry.
const TENDED: usize = 4;

/// The most rounds that one turn through the table takes, however large the table is: so no churn outruns
/// it.
const TENDING: usize = 64;

/// The removal of members and of what is left of them. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Tombstones of members that were removed at or before this second of Unix time are pruned.
    prune_time: u64,
    /// The addresses of members that were removed while they were down.
    addresses: RemovedAddresses,
    /// The position in the table of the record that was looked after last.
    tended: usize,
}

impl Removal {
    /// Tombstones of members that were removed at or before this second of Unix time are pruned.
    pub(crate) const fn prune_time(&self) -> u64 {
        self.prune_time
    }

    /// How many removed members this node still looks for.
    pub(crate) fn sought(&self) -> usize {
        self.addresses.len()
    }

    /// A member that was down has been removed: this node goes on to look for it.
    pub(crate) fn note(&mut self, id: NodeId, address: SocketAddr) {
        self.addresses.note(id, address);
    }

    /// A removed member is no longer looked for.
    pub(crate) fn forget(&mut self, id: NodeId) {
        self.addresses.forget(id);
    }

    /// Begins an exchange with the address of a removed member: the one at this position, if there is one.
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

    /// Takes over a prune time that a peer tells, or that has become due here, if it is greater than the own.
    ///
    /// A prune time in the future comes from a clock that is wrong, and is ignored.
    pub(crate) fn raise_prune_time(&mut self, context: &mut Context, told: u64) {
        let second = second(&context.clock, context.now);
        if self.prune_time > second {
            // This node's clock was ahead when the prune time was set.
            self.prune_time = 0;
        }
        if told <= self.prune_time || told > second {
            return;
        }
        self.prune_time = told;
        debug_assert!(self.prune_time <= second);
        let (clock, now) = (&context.clock, context.now);
        context
            .table
            .prune(|record| buried(clock, now, record) <= told);
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
    pub(crate) fn records_this_round(context: &Context) -> usize {
        let members = context.table.len();
        let records = members.div_ceil(TENDING).max(TENDED);
        records.min(members)
    }

    /// Advances to the next record. Tells whether a new turn through the table begins with it. At that
    /// moment tombstones that are too old or too many are pruned.
    pub(crate) fn advance(&mut self, context: &mut Context) -> bool {
        self.tended = self.tended.saturating_add(1);
        let is_first = self.tended >= context.table.len();
        if is_first {
            self.tended = 0;
            let due = due_prune_time(context);
            self.raise_prune_time(context, due);
        }
        is_first
    }

    /// The record to look after now.
    pub(crate) fn current<'a>(&self, context: &'a Context) -> Option<&'a Record> {
        context.table.record_at(self.tended)
    }

    /// Removes a member. A tombstone stays, so that nobody brings it back.
    pub(crate) fn remove(&mut self, context: &mut Context, id: NodeId) {
        debug_assert_ne!(id, context.own, "a node does not remove itself");
        let record = context.table.get(id);
        debug_assert!(record.is_some(), "only a known member can be removed");
        let Some(record) = record else {
            return;
        };
        debug_assert_ne!(record.condition, Condition::Removed, "once is enough");
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

/// Whether a member has left for longer than `remove_after`.
pub(crate) fn has_left_for_long(context: &Context, record: &Record) -> bool {
    record.condition == Condition::Left
        && record.id != context.own
        && context.now.saturating_since(record.since) >= context.config.remove_after
}

/// Collects the tombstones of attributes in a log that are older than `gc_grace`.
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

/// The prune time that this node's tombstones call for, or 0 if it need not rise.
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
    // A sixteenth later than needed, so that many tombstones go at a time.
    let overdue = eldest
        .saturating_add(kept)
        .saturating_add(kept.div_euclid(16))
        <= second;
    // Tombstones take at most half of the places that members leave, so newcomers find the other half.
    let places = usize::try_from(context.config.max_members).unwrap_or(usize::MAX);
    let free = places.saturating_sub(context.table.len().saturating_sub(count));
    let max = usize::try_from(context.config.max_tombstones).unwrap_or(usize::MAX);
    let max = max.min(free.div_euclid(2));
    let mut prune_time = 0;
    if overdue {
        prune_time = second.saturating_sub(kept);
    }
    if count > max {
        // An eighth more than needed, so that many tombstones go at a time.
        let over = count.saturating_sub(max).saturating_add(max.div_euclid(8));
        let mut buried: Vec<u64> = tombstones.collect();
        buried.sort_unstable();
        debug_assert!(buried.len() == count && over > 0);
        let last = over.min(count).saturating_sub(1);
        prune_time = buried.get(last).copied().unwrap_or(0).max(prune_time);
    }
    prune_time.min(lingers)
}

/// The Unix time, in seconds.
fn second(clock: &Clock, now: Instant) -> u64 {
    clock.wall(now).as_millis().div_euclid(1000)
}

/// The second of Unix time at which the member of a tombstone was removed.
///
/// It is at most the time at which this node learned of the tombstone. A later time is a forgery, or comes
/// from a clock that is wrong.
fn buried(clock: &Clock, now: Instant, tombstone: &Record) -> u64 {
    debug_assert_eq!(tombstone.condition, Condition::Removed);
    let ago = now.saturating_since(tombstone.since).as_secs();
    let learned = second(clock, now).saturating_sub(ago);
    tombstone.buried().unwrap_or(learned).min(learned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::context::Outgoing;
    use crate::context::testing::{OWN, WALL, address, at, context, generation};

    fn wall() -> u64 {
        WALL.as_millis().div_euclid(1000)
    }

    /// A node that removed members 1, 2 and 3 after 10, 20 and 30 s.
    fn after_three_removals(change: impl FnOnce(&mut Config)) -> (Removal, Context) {
        let (mut removal, mut context) = (Removal::default(), context(change));
        for number in 1..=3 {
            let id = context.learn(number);
            context.now = at(10_000 * u64::from(number));
            removal.remove(&mut context, id);
        }
        (removal, context)
    }

    #[test]
    fn tombstones_up_to_the_prune_time_are_pruned_and_not_accepted_again() {
        let (mut removal, mut context) = after_three_removals(|_| {});
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
    fn a_prune_time_in_the_future_is_ignored() {
        let (mut removal, mut context) = after_three_removals(|_| {});
        context.now = at(40_000);
        removal.raise_prune_time(&mut context, wall() + 41);
        removal.raise_prune_time(&mut context, u64::MAX);
        assert_eq!((context.table.len(), removal.prune_time), (4, 0));
        // Neither is the node's own prune time, if it was set while the clock was ahead.
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
        let (mut removal, mut context) = after_three_removals(|config| {
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

    /// However many members leave at once, their removal takes about a minute.
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
                for _ in 0..Removal::records_this_round(&context) {
                    removal.advance(&mut context);
                    let Some(record) = removal.current(&context) else {
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
    #[test]
    fn a_member_that_was_removed_while_it_was_down_is_looked_for_until_it_lives() {
        let (mut removal, mut context) = (Removal::default(), context(|_| {}));
        let (down, left) = (context.learn(7), context.learn(8));
        context.table.set_condition(down, at(0), Condition::Down);
        context.table.set_condition(left, at(0), Condition::Left);
        removal.remove(&mut context, down);
        removal.remove(&mut context, left);
        assert_eq!(removal.sought(), 1, "the other one announced its departure");
        removal.look_for(&mut context, 0);
        let asked: Vec<_> = context.drain_messages().collect();
        assert!(matches!(asked[..], [Outgoing::Syn { to }] if to == address(7)));

        context.table.set_condition(down, at(0), Condition::Live);
        removal.look_for(&mut context, 0);
        assert_eq!((removal.sought(), context.drain_messages().count()), (0, 0));
    }

    #[test]
    fn a_tombstone_keeps_the_frontier_and_nothing_else() {
        let (mut removal, mut context) = (Removal::default(), context(|_| {}));
        let id = context.learn(1);
        let hash = context.table.hash();
        context.now = at(5_000);
        removal.remove(&mut context, id);
        let record = context.table.get(id).unwrap();
        assert_eq!(
            (record.condition, record.address()),
            (Condition::Removed, None)
        );
        assert_eq!(record.buried(), Some(wall() + 5));
        assert_eq!(
            context.table.hash(),
            hash,
            "all nodes need not remove it at once"
        );
        let told: Vec<_> = context.drain_events().collect();
        assert!(matches!(told[..], [Event::MemberRemoved { id: told, .. }] if told == id));
    }
}
