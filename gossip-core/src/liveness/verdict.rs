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
use super::probes::Probes;
use super::votes::Votes;
use crate::id::NodeId;
use crate::membership::ring::{Neighbours, observers};
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
    observers: Neighbours,
    down: bool,
}

/// How many of a member's witnesses stand against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    against: usize,
    witnesses: usize,
}

impl Tally {
    fn is_majority(self) -> bool {
        self.against.saturating_mul(2) > self.witnesses
    }

    /// Two votes, or half of those who could tell: more than one sick observer.
    fn is_doubtful(self) -> bool {
        self.against >= 2 || self.against > 0 && self.against.saturating_mul(2) >= self.witnesses
    }

    /// Whether the share against is greater than another's.
    fn clearer_than(self, other: Self) -> bool {
        self.against.saturating_mul(other.witnesses) > other.against.saturating_mul(self.witnesses)
    }
}

impl Evidence<'_> {
    /// The contested members with this node's verdict about each. Sorted by id.
    pub(crate) fn verdicts(&self) -> Vec<(NodeId, Verdict)> {
        let mut contested = self.contested();
        loop {
            let mut clearest: Option<Tally> = None;
            for case in contested.iter().filter(|case| !case.down) {
                let tally = self.tally(case, &contested);
                if tally.is_majority() && clearest.is_none_or(|best| tally.clearer_than(best)) {
                    clearest = Some(tally);
                }
            }
            let Some(clearest) = clearest else { break };
            let decided: Vec<usize> = contested
                .iter()
                .enumerate()
                .filter(|(_, case)| {
                    !case.down && !clearest.clearer_than(self.tally(case, &contested))
                })
                .map(|(index, _)| index)
                .collect();
            for index in decided {
                if let Some(case) = contested.get_mut(index) {
                    case.down = true;
                }
            }
        }
        let verdict = |case: &Contested| {
            if case.down {
                Verdict::Down
            } else if self.tally(case, &contested).is_doubtful() {
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

    /// The members against which there is a valid vote, or evidence of this node's own.
    fn contested(&self) -> Vec<Contested> {
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
        let contest = |subject| Contested {
            subject,
            observers: observers(self.table, subject, self.neighbours, self.settled_before),
            down: false,
        };
        subjects.into_iter().map(contest).collect()
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

    fn tally(&self, case: &Contested, contested: &[Contested]) -> Tally {
        let mut tally = Tally {
            against: 0,
            witnesses: 0,
        };
        let Some(subject) = self.table.get(case.subject) else {
            return tally;
        };
        let casts = self.votes.against(case.subject);
        for observer in &case.observers {
            if *observer == self.own || self.is_out(*observer, contested) {
                continue;
            }
            tally.witnesses = tally.witnesses.saturating_add(1);
            let votes = casts
                .iter()
                .any(|cast| cast.observer == *observer && cast.is_valid(&subject.log, self.now));
            tally.against = tally.against.saturating_add(usize::from(votes));
        }
        if self.finds_silent(case.subject) {
            tally.witnesses = tally.witnesses.saturating_add(1);
            tally.against = tally.against.saturating_add(1);
        } else if self.hears(case.subject) {
            tally.witnesses = tally.witnesses.saturating_add(1);
        }
        tally
    }

    /// Whether an observer is no witness: it is down, or silent towards this node.
    fn is_out(&self, observer: NodeId, contested: &[Contested]) -> bool {
        if self.finds_silent(observer) {
            return true;
        }
        match contested.binary_search_by_key(&observer, |case| case.subject) {
            Ok(at) => contested.get(at).is_some_and(|case| case.down),
            Err(_) => self
                .table
                .get(observer)
                .is_none_or(|record| record.condition != Condition::Live),
        }
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
        let heard = match self.observation(id) {
            Some(observation) => observation.heard(),
            None => self.table.get(id).and_then(|record| record.heard),
        };
        heard.is_some_and(|heard| heard > self.heard_after)
    }
}
