//! The votes that other members have published.
//!
//! A vote is an attribute of its author: it spreads, is repaired and disappears with the author
//! like any other entry of the author's log. The subject refutes a vote by writing one more entry:
//! the vote is void once the subject shows a newer generation, or an entry beyond the frontier that
//! the author knew.
//!
//! # Invariants
//!
//! - Votes are sorted by subject. Each observer has at most one vote against a subject.
//! - `next` is never later than the first future moment at which a vote begins to count.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::growth::make_room;
use crate::identity::{Generation, NodeId};
use crate::state::attribute::{HELD_VOTE_BYTES, MAX_VOTES, PublishedVote};
use crate::state::log::Log;
use crate::time::Instant;

/// A vote as this node holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldVote {
    subject: NodeId,
    /// The author of the vote.
    pub(crate) observer: NodeId,
    /// The subject's generation, shifted left by one. The lowest bit is set if the author has
    /// removed the subject. There may be many votes, and a separate flag would take eight bytes in
    /// each.
    marked_generation: u64,
    frontier: u64,
    /// The vote counts from this moment on.
    counts_from: Instant,
}

impl HeldVote {
    fn new(observer: NodeId, vote: &PublishedVote, counts_from: Instant) -> Self {
        Self {
            subject: vote.subject,
            observer,
            marked_generation: doubled(vote.generation) | u64::from(vote.removed),
            frontier: vote.frontier,
            counts_from,
        }
    }

    /// Whether the vote counts now, given the subject's log.
    // Five places ask this, and the firmware has room for one copy.
    #[inline(never)]
    pub(crate) fn is_valid(&self, subject: &Log, now: Instant) -> bool {
        self.is_against_life_of(subject)
            && self.frontier >= subject.frontier()
            && self.counts_from <= now
    }

    /// Whether the subject has shown more in the same life, and the author still does not hear it: otherwise it
    /// would have withdrawn the vote.
    pub(crate) fn is_refuted(&self, subject: &Log) -> bool {
        self.is_against_life_of(subject) && self.frontier < subject.frontier()
    }

    /// Whether the vote is against the life that the subject's log tells of.
    const fn is_against_life_of(&self, subject: &Log) -> bool {
        self.marked_generation | 1 == doubled(subject.generation()) | 1
    }

    /// Whether the vote's author has removed the subject, and so observes it no longer.
    pub(crate) const fn is_of_removed(&self) -> bool {
        self.marked_generation & 1 == 1
    }

    /// Whether two votes of one author are the same vote: against the same generation, and with the
    /// same knowledge of the subject's log.
    const fn says_the_same(&self, other: &Self) -> bool {
        self.marked_generation | 1 == other.marked_generation | 1 && self.frontier == other.frontier
    }
}

/// The bits of a generation without the highest one, shifted left by one. The highest bit is zero
/// until the year 6429.
const fn doubled(generation: Generation) -> u64 {
    generation.stamp().to_bits() << 1
}

const _: () = assert!(
    size_of::<HeldVote>() == HELD_VOTE_BYTES,
    "the memory that a datagram may claim includes the votes in it"
);

/// All votes that other members publish at present.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    /// Sorted by subject. One list holds all votes because a datagram can bring 32 of them, against
    /// unknown members or against members that others vote against. In one list no vote takes more
    /// than its own place.
    held: Vec<HeldVote>,
    /// No vote begins to count between now and this moment.
    next: Option<Instant>,
}

impl Votes {
    /// Replaces the votes that an author published before by those that it publishes now.
    ///
    /// A vote that the author has published before counts from the same moment as before. A new
    /// vote counts from `counts_from(vote)` on. Returns the subjects whose votes the author has
    /// withdrawn because it changed its mind. O(votes held), for at most [`MAX_VOTES`] votes.
    pub(crate) fn replace(
        &mut self,
        now: Instant,
        observer: NodeId,
        old: impl Iterator<Item = PublishedVote>,
        new: impl Iterator<Item = PublishedVote>,
        counts_from: impl Fn(&PublishedVote) -> Instant,
    ) -> SmallVec<[NodeId; 8]> {
        let new: SmallVec<[PublishedVote; 8]> = new.collect();
        debug_assert!(new.len() <= MAX_VOTES, "longer lists are cut off");
        let mut withdrawn = SmallVec::new();
        for vote in old {
            if !new.iter().any(|other| other.subject == vote.subject) {
                self.remove(vote.subject, observer);
                if !vote.removed {
                    withdrawn.push(vote.subject);
                }
            }
        }
        make_room(&mut self.held, new.len());
        for vote in &new {
            let counts_from = counts_from(vote);
            let is_news = self.put(HeldVote::new(observer, vote, counts_from));
            if is_news && counts_from > now {
                let next = self.next.map_or(counts_from, |next| next.min(counts_from));
                self.next = Some(next);
            }
        }
        withdrawn
    }

    /// Removes the vote of an observer against a subject, if there is one.
    fn remove(&mut self, subject: NodeId, observer: NodeId) {
        let (start, against) = self.find(subject);
        if let Some(at) = against.iter().position(|vote| vote.observer == observer) {
            let removed = self.held.remove(start.saturating_add(at));
            debug_assert_eq!((removed.subject, removed.observer), (subject, observer));
        }
    }

    /// Adds a vote in place of the earlier one of the same observer against the same subject.
    /// Returns whether the vote says something new.
    fn put(&mut self, vote: HeldVote) -> bool {
        let (start, against) = self.find(vote.subject);
        let end = start.saturating_add(against.len());
        let at = against.iter().position(|old| old.observer == vote.observer);
        match at.and_then(|at| self.held.get_mut(start.saturating_add(at))) {
            Some(old) if old.says_the_same(&vote) => {
                old.marked_generation = vote.marked_generation;
                return false;
            }
            Some(old) => {
                debug_assert_eq!((old.subject, old.observer), (vote.subject, vote.observer));
                *old = vote;
            }
            None => self.held.insert(end, vote),
        }
        true
    }

    /// The votes against a member, and the position of the first one. Without any, the position at
    /// which the first one is to be inserted.
    fn find(&self, subject: NodeId) -> (usize, &[HeldVote]) {
        let start = self.held.partition_point(|vote| vote.subject < subject);
        let rest = self.held.get(start..).unwrap_or_default();
        let len = rest.partition_point(|vote| vote.subject == subject);
        (start, rest.get(..len).unwrap_or_default())
    }

    /// The members that somebody votes against, in the order of their ids.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = NodeId> + '_ {
        let by_subject = self.held.chunk_by(|one, next| one.subject == next.subject);
        by_subject.flat_map(|votes| votes.first().map(|vote| vote.subject))
    }

    /// The members that vote against at least so many others, sorted by id. Votes against members that they have
    /// removed do not count. O(v log v) for v votes; O(1) if there are fewer.
    pub(super) fn authors_of(&self, votes: usize) -> Vec<NodeId> {
        if self.held.len() < votes {
            return Vec::new();
        }
        let unmarked = self.held.iter().filter(|vote| !vote.is_of_removed());
        let mut authors: Vec<NodeId> = unmarked.map(|vote| vote.observer).collect();
        authors.sort_unstable();
        let many = authors.windows(votes.max(1));
        let mut many: Vec<NodeId> = many
            .filter(|of| of.first() == of.last())
            .filter_map(|of| of.first().copied())
            .collect();
        many.dedup();
        many
    }

    /// The votes against a member, void ones included.
    pub(crate) fn against(&self, subject: NodeId) -> &[HeldVote] {
        self.find(subject).1
    }

    /// Passes over the votes that count by now. Returns when the next one begins to count. The
    /// answer may be too early if that vote has been withdrawn since.
    ///
    /// O(1) unless a vote has just begun to count: half of a large cluster can hold thousands of
    /// votes against the other half.
    pub(crate) fn pass_counting(&mut self, now: Instant) -> Option<Instant> {
        if self.next.is_some_and(|next| next <= now) {
            self.next = self
                .held
                .iter()
                .map(|vote| vote.counts_from)
                .filter(|counts_from| *counts_from > now)
                .min();
        }
        self.next
    }

    /// Checks the invariants. O(votes held).
    #[cfg(test)]
    pub(super) fn check(&self, now: Instant) {
        assert!(self.held.is_sorted_by_key(|vote| vote.subject));
        for subject in self.subjects() {
            let mut observers: Vec<NodeId> =
                self.against(subject).iter().map(|v| v.observer).collect();
            let len = observers.len();
            observers.sort_unstable();
            observers.dedup();
            assert_eq!(observers.len(), len, "two votes of one observer");
        }
        let later = self.held.iter().map(|vote| vote.counts_from);
        if let Some(first) = later.filter(|counts_from| *counts_from > now).min() {
            assert!(self.next.is_some_and(|next| next <= first));
        }
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

    fn vote(subject: u64, frontier: u64) -> PublishedVote {
        let generation = Generation::new(Stamp::from_bits(1));
        PublishedVote {
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

    fn publish(
        votes: &mut Votes,
        old: &[PublishedVote],
        new: &[PublishedVote],
    ) -> SmallVec<[NodeId; 8]> {
        let (old, new) = (old.iter().copied(), new.iter().copied());
        let withdrawn = votes.replace(NOW, id(9), old, new, |_| NOW);
        votes.check(NOW);
        withdrawn
    }

    #[test]
    fn a_vote_is_void_once_its_subject_shows_a_newer_entry() {
        let mut votes = Votes::default();
        publish(&mut votes, &[], &[vote(1, 3)]);
        let [vote] = votes.against(id(1)) else {
            panic!("one vote")
        };
        let refuted = [log(1, 3), log(1, 4), log(2, 4)].map(|log| vote.is_refuted(&log));
        assert_eq!(refuted, [false, true, false], "restarted is not refuted");
        assert!(vote.is_valid(&log(1, 3), NOW));
        assert!(
            vote.is_valid(&log(1, 2), NOW),
            "the author may know more than this node"
        );
        assert!(!vote.is_valid(&log(1, 4), NOW), "refuted");
        assert!(!vote.is_valid(&log(2, 3), NOW), "restarted");
        assert!(
            !vote.is_valid(&log(1, 3), Instant::from_nanos(999)),
            "not yet"
        );
    }

    #[test]
    fn an_author_withdraws_a_vote_by_no_longer_publishing_it() {
        let mut votes = Votes::default();
        let (a, b) = (vote(1, 3), vote(2, 3));
        assert!(publish(&mut votes, &[], &[a, b]).is_empty());
        assert_eq!(publish(&mut votes, &[a, b], &[b])[..], [id(1)]);
        assert_eq!(votes.subjects().collect::<Vec<_>>(), [id(2)]);
        assert_eq!(publish(&mut votes, &[b], &[])[..], [id(2)]);
        assert_eq!(votes.subjects().count(), 0);
    }

    #[test]
    fn the_end_of_a_marked_vote_is_not_a_withdrawal() {
        let mut votes = Votes::default();
        let a = PublishedVote {
            removed: true,
            ..vote(1, 3)
        };
        publish(&mut votes, &[], &[a]);
        assert!(publish(&mut votes, &[a], &[]).is_empty());
        assert_eq!(votes.subjects().count(), 0);
    }

    #[test]
    fn a_vote_is_marked_once_its_author_has_removed_the_subject() {
        let mut votes = Votes::default();
        let a = vote(1, 3);
        publish(&mut votes, &[], &[a]);
        assert!(!votes.against(id(1))[0].is_of_removed());
        let marked = PublishedVote { removed: true, ..a };
        publish(&mut votes, &[a], &[marked]);
        let [vote] = votes.against(id(1)) else {
            panic!("one vote")
        };
        assert!(vote.is_of_removed() && vote.is_valid(&log(1, 3), NOW));
    }

    #[test]
    fn a_vote_that_is_published_again_counts_from_the_same_moment() {
        let mut votes = Votes::default();
        let a = vote(1, 3);
        let five = Instant::from_nanos(5);
        let begins = Instant::ORIGIN;
        votes.replace(begins, id(9), [].into_iter(), [a].into_iter(), |_| five);
        publish(&mut votes, &[a], &[a, vote(2, 1)]);
        assert!(votes.against(id(1))[0].is_valid(&log(1, 3), five));
        assert_eq!(votes.pass_counting(Instant::ORIGIN), Some(five));
        assert_eq!(votes.pass_counting(NOW), None);
    }

    #[test]
    fn next_names_the_moment_of_each_later_vote_in_turn() {
        let mut votes = Votes::default();
        let at = |n: u64| Instant::from_nanos(2000 + n);
        let late = [vote(3, 1), vote(1, 1), vote(2, 1)];
        let counts_from = |vote: &PublishedVote| at(vote.subject.as_u64());
        votes.replace(NOW, id(9), [].into_iter(), late.into_iter(), counts_from);
        publish(&mut votes, &[], &[vote(4, 1)]);
        assert_eq!(votes.pass_counting(NOW), Some(at(1)));
        assert_eq!(votes.pass_counting(at(1)), Some(at(2)));
        votes.replace(
            NOW,
            id(9),
            [].into_iter(),
            [vote(5, 1)].into_iter(),
            counts_from,
        );
        votes.check(at(2));
        assert_eq!(votes.pass_counting(at(2)), Some(at(3)));
        assert_eq!(votes.pass_counting(at(3)), Some(at(5)));
        assert_eq!(votes.pass_counting(at(5)), None);
    }
}
