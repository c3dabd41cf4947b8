//! The verdict: which members this node holds down.
//!
//! The *observers* of a member are its neighbours on the ring. Its *witnesses* are:
//!
//! - its observers, without those that are down, those that this node itself finds silent, and those that could not
//!   vote, because they vote against as many others as they can;
//! - this node, if it has evidence of its own.
//!
//! The member is down if a strict majority of its witnesses stands against it. The clearest case is
//! decided first. A member that is down is no longer a witness, and so on until nothing changes.
//! This has three consequences:
//!
//! - One sick node takes nobody down, whatever it votes.
//! - One broken link takes nobody down while another observer vouches for the member.
//! - Both halves of a split settle.
//!
//! # Invariants
//!
//! - Each contested member is decided at most once, and a decision is never taken back.
//! - Of the witnesses of a member, those against it and those that vouch for it are disjoint.

use alloc::vec::Vec;

use super::observation::{Observation, find};
use super::probes::Probes;
use super::votes::{HeldVote, Votes};
use crate::identity::NodeId;
use crate::membership::observers::observers;
use crate::membership::ring::Neighbours;
use crate::membership::{Condition, Record, Table};
use crate::time::Instant;

/// The facts that a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) own: NodeId,
    pub(super) table: &'a Table,
    pub(super) votes: &'a Votes,
    /// Sorted by id.
    pub(super) observations: &'a [Observation],
    pub(super) probes: &'a Probes,
    /// How many neighbours a member has on its ring.
    pub(super) neighbours: usize,
    /// The most members that an observer can vote against at a time.
    pub(super) most_votes: usize,
    pub(super) now: Instant,
    /// A member that has been down since this moment or longer is no longer an observer.
    pub(super) settled_before: Instant,
    /// A member counts as heard if it was heard directly after this moment.
    pub(super) heard_after: Instant,
}

/// What this node concludes about a contested member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A majority stands against the member.
    Down,
    /// The member is not down, but so much speaks against it that this node should probe it.
    Doubtful,
    /// The member is not down.
    Cleared,
}

/// A member that somebody finds silent.
#[derive(Debug)]
struct Contested {
    subject: NodeId,
    tally: Tally,
    is_down: bool,
    /// The position of the last of the member's own testimonies about others.
    last_testimony: Option<usize>,
}

/// What a contested member says as a witness of another contested member. If the witness is found
/// down, its testimony no longer counts.
#[derive(Clone, Copy, Debug)]
struct Testimony {
    /// The position of the contested member that it is about.
    about: usize,
    votes_against: bool,
    /// The position of the testimony before this one of the same witness.
    previous: Option<usize>,
}

/// How many of a member's witnesses stand against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    witnesses: usize,
    /// The witnesses against the member, this node included.
    against: usize,
    /// The observers that are witnesses and do not vote.
    vouching: usize,
    /// All observers, whether or not they are witnesses.
    observers: usize,
    /// The votes from other datacenters by members that are not observers.
    from_elsewhere: usize,
}

impl Tally {
    /// Counts an observer that is a witness.
    fn count_observer(&mut self, votes_against: bool) {
        self.witnesses = self.witnesses.saturating_add(1);
        if votes_against {
            self.against = self.against.saturating_add(1);
        } else {
            self.vouching = self.vouching.saturating_add(1);
        }
    }

    /// Ceases to count a witness, because it is found down.
    fn dismiss(&mut self, votes_against: bool) {
        debug_assert!(self.witnesses > 0, "a witness that was not counted");
        self.witnesses = self.witnesses.saturating_sub(1);
        if votes_against {
            debug_assert!(self.against > 0, "a vote that was not counted");
            self.against = self.against.saturating_sub(1);
        } else {
            debug_assert!(self.vouching > 0, "a witness that was not counted");
            self.vouching = self.vouching.saturating_sub(1);
        }
        self.check();
    }

    fn check(&self) {
        debug_assert!(
            self.against.saturating_add(self.vouching) <= self.witnesses,
            "a witness is counted twice: {self:?}"
        );
        debug_assert!(self.vouching <= self.observers, "not an observer: {self:?}");
    }

    fn is_majority(self) -> bool {
        self.against.saturating_mul(2) > self.witnesses
    }

    /// Whether more than one sick observer speaks against the member: there are two votes, or at
    /// most half of the observers still vouch for it.
    ///
    /// A vote from another datacenter counts here, because observers may vouch for the member
    /// although nobody outside can hear it.
    pub(super) fn is_doubtful(self) -> bool {
        self.against.saturating_add(self.from_elsewhere) >= 2
            || self.vouching.saturating_mul(2) <= self.observers
    }

    /// The one of two tallies with the greater share against the member.
    fn clearer(self, other: Self) -> Self {
        if other.is_clearer_than(self) {
            other
        } else {
            self
        }
    }

    /// Whether the share against the member is greater than in another tally.
    fn is_clearer_than(self, other: Self) -> bool {
        self.against.saturating_mul(other.witnesses) > other.against.saturating_mul(self.witnesses)
    }
}

impl Evidence<'_> {
    /// The verdict about each contested member, sorted by id.
    ///
    /// Each tally is counted once. When a member is found down, only the tallies that it is a
    /// witness of change.
    pub(super) fn verdicts(&self) -> Vec<(NodeId, Verdict)> {
        let (mut contested, testimonies) = self.contested();
        // The last testimonies of the members that have just been found down.
        let mut decided: Vec<usize> = Vec::new();
        loop {
            let open = contested.iter().filter(|case| !case.is_down);
            let majorities = open.map(|case| case.tally).filter(|t| t.is_majority());
            let Some(clearest) = majorities.reduce(Tally::clearer) else {
                break;
            };
            for case in &mut contested {
                let tally = case.tally;
                if !case.is_down && tally.is_majority() && !clearest.is_clearer_than(tally) {
                    case.is_down = true;
                    decided.extend(case.last_testimony);
                }
            }
            for last in decided.drain(..) {
                dismiss(&mut contested, &testimonies, last);
            }
        }
        let verdict = |case: &Contested| {
            if case.is_down {
                Verdict::Down
            } else if case.tally.is_doubtful() {
                Verdict::Doubtful
            } else {
                Verdict::Cleared
            }
        };
        contested
            .iter()
            .map(|case| (case.subject, verdict(case)))
            .collect()
    }

    /// The contested members with their tallies, sorted by id, and what they say about one another.
    fn contested(&self) -> (Vec<Contested>, Vec<Testimony>) {
        let subjects = self.contested_subjects();
        let case = |subject: &NodeId| Contested {
            subject: *subject,
            tally: Tally::default(),
            is_down: false,
            last_testimony: None,
        };
        let mut contested: Vec<Contested> = subjects.iter().map(case).collect();
        let mut testimonies: Vec<Testimony> = Vec::new();
        let without_a_vote = self.without_a_vote();
        for (about, subject) in subjects.iter().enumerate() {
            let tally = self.tally(
                *subject,
                &subjects,
                &without_a_vote,
                |witness, votes_against| {
                    if let Some(witness) = contested.get_mut(witness) {
                        let previous = witness.last_testimony.replace(testimonies.len());
                        testimonies.push(Testimony {
                            about,
                            votes_against,
                            previous,
                        });
                    }
                },
            );
            if let Some(contested) = contested.get_mut(about) {
                contested.tally = tally;
            }
        }
        (contested, testimonies)
    }

    /// The members that take part or are down, and against which there is a vote, valid or refuted, or
    /// evidence of this node itself. Sorted by id.
    fn contested_subjects(&self) -> Vec<NodeId> {
        let observed = self.observations.iter().filter(|o| o.is_silent());
        let voted = self.votes.subjects();
        let mut subjects: Vec<NodeId> = observed
            .map(|o| o.id)
            .chain(voted.filter(|subject| self.is_spoken_against(*subject)))
            .chain(self.probes.silent())
            .collect();
        subjects.sort_unstable();
        subjects.dedup();
        let takes_part =
            |record: &Record| matches!(record.condition, Condition::Live | Condition::Down);
        subjects.retain(|subject| {
            *subject != self.own && self.table.get(*subject).is_some_and(takes_part)
        });
        subjects
    }

    /// The observers of a member.
    pub(super) fn observers(&self, id: NodeId) -> Neighbours {
        observers(self.table, id, self.neighbours, self.settled_before)
    }

    /// The valid votes against a member. Of a member without a record there are none.
    pub(super) fn valid_votes(&self, subject: NodeId) -> impl Iterator<Item = &HeldVote> {
        let record = self.table.get(subject);
        let against = self.votes.against(subject).iter();
        against
            .filter(move |vote| record.is_some_and(|record| vote.is_valid(&record.log, self.now)))
    }

    pub(super) fn has_valid_vote(&self, subject: NodeId) -> bool {
        self.valid_votes(subject).next().is_some()
    }

    /// Whether an observer says that it finds a member silent, be it refuted or not.
    fn is_spoken_against(&self, subject: NodeId) -> bool {
        let record = self.table.get(subject);
        let against = self.votes.against(subject);
        record.is_some_and(|record| {
            let speaks = |vote: &HeldVote| {
                vote.is_valid(&record.log, self.now) || vote.is_refuted(&record.log)
            };
            against.iter().any(speaks)
        })
    }

    /// The members that vote against as many others as they can, sorted by id. That one of them does not vote against
    /// a member says nothing. O(v log v) for v votes.
    pub(super) fn without_a_vote(&self) -> Vec<NodeId> {
        self.votes.authors_of(self.most_votes)
    }

    /// Counts the witnesses of a member while none of the contested members is down yet. `without_a_vote` is as in
    /// [`Evidence::without_a_vote`].
    ///
    /// Calls `testify` for each witness that is contested itself, with its position in `contested`
    /// and whether it votes against the member.
    pub(super) fn tally(
        &self,
        subject: NodeId,
        contested: &[NodeId],
        without_a_vote: &[NodeId],
        mut testify: impl FnMut(usize, bool),
    ) -> Tally {
        let mut tally = Tally::default();
        let Some(record) = self.table.get(subject) else {
            debug_assert!(false, "a member that is unknown takes no part");
            return tally;
        };
        let held = self.votes.against(subject);
        let observers = self.observers(subject);
        tally.observers = observers.len();
        for observer in observers.iter().copied() {
            let position = contested.binary_search(&observer).ok();
            if observer == self.own || self.is_out(observer, position.is_some()) {
                continue;
            }
            let vote = held.iter().find(|vote| vote.observer == observer);
            let votes_against = vote.is_some_and(|vote| vote.is_valid(&record.log, self.now));
            let cannot_vouch = || {
                vote.is_some_and(|vote| vote.is_refuted(&record.log))
                    || without_a_vote.binary_search(&observer).is_ok()
            };
            if !votes_against && cannot_vouch() {
                continue;
            }
            tally.count_observer(votes_against);
            if let Some(position) = position {
                testify(position, votes_against);
            }
        }
        if self.table.datacenters().len() > 1 {
            let from_elsewhere = held.iter().filter(|vote| {
                self.table.place(vote.observer) != record.place
                    && !observers.contains(&vote.observer)
                    && vote.is_valid(&record.log, self.now)
            });
            tally.from_elsewhere = from_elsewhere.count();
        }
        if self.finds_silent(subject) {
            tally.witnesses = tally.witnesses.saturating_add(1);
            tally.against = tally.against.saturating_add(1);
        } else if self.hears(subject) {
            tally.witnesses = tally.witnesses.saturating_add(1);
        }
        tally.check();
        tally
    }

    /// Whether an observer is no witness from the start. There are two reasons: this node finds it
    /// silent, or it does not take part and nobody contests it any more.
    fn is_out(&self, observer: NodeId, is_contested: bool) -> bool {
        if self.finds_silent(observer) {
            return true;
        }
        !is_contested && self.table.condition(observer) != Some(Condition::Live)
    }

    fn observation(&self, id: NodeId) -> Option<&Observation> {
        find(self.observations, id)
    }

    /// Whether anything speaks against a member of which this node knows by others alone:
    ///
    /// - this node finds it silent;
    /// - somebody votes against it, be it that the vote does not count yet;
    /// - none of its observers is left to vouch for it;
    /// - it is in another datacenter where somebody is down or voted against, and no bridge there is heard.
    ///
    /// `without_a_vote` is as in [`Evidence::without_a_vote`].
    pub(super) fn speaks_against(&self, member: &Record, without_a_vote: &[NodeId]) -> bool {
        let tally = || self.tally(member.id, &[], without_a_vote, |_, _| ());
        let is_contested = self.finds_silent(member.id) || self.is_voted_against(member.id);
        if is_contested || tally().vouching == 0 {
            return true;
        }
        let datacenters = self.table.datacenters();
        let bridges = datacenters.bridges_of(member.place);
        let is_shaken = || {
            let down = datacenters.ring(member.place).down();
            !down.is_empty() || bridges.iter().any(|bridge| self.is_voted_against(*bridge))
        };
        let heard = |id: &NodeId| {
            self.table
                .get(*id)
                .is_some_and(|bridge| self.has_heard(bridge))
        };
        member.place != self.table.place(self.own) && is_shaken() && !bridges.iter().any(heard)
    }

    /// Whether somebody votes against a member, be it that the vote does not count yet.
    fn is_voted_against(&self, id: NodeId) -> bool {
        let at_last = Instant::from_nanos(u64::MAX);
        let record = self.table.get(id);
        let mut votes = self.votes.against(id).iter();
        votes.any(|vote| record.is_some_and(|record| vote.is_valid(&record.log, at_last)))
    }

    /// Whom to ask about a member against which something speaks: itself, and the bridges of another datacenter.
    pub(super) fn asked_about(&self, member: &Record) -> impl Iterator<Item = NodeId> + '_ {
        let is_here = member.place == self.table.place(self.own);
        let bridges = self.table.datacenters().bridges_of(member.place);
        let bridges = bridges.get(..if is_here { 0 } else { bridges.len() });
        let bridges = bridges.unwrap_or_default().iter().copied();
        let itself = is_here || self.is_voted_against(member.id);
        bridges.chain(itself.then_some(member.id))
    }

    /// Whether the member itself has lately sent this node anything.
    pub(super) fn has_heard(&self, member: &Record) -> bool {
        member.heard.is_some_and(|heard| heard > self.heard_after)
    }

    /// Whether this node finds a member silent, by its observation or by a probe.
    pub(super) fn finds_silent(&self, id: NodeId) -> bool {
        self.observation(id).is_some_and(Observation::is_silent) || self.probes.is_silent(id)
    }

    /// Whether this node has heard a member lately.
    pub(super) fn hears(&self, id: NodeId) -> bool {
        let lately = |heard: Option<Instant>| heard.is_some_and(|heard| heard > self.heard_after);
        lately(self.observation(id).and_then(Observation::heard))
            || lately(self.table.get(id).and_then(|record| record.heard))
    }
}

/// A member is found down: dismisses its testimonies, of which `last` is the position of the last
/// one.
fn dismiss(contested: &mut [Contested], testimonies: &[Testimony], last: usize) {
    let mut at = Some(last);
    while let Some(position) = at {
        let Some(testimony) = testimonies.get(position) else {
            debug_assert!(false, "no testimony is at this position");
            return;
        };
        debug_assert!(testimony.previous < at, "testimonies run backwards");
        if let Some(case) = contested.get_mut(testimony.about) {
            case.tally.dismiss(testimony.votes_against);
        }
        at = testimony.previous;
    }
}

#[cfg(test)]
mod tests;
