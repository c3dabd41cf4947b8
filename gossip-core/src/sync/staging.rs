//! Where the parts of a claim wait for one another.
//!
//! A claim is atomic. A prefix of a log claims versions whose overwriters have not arrived, so no part of
//! a claim may be applied before all of it is there. Parts arrive in any order, from any peer. A partial
//! claim is invisible, may be dropped at any time, and is resumed where its beginning ends.
//!
//! **Which parts belong together.** A part was cut from a replica that knew the log up to some frontier
//! and had collected tombstones up to some floor. Two parts may make one claim if neither's floor lies
//! above the other's frontier. To see why, take the last write of a key, as of the highest frontier:
//!
//! - If it lives, it is in the part that covers its version.
//! - If it was a tombstone that the replica of that part had collected, then every other part was cut by a
//!   replica that knew the tombstone. So no other part holds an older write of the key either.
//!
//! # Invariants
//!
//! - At most [`MAX_PARTIAL`] claims are partial, at most one for each origin. The one that grew last stands
//!   last.
//! - A partial claim has at most [`MAX_FRAGMENTS`] fragments. The one that grew last stands last.

use alloc::vec::Vec;

use crate::identity::{Generation, NodeId};
use crate::state::entry::Entries;
use crate::state::log::{Claim, Log};
use crate::wire::message::Delta;

/// The most claims that may be partial at a time. The oldest one makes room for the next.
const MAX_PARTIAL: usize = 32;

/// The most fragments, with holes between them, that are held of one claim. One leg brings twelve datagrams.
/// What does not fit comes again.
const MAX_FRAGMENTS: usize = 16;

/// What has arrived of one origin's claim.
#[derive(Debug)]
struct Partial {
    origin: NodeId,
    generation: Generation,
    fragments: Vec<Fragment>,
}

/// What lives of a log in `(after, upto]`, joined from one part or several.
///
/// Invariants: `after <= upto <= frontier`, and `floor <= least_frontier <= frontier`.
#[derive(Debug)]
struct Fragment {
    after: u64,
    upto: u64,
    /// The highest frontier of the replicas that it is from.
    frontier: u64,
    /// The lowest frontier of these replicas.
    least_frontier: u64,
    /// The highest floor of these replicas.
    floor: u64,
    run: Vec<u8>,
}

/// A claim that was put together and is complete.
#[derive(Debug)]
pub(crate) struct WholeClaim {
    generation: Generation,
    fragment: Fragment,
}

impl WholeClaim {
    pub(crate) fn claim(&self) -> Claim<'_> {
        Claim {
            generation: self.generation,
            after: self.fragment.after,
            frontier: self.fragment.frontier,
            floor: self.fragment.floor,
            run: &self.fragment.run,
        }
    }
}

/// The beginning of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) generation: Generation,
    /// Everything up to here has arrived.
    pub(crate) upto: u64,
    /// The lowest frontier of the replicas that it is from.
    pub(crate) least_frontier: u64,
}

/// What became of a delta.
#[derive(Debug)]
pub(crate) enum Acceptance<'a> {
    /// It is a whole claim by itself.
    Whole(Claim<'a>),
    /// It completes a claim.
    Completed(WholeClaim),
    /// It is kept until the rest arrives.
    Kept,
    /// It brings nothing new.
    Stale,
    /// Something is missing between it and what is held. It is not kept.
    Gap,
    /// The log would outgrow its limit. Nothing of the claim should be kept.
    TooLarge,
}

/// Whether more of what a delta belongs to is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It came alone.
    Alone,
    /// It came in one of several datagrams. They may overtake one another.
    InParts,
}

/// The partial claims of one replica.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    partials: Vec<Partial>,
    dropped: u64,
}

impl Staging {
    /// How many partial claims were dropped to make room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The beginning of a partial claim that a peer can continue, given the log that is held. Of several
    /// beginnings this is the one that grew last, because some peer was there to continue it.
    pub(crate) fn resume(&self, origin: NodeId, held: Option<&Log>) -> Option<Begun> {
        let partial = self.partials.iter().find(|p| p.origin == origin)?;
        let begins = |fragment: &&Fragment| fragment.attaches(partial.generation, held);
        let fragment = partial.fragments.iter().rfind(begins)?;
        // A fragment that continues the log that is held has that log for its beginning.
        let beneath = held.filter(|_| fragment.after > 0).map(Log::frontier);
        Some(Begun {
            generation: partial.generation,
            upto: fragment.upto,
            least_frontier: fragment.least_frontier.min(beneath.unwrap_or(u64::MAX)),
        })
    }

    /// The origins of the partial claims, with their generations.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (NodeId, Generation)> {
        self.partials.iter().map(|p| (p.origin, p.generation))
    }

    /// Takes in a delta, given the log that is held of its origin.
    pub(crate) fn accept<'a>(
        &mut self,
        held: Option<&Log>,
        delta: &Delta<'a>,
        sent: Sent,
        max_state: usize,
    ) -> Acceptance<'a> {
        let known = held.map_or((Generation::ZERO, 0), |log| {
            (log.generation(), log.frontier())
        });
        if (delta.generation, delta.frontier) <= known {
            return Acceptance::Stale;
        }
        let limit = max_state.saturating_mul(2);
        let base = if delta.after == 0 {
            0
        } else {
            held.map_or(0, Log::size)
        };
        if base.saturating_add(delta.entries.len()) > limit {
            return Acceptance::TooLarge;
        }
        let attaches = follows(delta.after, delta.floor, delta.generation, held);
        if attaches && delta.upto == delta.frontier {
            self.discard(delta.origin);
            return Acceptance::Whole(Claim {
                generation: delta.generation,
                after: delta.after,
                frontier: delta.frontier,
                floor: delta.floor,
                run: delta.entries,
            });
        }
        let found = self.partials.iter().position(|p| p.origin == delta.origin);
        if !attaches && found.is_none() && sent == Sent::Alone {
            return Acceptance::Gap;
        }
        let mut partial = match found {
            // It is put back at the end, because it is not the oldest any more.
            Some(at) => self.partials.remove(at),
            None => Partial::new(delta),
        };
        if partial.generation != delta.generation {
            // The delta is of another incarnation of the origin. What is here cannot be completed.
            partial = Partial::new(delta);
        }
        if !partial.add(delta, held) {
            self.partials.push(partial);
            return Acceptance::Stale;
        }
        if partial.size() > limit {
            return Acceptance::TooLarge;
        }
        if let Some(fragment) = partial.take_whole(held, known) {
            let generation = partial.generation;
            return Acceptance::Completed(WholeClaim {
                generation,
                fragment,
            });
        }
        if self.partials.len() >= MAX_PARTIAL {
            self.partials.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.partials.push(partial);
        debug_assert!(self.partials.len() <= MAX_PARTIAL);
        Acceptance::Kept
    }

    /// Drops what has arrived of an origin.
    pub(crate) fn discard(&mut self, origin: NodeId) {
        self.partials.retain(|partial| partial.origin != origin);
    }
}

/// Whether what lives above `after` can be laid upon a log. A log whose frontier is below the floor may hold
/// something that a collected tombstone has deleted.
fn follows(after: u64, floor: u64, generation: Generation, held: Option<&Log>) -> bool {
    after == 0
        || held.is_some_and(|log| {
            generation == log.generation() && after <= log.frontier() && floor <= log.frontier()
        })
}

impl Partial {
    const fn new(delta: &Delta<'_>) -> Self {
        Self {
            origin: delta.origin,
            generation: delta.generation,
            fragments: Vec::new(),
        }
    }

    fn size(&self) -> usize {
        self.fragments
            .iter()
            .map(|fragment| fragment.run.len())
            .sum()
    }

    /// Adds a part, joined with the fragments that it touches. It is not joined if that would keep it from
    /// being laid upon the log that is held. Tells whether the part brings anything.
    fn add(&mut self, delta: &Delta<'_>, held: Option<&Log>) -> bool {
        let mut new = Fragment {
            after: delta.after,
            upto: delta.upto,
            frontier: delta.frontier,
            least_frontier: delta.frontier,
            floor: delta.floor,
            run: delta.entries.to_vec(),
        };
        debug_assert!(new.is_sound(), "decoding has checked it");
        if let Some(at) = self
            .fragments
            .iter()
            .position(|fragment| fragment.covers(&new))
        {
            // A peer is there that can continue this fragment.
            let fragment = self.fragments.remove(at);
            self.fragments.push(fragment);
            return false;
        }
        self.fragments.retain(|fragment| !new.covers(fragment));
        while let Some(at) = self.joinable(&new, held) {
            let old = self.fragments.swap_remove(at);
            new = if old.after <= new.after {
                old.join(&new)
            } else {
                new.join(&old)
            };
        }
        if self.fragments.len() >= MAX_FRAGMENTS {
            self.fragments.remove(0);
        }
        self.fragments.push(new);
        debug_assert!(self.fragments.len() <= MAX_FRAGMENTS);
        true
    }

    /// A fragment that the new one can be joined with. Either the two together can be laid upon the log that
    /// is held, or neither of them can be yet.
    fn joinable(&self, new: &Fragment, held: Option<&Log>) -> Option<usize> {
        let attaches = |fragment: &Fragment| fragment.attaches(self.generation, held);
        let mut fragments = self.fragments.iter();
        let both = fragments.position(|fragment| {
            let after = fragment.after.min(new.after);
            let floor = fragment.floor.max(new.floor);
            (attaches(fragment) || attaches(new))
                && fragment.joins(new)
                && follows(after, floor, self.generation, held)
        });
        let neither =
            |fragment: &Fragment| !attaches(fragment) && !attaches(new) && fragment.joins(new);
        both.or_else(|| self.fragments.iter().position(neither))
    }

    /// Takes out the fragment that is a whole claim upon the log that is held and claims more than is `known`.
    fn take_whole(&mut self, held: Option<&Log>, known: (Generation, u64)) -> Option<Fragment> {
        let generation = self.generation;
        let whole = |fragment: &Fragment| {
            fragment.upto >= fragment.frontier
                && (generation, fragment.frontier) > known
                && fragment.attaches(generation, held)
        };
        let at = self.fragments.iter().position(whole)?;
        Some(self.fragments.swap_remove(at))
    }
}

impl Fragment {
    /// Whether it can be laid upon the log that is held and adds to it.
    fn attaches(&self, generation: Generation, held: Option<&Log>) -> bool {
        let adds = |log: &Log| self.upto > log.frontier() && log.floor() <= self.least_frontier;
        self.after == 0
            || held.is_some_and(adds) && follows(self.after, self.floor, generation, held)
    }

    /// Whether the other fragment is of no use beside this one: it holds nothing more, and everything that
    /// it can be joined with can be joined with this one.
    const fn covers(&self, other: &Self) -> bool {
        self.after <= other.after
            && self.upto >= other.upto
            && self.frontier >= other.frontier
            && self.least_frontier >= other.least_frontier
            && self.floor <= other.floor
    }

    /// Whether the two touch and may make one claim.
    fn joins(&self, other: &Self) -> bool {
        self.after.max(other.after) <= self.upto.min(other.upto)
            && self.floor.max(other.floor) <= self.least_frontier.min(other.least_frontier)
    }

    /// Goes on with what lies above `upto` in the next one, which begins no earlier.
    fn join(mut self, next: &Self) -> Self {
        debug_assert!(self.after <= next.after && self.joins(next));
        self.run
            .extend_from_slice(Entries::new(&next.run).after(self.upto));
        self.upto = self.upto.max(next.upto);
        self.frontier = self.frontier.max(next.frontier);
        self.least_frontier = self.least_frontier.min(next.least_frontier);
        self.floor = self.floor.max(next.floor);
        debug_assert!(self.is_sound());
        self
    }

    const fn is_sound(&self) -> bool {
        self.after <= self.upto
            && self.upto <= self.frontier
            && self.floor <= self.least_frontier
            && self.least_frontier <= self.frontier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use crate::rng::below;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    const ORIGIN: NodeId = NodeId::from_u64(1);
    const MAX: usize = 10_000;

    fn log(writes: u64) -> Log {
        let mut log = Log::new(Generation::new(Stamp::from_bits(1)));
        for n in 0..writes {
            let [.., key] = n.to_be_bytes();
            log.write(0, &[key % 16 + 32], Some(&[key]));
        }
        log
    }

    /// The delta `(after, upto]` of a log.
    fn delta(log: &Log, after: u64, upto: u64) -> Delta<'_> {
        let rest = log.after(after).rest();
        let tail = log.after(upto).rest();
        Delta {
            origin: ORIGIN,
            generation: log.generation(),
            after,
            upto,
            frontier: log.frontier(),
            floor: log.floor(),
            entries: &rest[..rest.len() - tail.len()],
        }
    }

    #[test]
    fn a_log_whose_floor_is_above_its_first_part_is_put_together_all_the_same() {
        let mut log = log(5);
        for key in [b"a", b"b", b"c"] {
            log.write(0, key, Some(b"value"));
        }
        log.write(0, b"a", None);
        log.collect(0);
        log.write(0, b"d", Some(b"value"));
        assert_eq!((log.floor(), log.frontier()), (9, 10));
        let mut staging = Staging::default();
        let first = staging.accept(None, &delta(&log, 0, 6), Sent::Alone, MAX);
        assert!(matches!(first, Acceptance::Kept));
        let second = staging.accept(None, &delta(&log, 6, 10), Sent::Alone, MAX);
        assert!(matches!(second, Acceptance::Completed(_)));
    }

    #[test]
    fn what_lies_below_a_floor_is_no_base_for_what_follows() {
        // The replica holds "a". Its tombstone is collected elsewhere, so the rest of the log alone must not
        // be laid over what the replica holds.
        let mut log = log(5);
        log.write(0, b"a", Some(b"value"));
        let held = log.clone();
        log.write(0, b"a", None);
        log.collect(0);
        log.write(0, b"d", Some(b"value"));
        let mut staging = Staging::default();
        let rest = staging.accept(Some(&held), &delta(&log, 6, 8), Sent::Alone, MAX);
        assert!(matches!(rest, Acceptance::Gap));
    }

    #[test]
    fn nothing_is_claimed_before_all_of_it_has_arrived() {
        let log = log(12);
        let mut staging = Staging::default();
        assert!(matches!(
            staging.accept(None, &delta(&log, 0, 5), Sent::Alone, MAX),
            Acceptance::Kept
        ));
        assert_eq!(
            staging.resume(ORIGIN, None).map(|begun| begun.upto),
            Some(5)
        );
        assert!(matches!(
            staging.accept(None, &delta(&log, 5, 9), Sent::Alone, MAX),
            Acceptance::Kept
        ));
        let Acceptance::Completed(staged) =
            staging.accept(None, &delta(&log, 9, 12), Sent::Alone, MAX)
        else {
            panic!("the claim is complete")
        };
        assert_eq!(staged.claim().run, log.after(0).rest());
        assert_eq!(staging.resume(ORIGIN, None), None);
    }

    #[test]
    fn a_claim_is_resumed_with_a_peer_that_knows_more() {
        let older = log(12);
        let newer = log(20);
        let mut staging = Staging::default();
        staging.accept(None, &delta(&older, 0, 6), Sent::Alone, MAX);
        let Acceptance::Completed(staged) =
            staging.accept(None, &delta(&newer, 6, 20), Sent::Alone, MAX)
        else {
            panic!("the claim is complete")
        };
        let mut replica = Log::default();
        replica.apply(&staged.claim());
        for key in 32..48 {
            assert_eq!(
                replica
                    .entries()
                    .filter(|e| e.key == [key])
                    .last()
                    .unwrap()
                    .value,
                newer.get(&[key])
            );
        }
    }

    #[test]
    fn a_peer_that_knows_less_continues_it_and_one_that_knows_enough_completes_it() {
        let newer = log(20);
        let older = log(12);
        let mut staging = Staging::default();
        staging.accept(None, &delta(&newer, 0, 6), Sent::Alone, MAX);
        let more = staging.accept(None, &delta(&older, 6, 12), Sent::Alone, MAX);
        assert!(matches!(more, Acceptance::Kept), "as far as 12, of 20");
        let rest = staging.accept(None, &delta(&newer, 12, 20), Sent::Alone, MAX);
        assert!(matches!(rest, Acceptance::Completed(_)));
    }

    proptest! {
        /// Parts come to the log itself or to nothing: in any order, repeated, and from replicas that know
        /// more or less and have collected tombstones or not.
        #[test]
        fn parts_in_any_order_come_to_the_log(
            writes in proptest::collection::vec((0_u8..6, any::<bool>()), 1..30),
            collected in proptest::collection::vec(0_u64..30, 4),
            parts in proptest::collection::vec((0_usize..4, 0_u64..30, 1_u64..8), 0..60),
            shuffle in any::<u64>(),
        ) {
            // Four replicas. Each knows a quarter more than the one before, and has collected any tombstones.
            let mut replicas = Vec::new();
            let mut writer = Log::new(Generation::new(Stamp::from_bits(1)));
            for (n, (key, lives)) in writes.iter().enumerate() {
                let age = u64::try_from(n).unwrap();
                writer.write(age, &[key + 32], lives.then_some(&[*key]));
                if n % writes.len().div_ceil(4) == 0 || n + 1 == writes.len() {
                    let mut replica = writer.clone();
                    if let Some(age) = collected.get(replicas.len()) {
                        replica.collect(*age);
                    }
                    replicas.push(replica);
                }
            }
            let newest_at = replicas.len() - 1;
            let newest = replicas[newest_at].clone();
            let mut sent: Vec<(usize, u64, u64)> = parts
                .into_iter()
                .map(|(replica, after, len)| (replica % replicas.len(), after, len))
                .collect();
            let mut rng = ChaCha8Rng::seed_from_u64(shuffle);
            for at in (1..sent.len()).rev() {
                sent.swap(at, below(&mut rng, at + 1));
            }
            let mut staging = Staging::default();
            let mut held: Option<Log> = None;
            // At last a peer that knows everything is asked. What it sends arrives in order.
            let asked = (newest_at, u64::MAX, 3);
            for (replica, after, len) in sent.into_iter().chain([asked; 30]) {
                let log = &replicas[replica];
                let after = if after < u64::MAX {
                    after
                } else if let Some(begun) = staging.resume(ORIGIN, held.as_ref()) {
                    log.resume_from(begun.generation, begun.upto, begun.least_frontier)
                } else {
                    held.as_ref().map_or(0, |held| log.serve_from(held.generation(), held.frontier()))
                };
                let upto = (after + len).min(log.frontier());
                if after >= upto {
                    continue;
                }
                let delta = delta(log, after, upto);
                match staging.accept(held.as_ref(), &delta, Sent::InParts, MAX) {
                    Acceptance::Whole(claim) => held.get_or_insert_default().apply(&claim),
                    Acceptance::Completed(staged) => {
                        held.get_or_insert_default().apply(&staged.claim());
                    }
                    _ => continue,
                }
                let held = held.as_ref().unwrap();
                let mut truth = Log::new(held.generation());
                for (n, (key, lives)) in writes.iter().enumerate() {
                    if u64::try_from(n).unwrap() < held.frontier() {
                        truth.write(0, &[key + 32], lives.then_some(&[*key]));
                    }
                }
                for key in 32..38 {
                    prop_assert_eq!(held.get(&[key]), truth.get(&[key]), "key {}", key);
                }
            }
            prop_assert_eq!(held.map_or(0, |log| log.frontier()), newest.frontier());
        }
    }

    #[test]
    fn repeats_change_nothing_and_gaps_are_told() {
        let log = log(12);
        let mut staging = Staging::default();
        staging.accept(None, &delta(&log, 0, 5), Sent::Alone, MAX);
        assert!(matches!(
            staging.accept(None, &delta(&log, 0, 5), Sent::Alone, MAX),
            Acceptance::Stale
        ));
        assert_eq!(
            staging.resume(ORIGIN, None).map(|begun| begun.upto),
            Some(5)
        );
        let mut fresh = Staging::default();
        assert!(matches!(
            fresh.accept(None, &delta(&log, 5, 12), Sent::Alone, MAX),
            Acceptance::Gap
        ));
        assert!(matches!(
            fresh.accept(Some(&log), &delta(&log, 0, 12), Sent::Alone, MAX),
            Acceptance::Stale
        ));
    }

    #[test]
    fn it_is_bounded() {
        let log = log(12);
        let mut staging = Staging::default();
        for n in 0..100 {
            let delta = Delta {
                origin: NodeId::from_u64(n),
                ..delta(&log, 0, 5)
            };
            assert!(matches!(
                staging.accept(None, &delta, Sent::Alone, MAX),
                Acceptance::Kept
            ));
        }
        assert_eq!(staging.partials.len(), MAX_PARTIAL);
        assert_eq!(staging.dropped(), 68);
        assert!(matches!(
            staging.accept(None, &delta(&log, 0, 5), Sent::Alone, 10),
            Acceptance::TooLarge
        ));
    }
}
