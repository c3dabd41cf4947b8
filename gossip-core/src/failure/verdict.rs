//! The verdict: whom this node holds down.
//!
//! The witnesses of a member are its observers on the ring, without those that are down and those
//! that this node itself finds silent; plus this node, if it has evidence of its own. The member is
//! down when a strict majority of its witnesses stands against it. The clearest case is decided
//! first; whoever is down is then no witness any more, and so on until nothing changes. So one sick
//! node takes nobody down whatever it votes, one broken link takes nobody down while another
//! observer vouches, and both halves of a split settle.

use alloc::vec::Vec;

use super::observation::Observation;
use super::probes::{Probes, SAMPLE};
use super::votes::Votes;
use crate::identity::NodeId;
use crate::membership::datacenter::Place;
use crate::membership::observers::observers;
use crate::membership::ring::{Neighbours, Ring};
use crate::membership::{Condition, Table};
use crate::time::Instant;

/// The facts a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) own: NodeId,
    pub(crate) table: &'a Table,
    pub(crate) votes: &'a Votes,
    /// Sorted by id.
    pub(crate) observations: &'a [Observation],
    pub(crate) probes: &'a Probes,
    /// How many neighbours a member has.
    pub(crate) neighbours: usize,
    pub(crate) now: Instant,
    /// Who has been down since before this is no observer any more.
    pub(crate) settled_before: Instant,
    /// Who was heard directly after this counts as heard.
    pub(crate) heard_after: Instant,
}

/// What this node concludes about a contested member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A majority stands against it.
    Down,
    /// Not down; but so much speaks against it that it should be asked.
    Doubtful,
    /// Not down.
    Cleared,
}

/// A member that somebody finds silent.
#[derive(Debug)]
struct Contested {
    subject: NodeId,
    tally: Tally,
    down: bool,
    /// The position of the last of its seats.
    seat: Option<usize>,
}

/// A contested member as a witness of another one. Only such a one can be found down.
#[derive(Clone, Copy, Debug)]
struct Seat {
    /// The position of the case.
    case: usize,
    votes: bool,
    /// The seat before it of the same witness.
    previous: Option<usize>,
}

/// How many of a member's witnesses stand against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    against: usize,
    witnesses: usize,
    /// Its observers, and those of them that are witnesses and do not vote.
    observers: usize,
    vouching: usize,
    /// Votes from other datacenters by who is no witness.
    abroad: usize,
}

impl Tally {
    fn is_majority(self) -> bool {
        self.against.saturating_mul(2) > self.witnesses
    }

    /// Two votes, or no more than half of the observers left to vouch: more than one sick observer.
    /// Of another datacenter, its observers may vouch for it and yet not be heard.
    fn is_doubtful(self) -> bool {
        self.against.saturating_add(self.abroad) >= 2
            || self.vouching.saturating_mul(2) <= self.observers
    }

    /// A witness is found down.
    fn dismiss(&mut self, voted: bool) {
        self.witnesses = self.witnesses.saturating_sub(1);
        self.against = self.against.saturating_sub(usize::from(voted));
        self.vouching = self.vouching.saturating_sub(usize::from(!voted));
    }

    /// The one of two with the greater share against.
    fn clearer(self, other: Self) -> Self {
        if other.clearer_than(self) {
            other
        } else {
            self
        }
    }

    /// Whether the share against is greater than another's.
    fn clearer_than(self, other: Self) -> bool {
        self.against.saturating_mul(other.witnesses) > other.against.saturating_mul(self.witnesses)
    }
}

impl Evidence<'_> {
    /// The contested members with this node's verdict about each. Sorted by id.
    ///
    /// Each case is counted once; when a member is found down, only the cases that it is a witness
    /// of change.
    pub(crate) fn verdicts(&self) -> Vec<(NodeId, Verdict)> {
        let (mut contested, seats) = self.contested();
        // The last seats of those who have just been found down.
        let mut decided: Vec<usize> = Vec::new();
        loop {
            let open = contested.iter().filter(|case| !case.down);
            let majorities = open.map(|case| case.tally).filter(|t| t.is_majority());
            let Some(clearest) = majorities.reduce(Tally::clearer) else {
                break;
            };
            for case in &mut contested {
                if !case.down && case.tally.is_majority() && !clearest.clearer_than(case.tally) {
                    case.down = true;
                    decided.extend(case.seat);
                }
            }
            for last in decided.drain(..) {
                let mut at = Some(last);
                while let Some(seat) = at.and_then(|at| seats.get(at)) {
                    if let Some(case) = contested.get_mut(seat.case) {
                        case.tally.dismiss(seat.votes);
                    }
                    at = seat.previous;
                }
            }
        }
        let verdict = |case: &Contested| {
            if case.down {
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

    /// The members against which there is a valid vote, or evidence of this node's own, sorted by
    /// id; and where they are witnesses themselves.
    fn contested(&self) -> (Vec<Contested>, Vec<Seat>) {
        let silent = self
            .observations
            .iter()
            .filter(|o| o.is_silent())
            .map(|o| o.id);
        let voted = self
            .votes
            .subjects()
            .filter(|subject| self.valid_votes(*subject) > 0);
        let mut subjects: Vec<NodeId> = silent.chain(voted).chain(self.probes.silent()).collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects.retain(|subject| {
            let takes_part = |condition| matches!(condition, Condition::Live | Condition::Down);
            *subject != self.own
                && self
                    .table
                    .get(*subject)
                    .is_some_and(|record| takes_part(record.condition))
        });
        let case = |subject: &NodeId| Contested {
            subject: *subject,
            tally: Tally::default(),
            down: false,
            seat: None,
        };
        let mut contested: Vec<Contested> = subjects.iter().map(case).collect();
        let mut seats: Vec<Seat> = Vec::new();
        for (case, subject) in subjects.iter().enumerate() {
            let tally = self.tally(*subject, &subjects, |witness, votes| {
                if let Some(witness) = contested.get_mut(witness) {
                    let previous = witness.seat.replace(seats.len());
                    seats.push(Seat {
                        case,
                        votes,
                        previous,
                    });
                }
            });
            if let Some(contested) = contested.get_mut(case) {
                contested.tally = tally;
            }
        }
        (contested, seats)
    }

    /// The members that take part and have lost half of those who could vouch for them: the rest may
    /// be too few for a verdict, and with all of them gone nobody is left to vote.
    pub(crate) fn bereft(&self) -> Vec<NodeId> {
        let down = self.table.down().filter_map(|id| self.table.get(id));
        let fallen = down.filter(|record| record.since > self.settled_before);
        let silent = self.observations.iter().filter(|o| o.is_silent());
        let out = fallen
            .map(|record| record.id)
            .chain(silent.map(|o| o.id))
            .chain(self.probes.silent());
        let mut beside: Vec<NodeId> = out.flat_map(|id| self.observers(id)).collect();
        beside.sort_unstable();
        beside.dedup();
        beside.retain(|id| {
            let live = self.table.condition(*id) == Some(Condition::Live);
            live && *id != self.own && self.tally(*id, &[], |_, _| ()).is_doubtful()
        });
        beside
    }

    /// Whom to ask of other datacenters whose bridges this node finds silent: the word of those who
    /// vouch for one another there cannot have come here. Of a large one a sample, which is another one
    /// for each node that asks; all of it where somebody answers after all.
    pub(crate) fn cut_off(&self) -> Vec<NodeId> {
        let mut asked = Vec::new();
        for (place, ring) in self.out_of_reach() {
            let live = ring.live();
            let (before, after) = live.split_at(live.partition_point(|id| *id < self.own));
            let around = after.iter().chain(before).copied();
            if self.asked_in_vain(place) < SAMPLE {
                asked.extend(around.take(SAMPLE));
            } else if self.hears_any(live) {
                asked.extend(around);
            }
        }
        asked
    }

    /// The members of other datacenters that are out of reach by all that this node knows: their bridges
    /// are silent, a whole sample has been asked in vain, and nobody there has been heard lately. If one
    /// in ten could be reached, a sample would miss them all once in 800 times.
    pub(crate) fn written_off(&self) -> Vec<NodeId> {
        let lost = self.out_of_reach().filter(|(place, ring)| {
            self.asked_in_vain(*place) >= SAMPLE && !self.hears_any(ring.live())
        });
        lost.flat_map(|(_, ring)| ring.live().iter().copied())
            .collect()
    }

    /// The other datacenters whose bridges this node finds silent.
    fn out_of_reach(&self) -> impl Iterator<Item = (Place, &Ring)> {
        let datacenters = self.table.datacenters();
        let others = datacenters.others(self.table.place(self.own), 0);
        others.filter(move |(place, ring)| {
            let bridges = datacenters.bridges_of(*place);
            !ring.live().is_empty() && bridges.iter().all(|id| self.finds_silent(*id))
        })
    }

    /// How many members of a datacenter have not answered this node.
    fn asked_in_vain(&self, place: Place) -> usize {
        let silent = self.probes.silent();
        silent.filter(|id| self.table.place(*id) == place).count()
    }

    fn hears_any(&self, members: &[NodeId]) -> bool {
        members.iter().any(|id| self.hears(*id))
    }

    /// The members of other datacenters that are down though nobody votes against them, and others there
    /// live: this node alone may hold them to be.
    pub(crate) fn forgotten(&self) -> Vec<NodeId> {
        let datacenters = self.table.datacenters();
        let others = datacenters.others(self.table.place(self.own), 0);
        let inhabited = others.filter(|(_, ring)| !ring.live().is_empty());
        let down = inhabited.flat_map(|(_, ring)| ring.down().iter().copied());
        down.filter(|id| self.valid_votes(*id) == 0).collect()
    }

    /// The members of this datacenter that are down though nobody votes against them.
    pub(crate) fn voteless(&self) -> impl Iterator<Item = NodeId> + '_ {
        let down = self.table.home(self.own).down().iter().copied();
        down.filter(|id| self.valid_votes(*id) == 0)
    }

    /// Whether it is those of its own datacenter who hold a member down: this node is there, or
    /// somebody there votes against it. A small one is observed by others, too.
    pub(crate) fn is_down_by_its_own(&self, id: NodeId) -> bool {
        let place = self.table.place(id);
        let is_here = place == self.table.place(self.own);
        is_here || self.table.datacenters().is_small(place) || {
            let log = self.table.get(id).map(|record| &record.log);
            self.votes.against(id).iter().any(|cast| {
                self.table.place(cast.observer) == place
                    && log.is_some_and(|log| cast.is_valid(log, self.now))
            })
        }
    }

    /// Whether a member that is down may be removed: its own hold it down, or others there live and
    /// this node has asked it in vain. Of a datacenter that is out of reach as a whole nobody knows who
    /// lives, and all of it would have to be brought back.
    pub(crate) fn is_attested(&self, id: NodeId) -> bool {
        let others_live = !self.table.home(id).live().is_empty();
        self.is_down_by_its_own(id) || others_live && self.probes.is_silent(id)
    }

    fn observers(&self, id: NodeId) -> Neighbours {
        observers(self.table, id, self.neighbours, self.settled_before)
    }

    /// How many votes stand against a member, whoever cast them.
    pub(crate) fn valid_votes(&self, subject: NodeId) -> usize {
        let Some(record) = self.table.get(subject) else {
            return 0;
        };
        let casts = self.votes.against(subject).iter();
        casts
            .filter(|cast| cast.is_valid(&record.log, self.now))
            .count()
    }

    /// Counts who stands against a member while none of the contested is down yet. Tells of each
    /// contested one that is a witness, by its position, whether it votes.
    fn tally(
        &self,
        subject: NodeId,
        contested: &[NodeId],
        mut witness: impl FnMut(usize, bool),
    ) -> Tally {
        let mut tally = Tally::default();
        let Some(record) = self.table.get(subject) else {
            return tally;
        };
        let casts = self.votes.against(subject);
        let observers = self.observers(subject);
        for observer in observers.iter().copied() {
            tally.observers = tally.observers.saturating_add(1);
            let place = contested.binary_search(&observer).ok();
            if observer == self.own || self.is_out(observer, place.is_some()) {
                continue;
            }
            let votes = casts
                .iter()
                .any(|cast| cast.observer == observer && cast.is_valid(&record.log, self.now));
            tally.witnesses = tally.witnesses.saturating_add(1);
            tally.against = tally.against.saturating_add(usize::from(votes));
            tally.vouching = tally.vouching.saturating_add(usize::from(!votes));
            if let Some(place) = place {
                witness(place, votes);
            }
        }
        if self.table.datacenters().len() > 1 {
            let abroad = casts.iter().filter(|cast| {
                self.table.place(cast.observer) != record.place
                    && !observers.contains(&cast.observer)
                    && cast.is_valid(&record.log, self.now)
            });
            tally.abroad = abroad.count();
        }
        if self.finds_silent(subject) {
            tally.witnesses = tally.witnesses.saturating_add(1);
            tally.against = tally.against.saturating_add(1);
        } else if self.hears(subject) {
            tally.witnesses = tally.witnesses.saturating_add(1);
        }
        tally
    }

    /// Whether an observer is no witness from the start: it is silent towards this node, or down and
    /// nobody contests that any more.
    fn is_out(&self, observer: NodeId, is_contested: bool) -> bool {
        if self.finds_silent(observer) {
            return true;
        }
        !is_contested
            && self
                .table
                .get(observer)
                .is_none_or(|record| record.condition != Condition::Live)
    }

    fn observation(&self, id: NodeId) -> Option<&Observation> {
        let at = self.observations.binary_search_by_key(&id, |o| o.id).ok()?;
        self.observations.get(at)
    }

    fn finds_silent(&self, id: NodeId) -> bool {
        self.observation(id).is_some_and(Observation::is_silent) || self.probes.is_silent(id)
    }

    /// Whether this node has heard a member lately.
    pub(crate) fn hears(&self, id: NodeId) -> bool {
        let lately = |heard: Option<Instant>| heard.is_some_and(|heard| heard > self.heard_after);
        lately(self.observation(id).and_then(Observation::heard))
            || lately(self.table.get(id).and_then(|record| record.heard))
    }
}

#[cfg(test)]
mod tests;
