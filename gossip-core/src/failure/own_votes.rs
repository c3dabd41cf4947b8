//! The votes that this node publishes, and those that it takes over from others.
//!
//! A node votes against each member that it observes and finds silent. It also publishes votes
//! against members that it has removed, because others may still need its word. Such votes are
//! *marked*: their end is not a change of mind.
//!
//! # Invariants
//!
//! - The list has at most one vote against each subject.
//! - A vote that stands is never pushed out by a new one: peers would take its end for a change of
//!   mind.
//! - A vote that is withdrawn may revive its subject. A vote that ends for another reason never
//!   does.

use alloc::vec::Vec;
use core::time::Duration;

use smallvec::SmallVec;

use super::{Failure, SETTLING_INTERVALS, STEADY_INTERVALS};
use crate::context::{Context, Timer};
use crate::identity::NodeId;
use crate::membership::{Condition, Record, Told};
use crate::state::attribute::{MAX_VOTES, PublishedVote, VOTES, decode_votes, encode_votes};
use crate::time::{Instant, UnixTime, part};

/// How often a list that only withdraws votes is published within an interval, at most.
const WITHDRAWALS_PER_INTERVAL: u32 = 5;

/// Intervals after which a vote that arrives is late.
pub(super) const LATE_INTERVALS: u32 = 2;

/// The most bytes that a vote takes in an author's first year, against a member that has written
/// less than two million entries: id 8, generation 8, frontier 3, age 5, mark 1. Longer votes are
/// cut off where the list does not fit.
pub(super) const MAX_ENCODED_VOTE: usize = 25;

/// What has happened to an author's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogChange {
    /// The known log continues, or no log was known: the author has withdrawn the votes that are
    /// missing.
    Continued,
    /// The author has restarted or was removed: it did not withdraw the votes that are missing.
    Replaced,
}

/// A list of votes to be published.
type List = SmallVec<[PublishedVote; 8]>;

impl Failure {
    /// Publishes the votes that follow from the observations, if they have changed.
    pub(crate) fn publish_votes(&mut self, context: &mut Context) {
        let silent = self.silent_members(context);
        let most = most_votes(context);
        // Votes against removed members take at most half of the list, and only what silent members
        // leave.
        let marked = most.saturating_sub(silent.len()).min(most.div_euclid(2));
        let mut list = self.votes_against_removed(context, marked);
        self.add_votes_against_silent(context, &silent, most, &mut list);
        self.add_lapsing_votes(context, &mut list);
        debug_assert!(has_distinct_subjects(&list), "two votes against one member");
        self.publish(context, list);
    }

    /// The members that this node votes against: those that it observes and finds silent, and those
    /// whose deaths it may have slept through.
    fn silent_members(&self, context: &Context) -> Vec<NodeId> {
        let mut silent: Vec<NodeId> = Vec::new();
        for observation in &self.observations {
            if observation.is_silent() {
                silent.push(observation.id);
            }
        }
        if self.trust_heard_after.is_some() {
            for id in self.probes.silent() {
                if self.may_have_missed_death_of(context, id) {
                    silent.push(id);
                }
            }
        }
        silent
    }

    /// Whether this node may have slept through the death of a member that does not answer it. Then
    /// nobody else votes against the member, but the nodes that have removed it second the vote of
    /// this node.
    fn may_have_missed_death_of(&self, context: &Context, silent: NodeId) -> bool {
        let is_live = context.table.condition(silent) == Some(Condition::Live);
        is_live && self.observation(silent).is_none()
    }

    /// Adds votes against silent members, up to `most` votes in all.
    ///
    /// In a small minority more members fall silent than a list holds. Votes that stand come first:
    /// if one made room for another, peers would take its end for a change of mind.
    fn add_votes_against_silent(
        &self,
        context: &Context,
        silent: &[NodeId],
        most: usize,
        list: &mut List,
    ) {
        let standing = |record: &Record| {
            self.own_votes.iter().find(|vote| {
                vote.subject == record.id && vote.generation == record.log.generation()
            })
        };
        let silent = silent.iter().filter_map(|id| context.table.get(*id));
        let stand = silent.clone().filter(|record| standing(record).is_some());
        let taken = list.len().saturating_add(stand.count());
        let mut room = most.saturating_sub(taken);
        for record in silent {
            if let Some(vote) = standing(record) {
                list.push(*vote);
            } else if let Some(less) = room.checked_sub(1) {
                room = less;
                list.push(vote_against(context, record));
            }
        }
    }

    /// Adds the votes that lapse, unless the list has a vote against the same member.
    fn add_lapsing_votes(&self, context: &Context, list: &mut List) {
        let lapsing = self.own_votes.iter().filter(|vote| {
            let is_replaced = list.iter().any(|other| other.subject == vote.subject);
            !is_replaced && self.lapses(context, vote)
        });
        let lapsing: List = lapsing.copied().collect();
        list.extend(lapsing);
    }

    /// Whether a vote stands for a while although this node does not find its subject silent any more. If it were
    /// withdrawn at once, others would take that for a change of mind. There are two cases:
    ///
    /// - The incarnation that it is against has ended a short time ago. The vote is void at every node that knows the
    ///   new one.
    /// - This node has ceased to observe the member, because others have come up between the two, and the member is
    ///   down or has restarted. The others need a while to find it silent, too.
    fn lapses(&self, context: &Context, vote: &PublishedVote) -> bool {
        let lately =
            |since| context.now.saturating_since(since) < context.intervals(SETTLING_INTERVALS);
        match self.observation(vote.subject) {
            Some(observation) => {
                observation.generation > vote.generation && lately(observation.observed_from())
            }
            None => context.table.get(vote.subject).is_some_and(|record| {
                let generation = record.log.generation();
                let is_down = record.condition == Condition::Down && generation == vote.generation;
                (is_down || generation > vote.generation) && lately(self.neighbours_since)
            }),
        }
    }

    /// The votes of this node against members that it has removed, at most `most`.
    ///
    /// - A vote against a member that is removed then stands for a while longer, for nodes that
    ///   draw their verdict later.
    /// - This node seconds the votes of others against a member that it has removed. It no longer
    ///   observes the member. But a node that still shows the member up counts this node among the
    ///   witnesses, and would wait for its word for ever.
    ///
    /// Nobody seconds marked votes: two nodes that have removed the member would second each other
    /// without end. If there are too many votes, those that second somebody come first, then the
    /// latest.
    fn votes_against_removed(&self, context: &Context, most: usize) -> List {
        let mut list = self.seconding_votes(context, most);
        let seconding = list.len();
        debug_assert!(seconding <= most, "more votes than were asked for");
        for vote in &self.own_votes {
            let is_known = list.iter().any(|other| other.subject == vote.subject);
            if !is_known && outlasts_removal(context, vote) {
                list.push(PublishedVote {
                    removed: true,
                    ..*vote
                });
            }
        }
        let beyond = list.len().saturating_sub(most);
        list.drain(seconding..seconding.saturating_add(beyond));
        debug_assert!(list.iter().all(|vote| vote.removed), "unmarked vote");
        list
    }

    /// The votes, at most `most`, against removed members that a live observer still votes against.
    fn seconding_votes(&self, context: &Context, most: usize) -> List {
        let mut list = List::new();
        for record in self.votes.subjects().filter_map(|id| removed(context, id)) {
            let mut by_observers = self.votes.against(record.id).iter().filter(|vote| {
                let is_live = context.table.condition(vote.observer) == Some(Condition::Live);
                is_live && !vote.is_of_removed()
            });
            if list.len() < most && by_observers.any(|vote| vote.is_valid(&record.log, context.now))
            {
                // A vote that has become void would stand in the way of a valid one.
                let standing = self.own_votes.iter().find(|vote| {
                    vote.subject == record.id
                        && vote.generation == record.log.generation()
                        && vote.frontier >= record.log.frontier()
                });
                let vote = standing.copied();
                list.push(PublishedVote {
                    removed: true,
                    ..vote.unwrap_or_else(|| vote_against(context, record))
                });
            }
        }
        list
    }

    /// How long a member that is down is kept.
    ///
    /// If many members have died in a small cluster, each vote against one of them takes a place in
    /// the list that the next vote needs. Then a member is kept for a shorter time. A member that
    /// another node has removed is also kept for the shorter time, so that all nodes remove the
    /// same members. So is every member that is down while more of them are than there are places left
    /// in the table.
    pub(crate) fn patience_with(&self, context: &Context, down: &Record) -> Duration {
        let unmarked = self.own_votes.iter().filter(|vote| !vote.removed);
        let places = most_votes(context).saturating_mul(3);
        let is_crowded = unmarked.clone().count().saturating_mul(4) >= places;
        let takes_a_place = is_crowded && unmarked.map(|vote| vote.subject).any(|id| id == down.id);
        let mut against = self.votes.against(down.id).iter();
        let is_removed_elsewhere =
            against.any(|vote| vote.is_of_removed() && vote.is_valid(&down.log, context.now));
        let patience = context.config.remove_after;
        let is_table_full = context.table.is_crowded(&context.config);
        if takes_a_place || is_removed_elsewhere || is_table_full {
            patience.min(context.intervals(STEADY_INTERVALS))
        } else {
            patience
        }
    }

    /// Publishes a list of votes, unless it is the list that is published already, or waits for further votes to
    /// be withdrawn.
    fn publish(&mut self, context: &mut Context, list: List) {
        if list != self.own_votes && self.waits_to_withdraw(context, &list) {
            return;
        }
        self.withdraws_at = None;
        context.timers.set(Timer::Withdrawal, None);
        if list != self.own_votes {
            let value = encode_votes(list.iter(), room_for_votes(context));
            self.own_votes = list;
            context.write(VOTES, Some(&value));
        }
    }

    /// Whether a list only withdraws some of the votes, and others may follow soon. When a partition heals, an
    /// observer hears many members again, one after the other, and each list goes to everybody. A new vote is told
    /// at once, and so is a list that has become empty.
    fn waits_to_withdraw(&mut self, context: &mut Context, list: &List) -> bool {
        let only_withdraws = list.iter().all(|vote| self.own_votes.contains(vote));
        if list.is_empty() || !only_withdraws {
            return false;
        }
        let pause = part(context.config.interval, WITHDRAWALS_PER_INTERVAL);
        let at = context.now.saturating_add(pause);
        let at = *self.withdraws_at.get_or_insert(at);
        context.timers.set(Timer::Withdrawal, Some(at));
        at > context.now
    }

    /// Votes against a member of another datacenter that this node is about to remove, although
    /// nobody in that datacenter has said that the member is down.
    ///
    /// If the member lives, it refutes the vote, and that brings it back. Nothing else would tell
    /// it that it was removed, because the members there do not speak to this node.
    pub(super) fn warn_of_removal(&mut self, context: &mut Context, id: NodeId) {
        let Some(record) = context.table.get(id) else {
            debug_assert!(false, "a member that is unknown is to be removed");
            return;
        };
        let warning = PublishedVote {
            removed: true,
            ..vote_against(context, record)
        };
        let mut list = self.own_votes.clone();
        list.retain(|vote| vote.subject != id);
        list.push(warning);
        debug_assert!(has_distinct_subjects(&list), "two votes against one member");
        self.publish(context, list);
    }

    /// An author's log has changed: takes over the votes that the author publishes now.
    ///
    /// A subject may be revived if the author has withdrawn its vote, but not if the author has
    /// forgotten the vote in a restart. Returns the votes against this node.
    pub(crate) fn on_votes(
        &mut self,
        context: &mut Context,
        author: NodeId,
        log_change: LogChange,
        old: &[u8],
        new: &[u8],
    ) -> SmallVec<[PublishedVote; 1]> {
        let mut against_own = SmallVec::new();
        if old == new {
            return against_own;
        }
        let counts_from = counts_from(context, author);
        let (old, votes) = (decode_votes(old), decode_votes(new));
        let withdrawn = self
            .votes
            .replace(context.now, author, old, votes, counts_from);
        // Votes against members that are down already are in no hurry: the next round looks at
        // them.
        context.stale.verdicts |= log_change == LogChange::Replaced || !withdrawn.is_empty();
        if log_change == LogChange::Continued {
            let revivable = withdrawn.into_iter().filter(|id| !is_overdue(context, *id));
            self.revivable.extend(revivable);
        }
        for vote in decode_votes(new) {
            if vote.subject == context.own {
                against_own.push(vote);
            }
            let condition = context.table.condition(vote.subject);
            // If this node has removed the subject, it seconds the vote.
            context.stale.own_votes |= condition == Some(Condition::Removed);
            context.stale.verdicts |= condition == Some(Condition::Live);
        }
        against_own
    }

    /// Drops the votes of a member whose word no longer counts. This revives nobody.
    pub(super) fn withdraw_all_votes_of(&mut self, context: &Context, author: NodeId) {
        let record = context.table.get(author);
        let published = record.and_then(|record| record.log.get(VOTES));
        let published = decode_votes(published.unwrap_or_default());
        let none = core::iter::empty();
        self.votes
            .replace(context.now, author, published, none, |_| context.now);
    }
}

/// A vote against a member with what this node knows of it now.
fn vote_against(context: &Context, subject: &Record) -> PublishedVote {
    PublishedVote {
        subject: subject.id,
        generation: subject.log.generation(),
        frontier: subject.log.frontier(),
        age: context.age(),
        removed: false,
    }
}

/// The record of a member that this node has removed.
fn removed(context: &Context, id: NodeId) -> Option<&Record> {
    let record = context.table.get(id)?;
    (record.condition == Condition::Removed).then_some(record)
}

/// Whether a vote stands although this node has removed the subject: the vote is not void, and
/// either the removal or the vote itself is recent.
fn outlasts_removal(context: &Context, vote: &PublishedVote) -> bool {
    let lasting = u64::try_from(context.config.remove_after.as_millis()).unwrap_or(u64::MAX);
    removed(context, vote.subject).is_some_and(|record| {
        let removed_for = context.now.saturating_since(record.since).as_millis();
        record.log.generation() == vote.generation
            && record.log.frontier() <= vote.frontier
            && (removed_for < u128::from(lasting)
                || context.age().saturating_sub(vote.age) < lasting)
    })
}

/// From when on the votes of an author count that arrive now. A late vote counts an interval later,
/// so that its subject can refute it before. Against a member of which the application has not been told it
/// counts at once: nothing has to be taken back if it is refuted.
fn counts_from(context: &Context, author: NodeId) -> impl Fn(&PublishedVote) -> Instant + '_ {
    let record = context.table.get(author);
    debug_assert!(record.is_some(), "votes of a member that is unknown");
    let generation_start = record.map_or(UnixTime::default(), |record| {
        record.log.generation().stamp().time()
    });
    let (now, second_thought) = (context.now, context.in_intervals(1));
    let wall = context.clock.wall(now).as_millis();
    let late = u64::try_from(context.intervals(LATE_INTERVALS).as_millis()).unwrap_or(u64::MAX);
    move |vote| {
        let voted_at = generation_start.as_millis().saturating_add(vote.age);
        let subject = context.table.get(vote.subject);
        let is_known = subject.is_some_and(|subject| subject.told != Told::Never);
        if is_known && wall.saturating_sub(voted_at) > late {
            second_thought
        } else {
            now
        }
    }
}

/// Whether a member has been in its condition for so long that the nodes that voted against it have
/// removed it. Their marked votes may have come and gone unseen.
fn is_overdue(context: &Context, id: NodeId) -> bool {
    let record = context.table.get(id);
    record.is_none_or(|record| {
        context.now.saturating_since(record.since) >= context.config.remove_after
    })
}

/// The most bytes of this node's votes: the list is one entry, and an entry has to fit a datagram.
fn room_for_votes(context: &Context) -> usize {
    context.entries_limit().saturating_sub(VOTES.len())
}

/// The most votes that this node may publish at a time.
pub(super) fn most_votes(context: &Context) -> usize {
    room_for_votes(context)
        .div_euclid(MAX_ENCODED_VOTE)
        .min(MAX_VOTES)
}

fn has_distinct_subjects(list: &[PublishedVote]) -> bool {
    let mut rest = list;
    while let Some((first, others)) = rest.split_first() {
        if others.iter().any(|other| other.subject == first.subject) {
            return false;
        }
        rest = others;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::{at, context};

    #[test]
    fn votes_that_are_withdrawn_one_after_the_other_go_in_one_list() {
        let mut context = context(|_| ());
        let mut failure = Failure::new(&context.config);
        let mut vote = |member| {
            let id = context.learn(member);
            vote_against(&context, context.table.get(id).unwrap())
        };
        let votes = [1, 2, 3].map(&mut vote);
        let lists = |context: &Context| context.known(context.own).1;
        failure.publish(&mut context, List::from_slice(&votes));
        let first = lists(&context);
        context.now = at(100);
        failure.publish(&mut context, List::from_slice(&votes[..2]));
        context.now = at(299);
        failure.publish(&mut context, List::from_slice(&votes[..1]));
        assert_eq!(lists(&context), first, "others may follow");
        assert!(!context.timers.take_due(Timer::Withdrawal, at(299)));
        assert!(context.timers.take_due(Timer::Withdrawal, at(300)));
        context.now = at(300);
        failure.publish(&mut context, List::from_slice(&votes[..1]));
        assert_eq!(lists(&context), first + 1);
        failure.publish(&mut context, List::from_slice(&votes[..2]));
        assert_eq!(lists(&context), first + 2, "a new vote does not wait");
        failure.publish(&mut context, List::from_slice(&votes[1..2]));
        failure.publish(&mut context, List::new());
        assert_eq!(lists(&context), first + 3, "nor does the end of the last");
        assert!(!context.timers.take_due(Timer::Withdrawal, at(900)));
    }
}
