//! The votes that this node publishes, and those that it takes over from others.

use alloc::vec::Vec;

use smallvec::SmallVec;

use super::Node;
use super::liveness::SETTLING;
use crate::id::NodeId;
use crate::membership::{Condition, Record};
use crate::state::attribute::{Ballot, MAX_BALLOTS, VOTES, decode_ballots, encode_ballots};
use crate::time::{Instant, UnixTime};

/// Intervals after which a vote is late.
const LATE: u32 = 2;

/// Whether a member's log continues or begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// The log that was known goes on, or none was known.
    Same,
    /// The member has restarted.
    Another,
}

impl Node {
    /// Publishes the votes that follow from the observations, where they have changed.
    pub(super) fn publish_ballots(&mut self, now: Instant) {
        let age = self.age(now);
        let mut ballots = self.ballots_against_removed(now);
        let beyond = ballots.len().saturating_sub(MAX_BALLOTS.div_euclid(2));
        ballots.drain(..beyond);
        let standing = |record: &Record| {
            self.ballots.iter().find(|ballot| {
                ballot.subject == record.id && ballot.generation == record.log.generation()
            })
        };
        let mut silent: Vec<NodeId> = Vec::new();
        for observation in &self.observations {
            if observation.is_silent() {
                silent.push(observation.id);
            }
        }
        if self.reborn.is_some() {
            for id in self.probes.silent() {
                if self.has_missed(id) {
                    silent.push(id);
                }
            }
        }
        let silent = silent.iter().filter_map(|id| self.table.get(*id));
        let stand = silent.clone().filter(|record| standing(record).is_some());
        let taken = ballots.len().saturating_add(stand.count());
        // In a small minority more fall silent than a list takes. A vote that stands does not make room
        // for another: its end would be taken for a change of mind.
        let mut room = MAX_BALLOTS.saturating_sub(taken);
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
        let lapsing = self.ballots.iter().filter(|ballot| {
            let anew = ballots.iter().any(|b| b.subject == ballot.subject);
            !anew && self.lapses(now, ballot)
        });
        let lapsing: SmallVec<[Ballot; 8]> = lapsing.copied().collect();
        ballots.extend(lapsing);
        self.publish(now, ballots);
    }

    /// Whether this node may have slept through the death of a member: it shows it up, and the member has not
    /// answered since this node began another life. Whoever has removed it seconds the vote against it.
    fn has_missed(&self, silent: NodeId) -> bool {
        let is_up = self.table.condition(silent) == Some(Condition::Live);
        is_up && self.observation(silent).is_none()
    }

    fn publish(&mut self, now: Instant, ballots: SmallVec<[Ballot; 8]>) {
        if ballots != self.ballots {
            let value = encode_ballots(ballots.iter());
            self.ballots = ballots;
            self.write(now, VOTES, Some(&value));
        }
    }

    /// Votes against a member of another datacenter that is about to be removed although nobody there
    /// has said that it is down. If it lives it refutes, and that brings it back; it would not learn
    /// that it was removed from anything else, since those who live there do not speak to this node.
    pub(super) fn warn_of_removal(&mut self, now: Instant, id: NodeId) {
        let Some(record) = self.table.get(id) else {
            return;
        };
        let warning = Ballot {
            subject: id,
            generation: record.log.generation(),
            frontier: record.log.frontier(),
            age: self.age(now),
            removed: true,
        };
        let mut ballots = self.ballots.clone();
        ballots.retain(|ballot| ballot.subject != id);
        ballots.push(warning);
        self.publish(now, ballots);
    }

    /// Whether a vote is against an earlier life of its subject that has ended not long ago. It is
    /// void by itself wherever the new life is known; were it withdrawn at once, whoever hears of
    /// that first would take the old life to be alive again.
    fn lapses(&self, now: Instant, ballot: &Ballot) -> bool {
        let observation = self.observation(ballot.subject);
        observation.is_some_and(|observation| {
            observation.generation > ballot.generation
                && now.saturating_since(observation.began()) < self.intervals(SETTLING)
        })
    }

    /// The votes of this node against members that it has removed. They stand for a while longer,
    /// for those who take part in the verdict later; marked, so that their end is no change of mind.
    ///
    /// A node that has removed a member observes it no longer and has no opinion of its own. But
    /// whoever still shows the member up counts this node among its witnesses and would wait for its
    /// word for ever: so it seconds the votes of those who still observe. Marked votes are seconded
    /// by nobody, or two who have removed the member would second each other without end.
    fn ballots_against_removed(&self, now: Instant) -> SmallVec<[Ballot; 8]> {
        let age = self.age(now);
        let lasting = u64::try_from(self.config.remove_after.as_millis()).unwrap_or(u64::MAX);
        let ghost = |id| {
            let record = self.table.get(id)?;
            (record.condition == Condition::Ghost).then_some(record)
        };
        let mut ballots = SmallVec::<[Ballot; 8]>::new();
        for ballot in &self.ballots {
            let removed_for = |record: &Record| now.saturating_since(record.since).as_millis();
            let stands = ghost(ballot.subject).is_some_and(|record| {
                // Not one that has become void: it would stand in the way of one that is not.
                record.log.generation() == ballot.generation
                    && record.log.frontier() <= ballot.frontier
                    && (removed_for(record) < u128::from(lasting)
                        || age.saturating_sub(ballot.age) < lasting)
            });
            if stands {
                ballots.push(Ballot {
                    removed: true,
                    ..*ballot
                });
            }
        }
        for record in self.votes.subjects().filter_map(ghost) {
            let casts = self.votes.against(record.id).iter();
            let mut observers = casts.filter(|cast| !cast.is_of_removed());
            let known = ballots.iter().any(|ballot| ballot.subject == record.id);
            if !known && observers.any(|cast| cast.is_valid(&record.log, now)) {
                ballots.push(Ballot {
                    subject: record.id,
                    generation: record.log.generation(),
                    frontier: record.log.frontier(),
                    age,
                    removed: true,
                });
            }
        }
        ballots
    }

    /// An author's log has changed: takes over the votes that it publishes now. Those that it
    /// withdraws may revive their subjects; those that it forgot in a restart do not.
    pub(super) fn on_votes(
        &mut self,
        now: Instant,
        author: NodeId,
        life: Life,
        old: &[u8],
        new: &[u8],
    ) {
        if old == new {
            return;
        }
        let began = self
            .table
            .get(author)
            .map_or(UnixTime::default(), |record| {
                record.log.generation().stamp().time()
            });
        let wall = self.clock.wall(now).as_millis();
        let late = u64::try_from(self.intervals(LATE).as_millis()).unwrap_or(u64::MAX);
        let second_thought = now.saturating_add(self.config.interval);
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
        self.stale.verdicts |= life == Life::Another || !withdrawn.is_empty();
        for id in withdrawn {
            // Who has been down for so long has been removed by its voters, and the marks on their votes may
            // have come and gone unseen.
            let record = self.table.get(id);
            let is_due = record.is_none_or(|record| {
                now.saturating_since(record.since) >= self.config.remove_after
            });
            if life == Life::Same && !is_due {
                self.reconsider.push(id);
            }
        }
        for ballot in decode_ballots(new) {
            if ballot.subject == self.own {
                self.refute(now, &ballot);
            }
            // Somebody still votes against a member that this node has removed.
            let condition = self.table.condition(ballot.subject);
            self.stale.ballots |= condition == Some(Condition::Ghost);
            self.stale.verdicts |= condition == Some(Condition::Live);
        }
    }

    /// Drops the votes of a member whose word no longer counts. Nobody is revived by that.
    pub(super) fn withdraw_all_votes_of(&mut self, author: NodeId) {
        let Self {
            table, votes, now, ..
        } = self;
        let held = table
            .get(author)
            .and_then(|record| record.log.get(VOTES))
            .unwrap_or_default();
        votes.replace(
            *now,
            author,
            decode_ballots(held),
            core::iter::empty(),
            |_| *now,
        );
    }
}
