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
//! - it holds more than `max_tombstones` tombstones, or
//! - tombstones and members that left take more than half of [their places](super::places).
//!
//! Members that left at or before the prune time are pruned like tombstones: their logs tell when they left.
//!
//! It never raises the prune time beyond [`LINGERS`] ago: by then, every node that removes a member has done
//! so. A replica that slept through the prune time may still bring a tombstone back. Nobody hears such a
//! member, so it goes down and is removed once more.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::member::buried_at;
use super::removed_addresses::RemovedAddresses;
use super::{Condition, Record};
use crate::context::Context;
use crate::event::Event;
use crate::hlc::Clock;
use crate::identity::NodeId;
use crate::state::attribute::{BURIED, Declared, STATUS};
use crate::state::entry::{Entries, Entry};
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
    /// Tells whether it was. [`prune_up_to`] has to follow.
    ///
    /// A prune time in the future comes from a clock that is wrong, and is ignored.
    pub(crate) fn raise_prune_time(&mut self, context: &Context, told: u64) -> bool {
        let second = second(&context.clock, context.now);
        if self.prune_time > second {
            // This node's clock was ahead when the prune time was set.
            self.prune_time = 0;
        }
        let is_later = told > self.prune_time && told <= second;
        if is_later {
            self.prune_time = told;
        }
        is_later
    }

    /// Whether a delta tells of a member whose tombstone was pruned here, or which was pruned when it had left.
    pub(crate) fn is_pruned(&self, context: &Context, delta: &Delta<'_>) -> bool {
        let last =
            Entries::new(delta.entries).find(|entry| entry.key == BURIED || says_left(entry));
        last.is_some_and(|last| {
            let gone = buried_at(delta.generation, last.age);
            gone.min(second(&context.clock, context.now)) <= self.prune_time
        })
    }

    /// How many records are looked after in this round.
    pub(crate) fn records_this_round(context: &Context) -> usize {
        let members = context.table.len();
        let records = members.div_ceil(TENDING).max(TENDED);
        records.min(members)
    }

    /// Advances to the next record. Tells whether a new turn through the table begins with it.
    pub(crate) fn advance(&mut self, context: &Context) -> bool {
        self.tended = self.tended.saturating_add(1);
        let is_first = self.tended >= context.table.len();
        if is_first {
            self.tended = 0;
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
        // When a member left, all nodes know alike. When one that is down was removed, each node tells for itself.
        let left = record.log.entries().find(says_left);
        let now = context.age_of(generation);
        let age = left.map_or(now, |left| left.age.min(now));
        context.table.change_log(id, |log| log.bury(age));
        context
            .table
            .set_condition(id, context.now, Condition::Removed);
        context.stale.neighbours = true;
        context.stale.verdicts = true;
        context.tell(Event::MemberRemoved { id, name });
    }
}

/// Whether an entry says that the member has left.
fn says_left(entry: &Entry<'_>) -> bool {
    let is_left = |value| Declared::decode(value) == Declared::Left;
    entry.key == STATUS && entry.value.is_some_and(is_left)
}

/// The members that left at or before a second of Unix time.
pub(crate) fn left_up_to(context: &Context, prune_time: u64) -> Vec<NodeId> {
    let has_left =
        |record: &&Record| record.condition == Condition::Left && record.id != context.own;
    let left = context.table.iter().filter(has_left);
    let over = left.filter(|record| gone(&context.clock, context.now, record) <= prune_time);
    over.map(|record| record.id).collect()
}

/// Prunes the tombstones of members that were removed at or before a second of Unix time.
pub(crate) fn prune_up_to(context: &mut Context, prune_time: u64) {
    let (clock, now) = (&context.clock, context.now);
    context
        .table
        .prune(|record| gone(clock, now, record) <= prune_time);
    let table = &context.table;
    context.recent_changes.retain(|id| table.get(id).is_some());
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

/// The prune time that this node's tombstones, and the members that left, call for. 0 if it need not rise.
pub(crate) fn due_prune_time(context: &Context) -> u64 {
    let second = second(&context.clock, context.now);
    let lingers = second.saturating_sub(context.intervals(LINGERS).as_secs());
    let kept = context.config.forget_after.as_secs();
    // A sixteenth later than needed, so that many tombstones go at a time.
    let latest = second.saturating_sub(kept.saturating_add(kept.div_euclid(16)));
    let is_overdue = context.table.iter().any(|record| {
        is_removed(record.condition) && gone(&context.clock, context.now, record) <= latest
    });
    let overdue = if is_overdue {
        second.saturating_sub(kept)
    } else {
        0
    };
    let of_removed = eldest_of(context, context.config.max_tombstones, is_removed);
    // Half of the places of those that are gone stay free for those that go meanwhile.
    let of_gone = eldest_of(context, context.config.max_members.div_euclid(2), is_gone);
    overdue.max(of_removed).max(of_gone).min(lingers)
}

const fn is_removed(condition: Condition) -> bool {
    matches!(condition, Condition::Removed)
}

const fn is_gone(condition: Condition) -> bool {
    matches!(condition, Condition::Left | Condition::Removed)
}

/// The second up to which the eldest of those that count go if there are more than `max`, or 0.
fn eldest_of(context: &Context, max: u32, counts: fn(Condition) -> bool) -> u64 {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let records = context.table.iter();
    let counted = records.filter(|record| counts(record.condition));
    let count = counted.clone().count();
    if count <= max {
        return 0;
    }
    // An eighth more than needed, so that many go at a time.
    let over = count.saturating_sub(max).saturating_add(max.div_euclid(8));
    let at = counted.map(|record| gone(&context.clock, context.now, record));
    let mut at: Vec<u64> = at.collect();
    at.sort_unstable();
    let last = over.min(count).saturating_sub(1);
    at.get(last).copied().unwrap_or(0)
}

/// The Unix time, in seconds.
fn second(clock: &Clock, now: Instant) -> u64 {
    clock.wall(now).as_millis().div_euclid(1000)
}

/// The second of Unix time at which a member left, or at which the member of a tombstone was removed.
///
/// It is at most the time at which this node learned of it. A later time is a forgery, or comes from a clock that
/// is wrong.
fn gone(clock: &Clock, now: Instant, record: &Record) -> u64 {
    let ago = now.saturating_since(record.since).as_secs();
    let learned = second(clock, now).saturating_sub(ago);
    let said = record.log.entries().find(says_left);
    let left = said.map(|said| buried_at(record.log.generation(), said.age));
    record.buried().or(left).unwrap_or(learned).min(learned)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::context::Outgoing;
    use crate::context::testing::{OWN, WALL, address, at, context, generation, log_of};

    fn wall() -> u64 {
        WALL.as_millis().div_euclid(1000)
    }

    fn raise(removal: &mut Removal, context: &mut Context, told: u64) {
        if removal.raise_prune_time(context, told) {
            prune_up_to(context, told);
        }
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
        raise(&mut removal, &mut context, wall() + 20);
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
        raise(&mut removal, &mut context, wall() + 40);
        assert_eq!(context.table.len(), 1);
        assert_ne!(context.table.hash(), hash);
        assert_eq!(context.table.hash(), context.table.own_contribution(OWN));
    }

    /// Who has left is pruned by what its own log says, whenever this node has learned of it.
    #[test]
    fn members_that_left_up_to_the_prune_time_are_pruned_and_not_accepted_again() {
        let (mut removal, mut context) = (Removal::default(), context(|_| {}));
        let mut log = log_of(generation(), 1, Declared::Up);
        log.write(20_000, STATUS, Some(Declared::Left.encode()));
        let id = NodeId::from_u64(1);
        context.now = at(90_000);
        context.table.apply(id, context.now, &log.claim_after(0));
        context
            .table
            .set_condition(id, context.now, Condition::Left);
        assert_eq!(left_up_to(&context, wall() + 19), []);
        assert_eq!(left_up_to(&context, wall() + 20), [id]);
        removal.remove(&mut context, id);
        let record = context.table.get(id).unwrap();
        assert_eq!(record.buried(), Some(wall() + 20), "as at all other nodes");
        raise(&mut removal, &mut context, wall() + 20);
        assert!(context.table.get(id).is_none());
        let delta = Delta {
            origin: id,
            generation: generation(),
            after: 0,
            upto: log.frontier(),
            frontier: log.frontier(),
            floor: 0,
            entries: log.entries().rest(),
        };
        assert!(removal.is_pruned(&context, &delta));
        removal.prune_time -= 1;
        assert!(!removal.is_pruned(&context, &delta));
    }

    #[test]
    fn a_prune_time_in_the_future_is_ignored() {
        let (mut removal, mut context) = after_three_removals(|_| {});
        context.now = at(40_000);
        raise(&mut removal, &mut context, wall() + 41);
        raise(&mut removal, &mut context, u64::MAX);
        assert_eq!((context.table.len(), removal.prune_time), (4, 0));
        // Neither is the node's own prune time, if it was set while the clock was ahead.
        removal.prune_time = wall() + 1_000_000;
        raise(&mut removal, &mut context, wall() + 10);
        assert_eq!((context.table.len(), removal.prune_time), (3, wall() + 10));
    }

    fn prune_due(removal: &mut Removal, context: &mut Context, second: u64) -> usize {
        context.now = at(second * 1000);
        let due = due_prune_time(context);
        raise(removal, context, due);
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
                    removal.advance(&context);
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
