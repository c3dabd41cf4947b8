//! The votes that other members have published.
//!
//! A vote is an attribute of its author: it spreads, repairs and dies with the author like any other
//! entry. It is void once its subject shows a newer generation, or an entry beyond the frontier that
//! the author knew: that is how a subject refutes.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::id::{Generation, NodeId};
use crate::state::attribute::Ballot;
use crate::state::log::Log;
use crate::time::Instant;

/// A vote as this node holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cast {
    pub(crate) observer: NodeId,
    generation: Generation,
    frontier: u64,
    /// Whether its author has removed the subject.
    pub(crate) removed: bool,
    /// From when on it counts.
    counts: Instant,
}

impl Cast {
    /// Whether it stands against this state of its subject.
    pub(crate) fn is_valid(&self, subject: &Log, now: Instant) -> bool {
        self.generation == subject.generation()
            && self.frontier >= subject.frontier()
            && self.counts <= now
    }
}

/// All votes against one member.
#[derive(Debug)]
struct Case {
    subject: NodeId,
    // One in place: a datagram can bring 32 votes against as many that nobody has heard of.
    casts: SmallVec<[Cast; 1]>,
}

/// All votes that stand published, by subject.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    /// Sorted by subject.
    cases: Vec<Case>,
    /// No vote begins to count before this that has not begun yet.
    next: Option<Instant>,
}

impl Votes {
    /// Replaces what an author had published by what it publishes now. A vote that it has published
    /// before keeps its time; a new one counts from `counts(ballot)` on. Returns the subjects from
    /// which it has withdrawn, changing its mind.
    pub(crate) fn replace(
        &mut self,
        now: Instant,
        observer: NodeId,
        old: impl Iterator<Item = Ballot>,
        new: impl Iterator<Item = Ballot>,
        counts: impl Fn(&Ballot) -> Instant,
    ) -> SmallVec<[NodeId; 8]> {
        let new: SmallVec<[Ballot; 8]> = new.collect();
        let mut withdrawn = SmallVec::new();
        for ballot in old {
            if !new.iter().any(|other| other.subject == ballot.subject) {
                self.remove(observer, ballot.subject);
                if !ballot.removed {
                    withdrawn.push(ballot.subject);
                }
            }
        }
        for ballot in &new {
            let cast = Cast {
                observer,
                generation: ballot.generation,
                frontier: ballot.frontier,
                removed: ballot.removed,
                counts: counts(ballot),
            };
            let case = self.case(ballot.subject);
            let is_new = match case.casts.iter_mut().find(|old| old.observer == observer) {
                Some(old) if (old.generation, old.frontier) == (cast.generation, cast.frontier) => {
                    old.removed = cast.removed;
                    false
                }
                Some(old) => {
                    *old = cast;
                    true
                }
                None => {
                    case.casts.push(cast);
                    true
                }
            };
            if is_new && cast.counts > now {
                let next = self.next.map_or(cast.counts, |next| next.min(cast.counts));
                self.next = Some(next);
            }
        }
        withdrawn
    }

    fn remove(&mut self, observer: NodeId, subject: NodeId) {
        let Ok(at) = self
            .cases
            .binary_search_by_key(&subject, |case| case.subject)
        else {
            return;
        };
        if let Some(case) = self.cases.get_mut(at) {
            case.casts.retain(|cast| cast.observer != observer);
            if case.casts.is_empty() {
                self.cases.remove(at);
            }
        }
    }

    fn case(&mut self, subject: NodeId) -> &mut Case {
        let at = match self
            .cases
            .binary_search_by_key(&subject, |case| case.subject)
        {
            Ok(at) => at,
            Err(at) => {
                self.cases.insert(
                    at,
                    Case {
                        subject,
                        casts: SmallVec::new(),
                    },
                );
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or inserted just above")]
        &mut self.cases[at]
    }

    /// The members that somebody votes against.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.cases.iter().map(|case| case.subject)
    }

    /// The votes against a member, void ones included.
    pub(crate) fn against(&self, subject: NodeId) -> &[Cast] {
        self.cases
            .binary_search_by_key(&subject, |case| case.subject)
            .ok()
            .and_then(|at| self.cases.get(at))
            .map_or(&[], |case| &case.casts)
    }

    /// When the next vote begins to count; a little early where that has been withdrawn since. O(1),
    /// but when one has begun to: half of a large cluster can hold thousands against the other.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        if self.next.is_some_and(|next| next <= now) {
            let casts = self.cases.iter().flat_map(|case| &case.casts);
            self.next = casts
                .map(|cast| cast.counts)
                .filter(|counts| *counts > now)
                .min();
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;

    const NOW: Instant = Instant::from_nanos(1000);

    fn id(n: u64) -> NodeId {
        NodeId::from_u64(n)
    }

    fn ballot(subject: u64, frontier: u64) -> Ballot {
        let generation = Generation::new(Stamp::from_bits(1));
        Ballot {
            subject: id(subject),
            generation,
            frontier,
            age: 0,
            removed: false,
        }
    }

    fn log(generation: u64, writes: u64) -> Log {
        let mut log = Log::new(Generation::new(Stamp::from_bits(generation)));
        for _ in 0..writes {
            log.write(0, b"k", None);
        }
        log
    }

    fn publish(votes: &mut Votes, old: &[Ballot], new: &[Ballot]) -> SmallVec<[NodeId; 8]> {
        let (old, new) = (old.iter().copied(), new.iter().copied());
        votes.replace(NOW, id(9), old, new, |_| NOW)
    }

    #[test]
    fn a_vote_is_void_once_its_subject_shows_more() {
        let mut votes = Votes::default();
        publish(&mut votes, &[], &[ballot(1, 3)]);
        let [cast] = votes.against(id(1)) else {
            panic!("one vote")
        };
        assert!(cast.is_valid(&log(1, 3), NOW));
        assert!(
            cast.is_valid(&log(1, 2), NOW),
            "the author may know more than this node"
        );
        assert!(!cast.is_valid(&log(1, 4), NOW), "refuted");
        assert!(!cast.is_valid(&log(2, 3), NOW), "restarted");
        assert!(
            !cast.is_valid(&log(1, 3), Instant::from_nanos(999)),
            "not yet"
        );
    }

    #[test]
    fn an_author_withdraws_by_no_longer_publishing() {
        let mut votes = Votes::default();
        let (a, b) = (ballot(1, 3), ballot(2, 3));
        assert!(publish(&mut votes, &[], &[a, b]).is_empty());
        assert_eq!(publish(&mut votes, &[a, b], &[b])[..], [id(1)]);
        assert_eq!(votes.subjects().collect::<Vec<_>>(), [id(2)]);
        assert_eq!(publish(&mut votes, &[b], &[])[..], [id(2)]);
        assert_eq!(votes.subjects().count(), 0);
    }

    #[test]
    fn the_end_of_a_vote_against_a_removed_member_is_no_change_of_mind() {
        let mut votes = Votes::default();
        let a = Ballot {
            removed: true,
            ..ballot(1, 3)
        };
        publish(&mut votes, &[], &[a]);
        assert!(publish(&mut votes, &[a], &[]).is_empty());
        assert_eq!(votes.subjects().count(), 0);
    }

    #[test]
    fn republishing_does_not_delay_a_vote() {
        let mut votes = Votes::default();
        let a = ballot(1, 3);
        let five = Instant::from_nanos(5);
        let begins = Instant::ORIGIN;
        votes.replace(begins, id(9), [].into_iter(), [a].into_iter(), |_| five);
        publish(&mut votes, &[a], &[a, ballot(2, 1)]);
        assert!(votes.against(id(1))[0].is_valid(&log(1, 3), five));
        assert_eq!(votes.next(Instant::ORIGIN), Some(five));
        assert_eq!(votes.next(NOW), None);
    }

    #[test]
    fn each_vote_that_counts_later_is_told_in_its_turn() {
        let mut votes = Votes::default();
        let at = |n: u64| Instant::from_nanos(2000 + n);
        let late = [ballot(3, 1), ballot(1, 1), ballot(2, 1)];
        let counts = |ballot: &Ballot| at(ballot.subject.as_u64());
        votes.replace(NOW, id(9), [].into_iter(), late.into_iter(), counts);
        publish(&mut votes, &[], &[ballot(4, 1)]);
        assert_eq!(votes.next(NOW), Some(at(1)));
        assert_eq!(votes.next(at(1)), Some(at(2)));
        votes.replace(
            NOW,
            id(9),
            [].into_iter(),
            [ballot(5, 1)].into_iter(),
            counts,
        );
        assert_eq!(votes.next(at(2)), Some(at(3)));
        assert_eq!(votes.next(at(3)), Some(at(5)));
        assert_eq!(votes.next(at(5)), None);
    }
}
