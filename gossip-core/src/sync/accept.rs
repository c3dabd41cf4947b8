//! What becomes of a delta: it takes effect, waits for the rest of its claim, or is refused.

use super::apply::{MemberChange, apply};
use super::staging::{Acceptance, Sent};
use super::{Room, Sync, Taken, held};
use crate::context::{Context, count};
use crate::identity::{Name, NodeId};
use crate::membership::places::Account;
use crate::state::attribute::{
    ADDRESS, HELD_VOTE_BYTES, NAME, PROTOCOL_RESERVE, VOTES, decode_address, decode_votes,
};
use crate::state::entry::Entries;
use crate::state::log::Claim;
use crate::wire::message::Delta;

/// Bytes that an unknown member takes in the table, beyond its log.
pub(crate) const NEWCOMER: usize = 112;

impl Sync {
    /// Takes a delta about another member. The caller has checked that it tells more than is known.
    /// Returns what became of it. If it took effect, also returns what it has changed.
    ///
    /// `is_pruned` says whether it tells of a member tombstone that was pruned here.
    pub(crate) fn accept(
        &mut self,
        context: &mut Context,
        delta: &Delta<'_>,
        sent: Sent,
        is_pruned: bool,
        room: &mut Room,
    ) -> (Taken, Option<MemberChange>) {
        let nothing = (Taken::Done, None);
        let (generation, frontier) = context.known(delta.origin);
        debug_assert!((delta.generation, delta.frontier) > (generation, frontier));
        debug_assert_ne!(delta.origin, context.own, "only this node writes its log");
        debug_assert!(delta.adds_up(), "decoding has checked it");
        if delta.generation > generation
            && let Err(refused) = context.clock.observe(context.now, delta.generation.stamp())
        {
            let addresses = Entries::new(delta.entries).filter(|entry| entry.key == ADDRESS);
            let address = addresses
                .last()
                .and_then(|entry| decode_address(entry.value?));
            context.refuse_skew(delta.origin, address, refused.ahead);
            return nothing;
        }
        if self.relocations.holds_back(context, delta) {
            return nothing;
        }
        let is_unknown = frontier == 0;
        if is_unknown && is_pruned {
            return nothing;
        }
        // Which places it takes is known for certain once all of it has arrived.
        if !has_place(context, delta.origin, Account::Living)
            && !has_place(context, delta.origin, Account::Gone)
        {
            refuse(context, delta.origin, delta.entries, Account::Living);
            return nothing;
        }
        let newcomer = if is_unknown { NEWCOMER } else { 0 };
        if !room.take(votes_in(delta.entries).saturating_add(newcomer)) {
            count(&mut context.metrics.refused_members);
            return (Taken::Full, None);
        }
        let held = held(&context.table, delta.origin);
        let max_state = usize::try_from(context.config.max_state)
            .unwrap_or(usize::MAX)
            .saturating_add(PROTOCOL_RESERVE);
        match self.staging.accept(held, delta, sent, max_state) {
            Acceptance::Whole(claim) => {
                (Taken::Done, place_and_apply(context, delta.origin, &claim))
            }
            Acceptance::Completed(staged) => {
                let claim = staged.claim();
                (Taken::Done, place_and_apply(context, delta.origin, &claim))
            }
            Acceptance::Stale => nothing,
            // A node that is far behind gets the same from several peers, and the rest from any of them.
            Acceptance::Again if self.is_behind() => nothing,
            Acceptance::Again => (Taken::Lacks, None),
            Acceptance::Kept if sent == Sent::InParts => (Taken::Waits, None),
            Acceptance::Kept | Acceptance::Gap => (Taken::Lacks, None),
            Acceptance::TooLarge => {
                count(&mut context.metrics.refused_state);
                self.staging.discard(delta.origin);
                nothing
            }
        }
    }
}

/// Applies a whole claim, if the table has a place for its member.
fn place_and_apply(context: &mut Context, id: NodeId, claim: &Claim<'_>) -> Option<MemberChange> {
    let account = Account::told_by(claim.run, claim.after == 0);
    if has_place(context, id, account) {
        apply(context, id, claim)
    } else {
        refuse(context, id, claim.run, account);
        None
    }
}

/// Whether the table has a place for a member.
pub(crate) fn has_place(context: &Context, id: NodeId, account: Account) -> bool {
    let held = context.table.condition(id);
    context.table.has_place(&context.config, held, account)
}

/// There is no place for a member. If it lives, the application is told.
fn refuse(context: &mut Context, id: NodeId, entries: &[u8], account: Account) {
    count(&mut context.metrics.refused_members);
    if account == Account::Living {
        let name = Entries::new(entries).find(|entry| entry.key == NAME);
        let name = name.and_then(|entry| core::str::from_utf8(entry.value?).ok());
        let name = name.and_then(|name| Name::new(name).ok());
        context.tell_full(id, name.unwrap_or_else(Name::placeholder));
    }
}

/// Bytes that the votes in a run of entries take beyond the run.
fn votes_in(run: &[u8]) -> usize {
    let lists = Entries::new(run).filter(|entry| entry.key == VOTES);
    let ballots = lists.flat_map(|entry| decode_votes(entry.value.unwrap_or_default()));
    ballots.count().saturating_mul(HELD_VOTE_BYTES)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::catch_up::Brought;
    use super::*;
    use crate::context::testing::{WALL, address, context, generation, log_of};
    use crate::event::Event;
    use crate::hlc::Stamp;
    use crate::identity::Generation;
    use crate::membership::Condition;
    use crate::state::attribute::Declared;
    use crate::state::log::Log;
    use crate::time::UnixTime;

    pub(in crate::sync) const ID: NodeId = NodeId::from_u64(1);

    /// What a log says above `after` and up to `upto`.
    pub(in crate::sync) fn delta(log: &Log, after: u64, upto: u64) -> Delta<'_> {
        let rest = log.after(after).rest();
        let tail = log.after(upto).rest();
        Delta {
            origin: ID,
            generation: log.generation(),
            after,
            upto,
            frontier: log.frontier(),
            floor: log.floor(),
            entries: &rest[..rest.len() - tail.len()],
        }
    }

    /// What becomes of a delta, and whether it has taken effect.
    fn accept(
        context: &mut Context,
        sync: &mut Sync,
        delta: &Delta<'_>,
        sent: Sent,
    ) -> (Taken, bool) {
        let mut room = Room::of(1400);
        let (taken, change) = sync.accept(context, delta, sent, false, &mut room);
        (taken, change.is_some())
    }

    fn member() -> Log {
        log_of(generation(), 1, Declared::Up)
    }

    #[test]
    fn a_whole_delta_takes_effect_at_once() {
        let mut context = context(|_| ());
        let (mut sync, log) = (Sync::new(), member());
        let mut room = Room::of(1400);
        let all = delta(&log, 0, 2);
        let (taken, change) = sync.accept(&mut context, &all, Sent::Alone, false, &mut room);
        assert_eq!(taken, Taken::Done);
        assert!(change.unwrap().is_new);
        assert_eq!(context.known(ID), (generation(), 2));
        assert_eq!(context.table.get(ID).unwrap().condition, Condition::Live);
    }

    #[test]
    fn parts_wait_for_one_another_and_a_part_alone_is_asked_about() {
        let mut context = context(|_| ());
        let (mut sync, log) = (Sync::new(), member());
        let (first, second) = (delta(&log, 0, 1), delta(&log, 1, 2));
        let sent = Sent::InParts;
        assert_eq!(
            accept(&mut context, &mut sync, &second, sent),
            (Taken::Waits, false)
        );
        assert_eq!(
            accept(&mut context, &mut sync, &first, sent),
            (Taken::Done, true)
        );
        let mut sync = Sync::new();
        let mut other = crate::context::testing::context(|_| ());
        let alone = accept(&mut other, &mut sync, &first, Sent::Alone);
        assert_eq!(alone, (Taken::Lacks, false));
        assert_eq!(sync.resume(&other, ID).map(|begun| begun.upto), Some(1));
        sync.discard(ID);
        assert_eq!(sync.resume(&other, ID), None);
    }

    #[test]
    fn a_part_that_comes_again_is_asked_about_but_by_a_node_that_is_far_behind() {
        for is_behind in [false, true] {
            let mut context = context(|_| ());
            let (mut sync, log) = (Sync::new(), member());
            if is_behind {
                let brought = Brought {
                    bytes: 1000,
                    new: 1000,
                    ends: true,
                    leaves_more: true,
                };
                sync.catch_up.on_leg(&mut context, address(9), brought);
            }
            assert_eq!(sync.is_behind(), is_behind);
            let part = delta(&log, 1, 2);
            let sent = Sent::InParts;
            assert_eq!(
                accept(&mut context, &mut sync, &part, sent),
                (Taken::Waits, false)
            );
            let again = accept(&mut context, &mut sync, &part, sent);
            let expected = if is_behind { Taken::Done } else { Taken::Lacks };
            assert_eq!(again, (expected, false));
        }
    }

    #[test]
    fn a_generation_from_the_far_future_is_refused_counted_and_told() {
        let mut context = context(|_| ());
        let mut sync = Sync::new();
        let year = UnixTime::from_millis(WALL.as_millis() + 365 * 86_400_000);
        let log = log_of(Generation::new(Stamp::at(year)), 1, Declared::Up);
        let all = delta(&log, 0, 2);
        let taken = accept(&mut context, &mut sync, &all, Sent::Alone);
        assert_eq!(taken, (Taken::Done, false));
        assert_eq!(context.metrics.refused_skew, 1);
        let told = context.drain_events().next();
        assert!(matches!(told, Some(Event::ClockSkew { id: ID, .. })));
    }

    #[test]
    fn a_full_table_and_a_pruned_tombstone_keep_out_unknown_members_alone() {
        let mut context = context(|config| config.max_members = 2);
        let mut sync = Sync::new();
        let log = member();
        let all = delta(&log, 0, 2);
        let mut room = Room::of(1400);
        let (_, change) = sync.accept(&mut context, &all, Sent::Alone, true, &mut room);
        assert!(change.is_none(), "it was pruned");
        context.learn(2);
        let refused = accept(&mut context, &mut sync, &all, Sent::Alone);
        assert_eq!(refused, (Taken::Done, false));
        assert_eq!(context.metrics.refused_members, 1);
        let known = log_of(generation(), 2, Declared::Leaving);
        let mut news = known.clone();
        news.write(0, b"a", None);
        let news = Delta {
            origin: NodeId::from_u64(2),
            ..delta(&news, 0, 3)
        };
        let taken = accept(&mut context, &mut sync, &news, Sent::Alone);
        assert_eq!(taken, (Taken::Done, true));
    }

    #[test]
    fn a_datagram_brings_only_as_many_members_as_it_has_room_for() {
        let mut context = context(|_| ());
        let (mut sync, log) = (Sync::new(), member());
        let mut room = Room::of(0);
        let mut brought = 0;
        for n in 1..100 {
            let all = Delta {
                origin: NodeId::from_u64(n),
                ..delta(&log, 0, 2)
            };
            let (taken, change) = sync.accept(&mut context, &all, Sent::Alone, false, &mut room);
            assert_eq!(taken == Taken::Full, change.is_none());
            brought += usize::from(change.is_some());
        }
        assert_eq!(brought, 1024 / NEWCOMER);
    }

    #[test]
    fn a_log_that_outgrows_its_limit_is_refused_with_all_its_parts() {
        let mut context = context(|config| config.max_state = 0);
        let mut sync = Sync::new();
        let mut log = member();
        for n in 0..40_u8 {
            log.write(0, &[n + 32], Some(&[0; 1000]));
        }
        let frontier = log.frontier();
        let part = accept(&mut context, &mut sync, &delta(&log, 0, 1), Sent::InParts);
        assert_eq!(part, (Taken::Waits, false));
        let all = accept(
            &mut context,
            &mut sync,
            &delta(&log, 0, frontier),
            Sent::Alone,
        );
        assert_eq!(all, (Taken::Done, false));
        assert_eq!(context.metrics.refused_state, 1);
        assert_eq!(sync.resume(&context, ID), None);
    }
}
