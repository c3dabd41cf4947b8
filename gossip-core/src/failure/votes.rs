//! The votes that other members have published.
//!
//! A vote is an attribute of its author: it spreads, repairs and dies with the author like any other
//! entry. It is void once its subject shows a newer generation, or an entry beyond the frontier that
//! the author knew: that is how a subject refutes.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::growth::make_room;
use crate::identity::{Generation, NodeId};
use crate::state::attribute::{Ballot, VOTE};
use crate::state::log::Log;
use crate::time::Instant;

/// A vote as this node holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cast {
    subject: NodeId,
    pub(crate) observer: NodeId,
    /// The generation of its subject, doubled, and one more where its author has removed the subject: there
    /// may be many votes, and a flag of its own would take eight bytes.
    generation: u64,
    frontier: u64,
    /// From when on it counts.
    counts: Instant,
}

impl Cast {
    /// Whether it stands against this state of its subject.
    // It is asked in five places, and the firmware has room for one.
    #[inline(never)]
    pub(crate) fn is_valid(&self, subject: &Log, now: Instant) -> bool {
        self.generation | 1 == doubled(subject.generation()) | 1
            && self.frontier >= subject.frontier()
            && self.counts <= now
    }

    /// Whether its author has removed the subject, and so observes it no longer.
    pub(crate) const fn is_of_removed(&self) -> bool {
        self.generation & 1 == 1
    }
}

/// The number of a generation without its highest bit, which is set from the year 6429 on.
const fn doubled(generation: Generation) -> u64 {
    generation.stamp().to_bits() << 1
}

const _: () = assert!(
    size_of::<Cast>() == VOTE,
    "the room of a datagram counts votes"
);

/// All votes that stand published.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    /// Sorted by subject. In one list: a datagram can bring 32 votes, against members nobody has heard of
    /// or against such as others vote against, and none takes more than its own place.
    casts: Vec<Cast>,
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
                let (start, casts) = self.find(ballot.subject);
                if let Some(at) = casts.iter().position(|cast| cast.observer == observer) {
                    self.casts.remove(start.saturating_add(at));
                }
                if !ballot.removed {
                    withdrawn.push(ballot.subject);
                }
            }
        }
        make_room(&mut self.casts, new.len());
        for ballot in &new {
            let cast = Cast {
                subject: ballot.subject,
                observer,
                generation: doubled(ballot.generation) | u64::from(ballot.removed),
                frontier: ballot.frontier,
                counts: counts(ballot),
            };
            if self.put(cast) && cast.counts > now {
                let next = self.next.map_or(cast.counts, |next| next.min(cast.counts));
                self.next = Some(next);
            }
        }
        withdrawn
    }

    /// Adds a vote in place of the one that its author had cast. Whether it says something else.
    fn put(&mut self, cast: Cast) -> bool {
        let (start, casts) = self.find(cast.subject);
        let end = start.saturating_add(casts.len());
        let at = casts.iter().position(|old| old.observer == cast.observer);
        match at.and_then(|at| self.casts.get_mut(start.saturating_add(at))) {
            Some(old)
                if (old.generation | 1, old.frontier) == (cast.generation | 1, cast.frontier) =>
            {
                old.generation = cast.generation;
                return false;
            }
            Some(old) => *old = cast,
            None => self.casts.insert(end, cast),
        }
        true
    }

    /// The votes against a member, and where they begin, or would.
    fn find(&self, subject: NodeId) -> (usize, &[Cast]) {
        let start = self.casts.partition_point(|cast| cast.subject < subject);
        let rest = self.casts.get(start..).unwrap_or_default();
        let len = rest.partition_point(|cast| cast.subject == subject);
        (start, rest.get(..len).unwrap_or_default())
    }

    /// The members that somebody votes against.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = NodeId> + '_ {
        let cases = self.casts.chunk_by(|one, next| one.subject == next.subject);
        cases.flat_map(|casts| casts.first().map(|cast| cast.subject))
    }

    /// The votes against a member, void ones included.
    pub(crate) fn against(&self, subject: NodeId) -> &[Cast] {
        self.find(subject).1
    }

    /// When the next vote begins to count; a little early where that has been withdrawn since. O(1),
    /// but when one has begun to: half of a large cluster can hold thousands against the other.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        if self.next.is_some_and(|next| next <= now) {
            self.next = self
                .casts
                .iter()
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
    use crate::hlc::Stamp;

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
    fn who_removes_the_subject_of_its_vote_no_longer_observes_it() {
        let mut votes = Votes::default();
        let a = ballot(1, 3);
        publish(&mut votes, &[], &[a]);
        assert!(!votes.against(id(1))[0].is_of_removed());
        let marked = Ballot { removed: true, ..a };
        publish(&mut votes, &[a], &[marked]);
        let [cast] = votes.against(id(1)) else {
            panic!("one vote")
        };
        assert!(cast.is_of_removed() && cast.is_valid(&log(1, 3), NOW));
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
