//! The votes that this node publishes, and those that it takes over from others.

use alloc::vec::Vec;
use core::time::Duration;

use smallvec::SmallVec;

use super::{CALM, Failure, SETTLING};
use crate::context::Context;
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::state::attribute::{Ballot, MAX_BALLOTS, VOTES, decode_ballots, encode_ballots};
use crate::time::UnixTime;

/// Intervals after which a vote is late.
const LATE: u32 = 2;

/// Bytes of a vote, at most, in a node's first year, against a member that has written less than two million
/// times: id 8, generation 8, frontier 3, age 5, mark 1. What would not fit all the same is cut off.
pub(crate) const BALLOT: usize = 25;

/// Whether a member's log continues or begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The log that was known goes on, or none was known.
    Same,
    /// The member has restarted.
    Another,
}

impl Failure {
    /// Publishes the votes that follow from the observations, where they have changed.
    pub(crate) fn publish_votes(&mut self, context: &mut Context) {
        let age = context.age();
        let mut silent: Vec<NodeId> = Vec::new();
        for observation in &self.observations {
            if observation.is_silent() {
                silent.push(observation.id);
            }
        }
        if self.absent_until.is_some() {
            for id in self.probes.silent() {
                if self.has_missed(context, id) {
                    silent.push(id);
                }
            }
        }
        // Half of a list is for those against the removed, and no more than the silent leave.
        let most = most_votes(context);
        let marked = most.saturating_sub(silent.len()).min(most.div_euclid(2));
        let mut ballots = self.votes_against_removed(context, marked);
        let standing = |record: &Record| {
            self.own_votes.iter().find(|ballot| {
                ballot.subject == record.id && ballot.generation == record.log.generation()
            })
        };
        let silent = silent.iter().filter_map(|id| context.table.get(*id));
        let stand = silent.clone().filter(|record| standing(record).is_some());
        let taken = ballots.len().saturating_add(stand.count());
        // In a small minority more fall silent than a list takes. A vote that stands does not make room
        // for another: its end would be taken for a change of mind.
        let mut room = most.saturating_sub(taken);
        for record in silent {
            let ballot = standing(record).copied();
            if ballot.is_none() {
                let Some(less) = room.checked_sub(1) else {
                    continue;
                };
                room = less;
            }
            ballots.push(ballot.unwrap_or(Ballot {
                subject: record.id,
                generation: record.log.generation(),
                frontier: record.log.frontier(),
                age,
                removed: false,
            }));
        }
        let lapsing = self.own_votes.iter().filter(|ballot| {
            let anew = ballots.iter().any(|b| b.subject == ballot.subject);
            !anew && self.lapses(context, ballot)
        });
        let lapsing: SmallVec<[Ballot; 8]> = lapsing.copied().collect();
        ballots.extend(lapsing);
        self.publish(context, ballots);
    }

    /// How long a member that is down is kept. Where many have died in a small cluster, each vote against one
    /// takes a place that the next will need: then for less long, and what one removes all remove.
    pub(crate) fn patience_with(&self, context: &Context, down: &Record) -> Duration {
        let held = self.own_votes.iter().filter(|ballot| !ballot.removed);
        let places = most_votes(context).saturating_mul(3);
        let is_crowded = held.clone().count().saturating_mul(4) >= places;
        let takes_a_place = is_crowded && held.map(|ballot| ballot.subject).any(|id| id == down.id);
        let mut casts = self.votes.against(down.id).iter();
        let is_removed =
            casts.any(|cast| cast.is_of_removed() && cast.is_valid(&down.log, context.now));
        let patience = context.config.remove_after;
        if takes_a_place || is_removed {
            patience.min(context.intervals(CALM))
        } else {
            patience
        }
    }

    /// Whether this node may have slept through the death of a member that does not answer it. Whoever has
    /// removed the member seconds the vote against it.
    fn has_missed(&self, context: &Context, silent: NodeId) -> bool {
        let is_up = context.table.condition(silent) == Some(Condition::Live);
        is_up && self.observation(silent).is_none()
    }

    fn publish(&mut self, context: &mut Context, ballots: SmallVec<[Ballot; 8]>) {
        if ballots != self.own_votes {
            let value = encode_ballots(ballots.iter(), room_for_votes(context));
            self.own_votes = ballots;
            context.write(VOTES, Some(&value));
        }
    }

    /// Votes against a member of another datacenter that is about to be removed although nobody there
    /// has said that it is down. If it lives it refutes, and that brings it back; it would not learn
    /// that it was removed from anything else, since those who live there do not speak to this node.
    pub(crate) fn warn_of_removal(&mut self, context: &mut Context, id: NodeId) {
        let Some(record) = context.table.get(id) else {
            return;
        };
        let warning = Ballot {
            subject: id,
            generation: record.log.generation(),
            frontier: record.log.frontier(),
            age: context.age(),
            removed: true,
        };
        let mut ballots = self.own_votes.clone();
        ballots.retain(|ballot| ballot.subject != id);
        ballots.push(warning);
        self.publish(context, ballots);
    }

    /// Whether a vote is against an earlier life of its subject that has ended not long ago. It is
    /// void by itself wherever the new life is known; were it withdrawn at once, whoever hears of
    /// that first would take the old life to be alive again.
    fn lapses(&self, context: &Context, ballot: &Ballot) -> bool {
        let observation = self.observation(ballot.subject);
        observation.is_some_and(|observation| {
            observation.generation > ballot.generation
                && context.now.saturating_since(observation.began()) < context.intervals(SETTLING)
        })
    }

    /// The votes of this node against members that it has removed. They stand for a while longer,
    /// for those who take part in the verdict later; marked, so that their end is no change of mind.
    ///
    /// A node that has removed a member observes it no longer and has no opinion of its own. But
    /// whoever still shows the member up counts this node among its witnesses and would wait for its
    /// word for ever: so it seconds the votes of those who still observe. Marked votes are seconded
    /// by nobody, or two who have removed the member would second each other without end.
    ///
    /// Where there are more than `most`, first those that second somebody, then the latest.
    fn votes_against_removed(&self, context: &Context, most: usize) -> SmallVec<[Ballot; 8]> {
        let age = context.age();
        let lasting = u64::try_from(context.config.remove_after.as_millis()).unwrap_or(u64::MAX);
        let ghost = |id| {
            let record = context.table.get(id)?;
            (record.condition == Condition::Removed).then_some(record)
        };
        let mut ballots = SmallVec::<[Ballot; 8]>::new();
        for record in self.votes.subjects().filter_map(ghost) {
            let casts = self.votes.against(record.id).iter();
            let mut observers = casts.filter(|cast| {
                let lives = context.table.condition(cast.observer) == Some(Condition::Live);
                lives && !cast.is_of_removed()
            });
            if ballots.len() < most && observers.any(|cast| cast.is_valid(&record.log, context.now))
            {
                // Not one that has become void: it would stand in the way of one that is not.
                let stands = |ballot: &&Ballot| {
                    ballot.subject == record.id
                        && ballot.generation == record.log.generation()
                        && ballot.frontier >= record.log.frontier()
                };
                let second = Ballot {
                    subject: record.id,
                    generation: record.log.generation(),
                    frontier: record.log.frontier(),
                    age,
                    removed: true,
                };
                let cast = self.own_votes.iter().find(stands).copied();
                ballots.push(Ballot {
                    removed: true,
                    ..cast.unwrap_or(second)
                });
            }
        }
        let seconding = ballots.len();
        for ballot in &self.own_votes {
            let removed_for =
                |record: &Record| context.now.saturating_since(record.since).as_millis();
            let stands = ghost(ballot.subject).is_some_and(|record| {
                record.log.generation() == ballot.generation
                    && record.log.frontier() <= ballot.frontier
                    && (removed_for(record) < u128::from(lasting)
                        || age.saturating_sub(ballot.age) < lasting)
            });
            let known = ballots.iter().any(|other| other.subject == ballot.subject);
            if stands && !known {
                ballots.push(Ballot {
                    removed: true,
                    ..*ballot
                });
            }
        }
        let beyond = ballots.len().saturating_sub(most);
        ballots.drain(seconding..seconding.saturating_add(beyond));
        ballots
    }

    /// An author's log has changed: takes over the votes that it publishes now. Those that it
    /// withdraws may revive their subjects; those that it forgot in a restart do not.
    ///
    /// Returns the votes against this node.
    pub(crate) fn on_votes(
        &mut self,
        context: &mut Context,
        author: NodeId,
        life: Life,
        old: &[u8],
        new: &[u8],
    ) -> SmallVec<[Ballot; 1]> {
        let mut against_own = SmallVec::new();
        if old == new {
            return against_own;
        }
        let now = context.now;
        let began = context
            .table
            .get(author)
            .map_or(UnixTime::default(), |record| {
                record.log.generation().stamp().time()
            });
        let wall = context.clock.wall(now).as_millis();
        let late = u64::try_from(context.intervals(LATE).as_millis()).unwrap_or(u64::MAX);
        let second_thought = context.in_intervals(1);
        let withdrawn = self.votes.replace(
            now,
            author,
            decode_ballots(old),
            decode_ballots(new),
            |ballot| {
                let cast = began.as_millis().saturating_add(ballot.age);
                if wall.saturating_sub(cast) > late {
                    second_thought
                } else {
                    now
                }
            },
        );
        // Votes against those who are down already are in no hurry: the next round looks at them.
        context.stale.verdicts |= life == Life::Another || !withdrawn.is_empty();
        for id in withdrawn {
            // Who has been down for so long has been removed by its voters, and the marks on their votes may
            // have come and gone unseen.
            let record = context.table.get(id);
            let is_due = record.is_none_or(|record| {
                now.saturating_since(record.since) >= context.config.remove_after
            });
            if life == Life::Same && !is_due {
                self.revivable.push(id);
            }
        }
        for ballot in decode_ballots(new) {
            if ballot.subject == context.own {
                against_own.push(ballot);
            }
            // Somebody still votes against a member that this node has removed.
            let condition = context.table.condition(ballot.subject);
            context.stale.own_votes |= condition == Some(Condition::Removed);
            context.stale.verdicts |= condition == Some(Condition::Live);
        }
        against_own
    }

    /// Drops the votes of a member whose word no longer counts. Nobody is revived by that.
    pub(crate) fn withdraw_all_votes_of(&mut self, context: &Context, author: NodeId) {
        let record = context.table.get(author);
        let held = record.and_then(|record| record.log.get(VOTES));
        let held = decode_ballots(held.unwrap_or_default());
        let none = core::iter::empty();
        self.votes
            .replace(context.now, author, held, none, |_| context.now);
    }
}

/// The most bytes of this node's votes: a list is one entry, which has to fit a datagram.
fn room_for_votes(context: &Context) -> usize {
    context.entry_limit().saturating_sub(VOTES.len())
}

/// The most votes that this node may hold at a time.
fn most_votes(context: &Context) -> usize {
    room_for_votes(context).div_euclid(BALLOT).min(MAX_BALLOTS)
}
